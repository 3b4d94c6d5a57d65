"""Flags of the verbs on volumes, and which verbs there are."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tuicon.cli.words import add_flag, add_list


def _volume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("volume", metavar="VOLUME")


def ls(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume ls."""
    add_flag(parser, "-q", "--quiet", help="only names")
    add_list(parser, "-f", "--filter", metavar="KEY=VALUE", help="dangling, driver, label, name: only what fits")
    parser.add_argument("--format", metavar="TEMPLATE", help="json, table …, or text with {{.Field}}")
    add_flag(parser, "-s", "--size", help="measure what each occupies on the disk")
    add_flag(parser, "--json", help="print JSON")


def rm(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume rm."""
    add_flag(parser, "-f", "--force", help="it is fine when there is none")
    parser.add_argument("names", nargs="+", metavar="VOLUME")


def prune(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume prune."""
    add_flag(parser, "-a", "--all", help="named volumes too, not only anonymous ones")
    add_list(parser, "--filter", metavar="KEY=VALUE", help="label=…, label!=…, all=true")
    add_flag(parser, "-f", "--force", help="do not ask")
    add_flag(parser, "--dry-run", help="only show what would go, and how much")


def export(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume export."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="instead of stdout")
    _volume(parser)


def import_(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume import."""
    add_flag(parser, "--replace", help="instead of what is there, not in addition to it")
    _volume(parser)
    parser.add_argument("source", nargs="?", default="-", metavar="FILE|-", help="a tar archive; default stdin")


def files(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume files."""
    add_flag(parser, "-s", "--size", help="measure what each directory occupies")
    add_flag(parser, "--json", help="print JSON")
    _volume(parser)
    parser.add_argument("path", nargs="?", default="/", metavar="PATH")


def cat(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume cat."""
    _volume(parser)
    parser.add_argument("path", metavar="PATH")


def cp(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume cp."""
    add_flag(parser, "-a", "--archive", help="keep owners when copying to the host")
    add_flag(parser, "-L", "--follow-link", help="copy what a link leads to instead of the link")
    add_flag(parser, "-q", "--quiet", help="say nothing when it goes well")
    parser.add_argument("source", metavar="VOLUME:PATH|PATH|-", help="- reads a tar archive from stdin")
    parser.add_argument("target", metavar="VOLUME:PATH|PATH|-", help="- writes a tar archive to stdout")


def clone(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume clone."""
    parser.add_argument("--snapshot", default="", metavar="NAME", help="of this snapshot instead of the files now")
    _volume(parser)
    parser.add_argument("target", metavar="NEW")


def update(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume update."""
    parser.add_argument("--size", required=True, metavar="SIZE", help="what it may hold, such as 10G; 0 for no limit")
    parser.add_argument("names", nargs="+", metavar="VOLUME")


def snapshot(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume snapshot."""
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument("action", choices=("create", "ls", "restore", "rm"))
    _volume(parser)
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="the snapshot; a new one takes the time")


def _wishes(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--delete", help="remove what the source does not have")
    add_flag(parser, "-n", "--dry-run", help="only show what would be done")
    add_flag(parser, "-c", "--checksum", help="compare contents, not only sizes and times")


def sync(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume sync."""
    _wishes(parser)
    add_flag(parser, "-v", "--verbose", help="show each path")
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument(
        "-e",
        "--rsh",
        default=os.environ.get("TUICON_RSH", "ssh"),
        metavar="COMMAND",
        help="what reaches another host (default ssh)",
    )
    parser.add_argument("--remote-tuicon", default="tuicon", metavar="COMMAND", help="what tuicon is called there")
    parser.add_argument("source", metavar="VOLUME|HOST:VOLUME")
    parser.add_argument("target", metavar="VOLUME|HOST:VOLUME")


def serve(parser: argparse.ArgumentParser) -> None:
    """Add the flags of volume serve."""
    _wishes(parser)
    parser.add_argument("role", choices=("send", "receive"))
    _volume(parser)
