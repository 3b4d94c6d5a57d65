"""Errors of the command line: one sentence on stderr, and docker's exit code."""

from __future__ import annotations

import sys

from tuicon.model.failure import Usage

__all__ = ["Exit", "Usage", "complain"]


class Exit(Exception):
    """Ends the program with an exit code; what had to be said is said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def complain(text: str, hint: str = "") -> None:
    """Say what is wrong."""
    print(f"tuicon: {text}", file=sys.stderr)
    if hint:
        print(f"        {hint}", file=sys.stderr)
