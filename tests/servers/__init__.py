"""Tests with servers whose packages are too large for every run: `make test-ceph`."""
