"""Flags of the verbs that tune: update's ways, the history, advice, metrics, profiles, rules."""

from __future__ import annotations

import argparse
from pathlib import Path

from tuicon.cli.words import add_flag, add_list
from tuicon.model.limit_flags import parse_bytes
from tuicon.model.units import parse_duration


def update(parser: argparse.ArgumentParser) -> None:
    """Add what `update` can do beside setting limits."""
    group = parser.add_argument_group("how to change them")
    add_flag(group, "--dry-run", help="only show what would be in force")
    group.add_argument(
        "--trial", type=trial_time, metavar="TIME", help="take them back after that time, unless confirmed"
    )
    add_flag(group, "--confirm", help="keep what is on trial")
    add_flag(group, "--undo", help="take back what is on trial, or else the last change")
    add_flag(group, "--force", help="lower memory below what is in use")
    add_flag(group, "--step-down", help="lower memory below what is in use bit by bit, as it is given up")
    group.add_argument("--memory-reclaim", type=parse_bytes, metavar="SIZE", help="take memory back now")
    add_list(group, "--ulimit", metavar="NAME=SOFT[:HARD]", help="limit each process, running ones too")
    add_flag(group, "--json", help="print JSON with --dry-run")


def trial_time(text: str) -> float:
    """Parse the time of a trial for argparse, to seconds."""
    seconds = duration(text)
    if not 1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"a trial lasts between a second and a day: {text}")
    return seconds


def duration(text: str) -> float:
    """Parse a duration for argparse, to seconds."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def stats(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the history."""
    group = parser.add_argument_group("history")
    group.add_argument("--since", metavar="TIME", help="show the history: 10m, a Unix time, or RFC 3339")
    group.add_argument("--until", metavar="TIME", help="its end; default now")
    group.add_argument(
        "--step", type=int, choices=(1, 10, 60), help="seconds of one sample; default the finest there is"
    )
    group.add_argument("--export", choices=("csv", "json", "openmetrics"), help="print it for other programs")


def advise(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `advise`."""
    parser.add_argument("--over", type=duration, default=86400.0, metavar="TIME", help="how far to look back (1d)")
    parser.add_argument("--headroom", type=float, default=15.0, metavar="PERCENT", help="what to add to the use (15)")
    parser.add_argument("--apply", type=trial_time, metavar="TIME", help="apply it on trial for that time")
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument("containers", nargs="*", metavar="CONTAINER")


def metrics(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `metrics`."""
    parser.add_argument("--listen", metavar="[ADDRESS]:PORT", help="serve them over HTTP instead of printing them once")


def knobs(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `system knobs`."""
    add_flag(parser, "--json", help="print JSON")


def profile(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `profile`."""
    parser.add_argument("action", choices=("apply",))
    add_flag(parser, "--dry-run", help="only show what would be in force")
    parser.add_argument(
        "--trial", type=trial_time, metavar="TIME", help="take it back after that time, unless confirmed"
    )
    add_flag(parser, "--force", help="lower memory below what is in use")
    add_flag(parser, "--json", help="print JSON with --dry-run")
    parser.add_argument("file", type=Path, metavar="FILE")


def autotune(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `autotune`."""
    add_flag(parser, "--dry-run", help="only say what would be done")
    add_flag(parser, "--unit", help="print a systemd unit that runs it")
    parser.add_argument("file", type=Path, metavar="FILE")
