"""Attacks run in the same worlds as the kernel tests, which must be empty afterwards."""

from __future__ import annotations

from tests.kernel.conftest import engine, root

__all__ = ["engine", "root"]
