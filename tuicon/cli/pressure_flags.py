"""Flags of the verbs that look for causes: `why`."""

from __future__ import annotations

import argparse

from tuicon.cli.words import add_flag


def why(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `why`."""
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument("--at", metavar="TIME", help="its last end until then: 10m, a Unix time, or RFC 3339")
    action = parser.add_argument("container", metavar="CONTAINER")
    action.complete = {"bash": "_tuicon_containers", "zsh": "_tuicon_containers"}  # type: ignore[attr-defined]
