"""Flags of the verbs that look for causes: `why`, `pressure`, `cgroups`."""

from __future__ import annotations

import argparse

from tuicon.cli.tuning_flags import duration
from tuicon.cli.words import add_flag

SORTS = ("name", "cpu", "memory", "io", "pressure", "share")


def why(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `why`."""
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument("--at", metavar="TIME", help="its last end until then: 10m, a Unix time, or RFC 3339")
    action = parser.add_argument("container", metavar="CONTAINER")
    action.complete = {"bash": "_tuicon_containers", "zsh": "_tuicon_containers"}  # type: ignore[attr-defined]


def cgroups(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `cgroups`."""
    add_flag(parser, "-a", "--all", help="also groups without tasks")
    parser.add_argument(
        "-f", "--filter", default="", metavar="WORDS", help="only paths, names or owners with these words"
    )
    parser.add_argument("--sort", choices=SORTS, default="name", help="order of groups beside each other")
    _over(parser)
    add_flag(parser, "--json", help="print JSON, of all groups")
    parser.add_argument(
        "path", nargs="?", default="", metavar="PATH", help="show all that the kernel says of this group"
    )


def _over(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--over", type=duration, default=1.0, metavar="TIME", help="how long to look (1s)")


def pressure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `pressure`."""
    _over(parser)
    add_flag(parser, "--json", help="print JSON")
