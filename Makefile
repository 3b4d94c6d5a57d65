# tuicon: `make help` lists the targets. Everything a target needs it sets up itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp  ## set up and open the console (asks sudo only when not root)
	@exec $(SUDO) $(abspath $(BIN))/tuicon

test: $(VENV)/test.stamp check  ## set up, check, and run all tests of this machine's kernel
	$(SUDO) env CI=$(CI) tests/run $(BIN)/python $(TESTS)

test-v2: $(VENV)/test.stamp  ## run the kernel tests in a virtual machine with pure cgroup v2
	$(SUDO) tests/lab/test-v2 $(abspath $(BIN))/python $(TESTS)

test-ceph: $(VENV)/test.stamp  ## run the tests that need a Ceph cluster
	@sh tests/setup ceph $(VENV)
	$(SUDO) $(BIN)/python -m pytest -q tests/servers/ceph.py

check: $(VENV)/test.stamp  ## format, lint, types, import contracts, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q tests/architecture

format: $(VENV)/test.stamp  ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshots: $(VENV)/test.stamp  ## draw screenshots/*.svg anew
	$(BIN)/python -m tests.snapshots.scenes screenshots

bench: $(VENV)/test.stamp  ## time starts and the console, side by side with the peers that are installed
	$(SUDO) $(BIN)/python -m tests.bench

clean:  ## remove the virtual environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist

$(VENV)/run.stamp: pyproject.toml tests/setup
	@PYTHON="$(PYTHON)" sh tests/setup run $(VENV)
	@touch $@

$(VENV)/test.stamp: pyproject.toml tests/setup
	@PYTHON="$(PYTHON)" sh tests/setup test $(VENV)
	@touch $@ $(VENV)/run.stamp

.PHONY: help run test test-v2 test-ceph check format screenshots bench clean
