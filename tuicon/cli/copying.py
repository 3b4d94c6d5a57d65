"""Verbs that move files between containers, images and the host."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from tuicon.cli import output
from tuicon.cli.failure import Usage, complain
from tuicon.cli.words import add_flag, add_list
from tuicon.model import units

if TYPE_CHECKING:
    from engine.api import Engine
    from engine.model.change import Copied


def add_cp(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of cp."""
    add_flag(parser, "-a", "--archive", help="keep owners when copying to the host")
    add_flag(parser, "-L", "--follow-link", help="copy what a link leads to instead of the link")
    add_flag(parser, "-q", "--quiet", help="say nothing when it goes well")
    parser.add_argument("source", metavar="CONTAINER:PATH|PATH|-", help="- reads a tar archive from stdin")
    parser.add_argument("target", metavar="CONTAINER:PATH|PATH|-", help="- writes a tar archive to stdout")


def cp(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon cp."""
    source, target = place_of(arguments.source)[0], place_of(arguments.target)[0]
    if source and target:
        raise Usage("cp: one of the two paths must be on the host")
    if not source and not target:
        raise Usage("cp: one of the two paths must be in a container (CONTAINER:PATH)")
    return transfer(engine.containers, arguments, "cp")


class Room(Protocol):
    """What files are copied into and out of: the containers or the volumes of an engine."""

    def copy_in(self, ref: str, source: BinaryIO | str, path: str, /, *, follow_link: bool) -> Copied:
        """Copy into one of them."""
        ...

    def copy_out(
        self, ref: str, path: str, target: BinaryIO | str, /, *, keeps_owners: bool, follow_link: bool
    ) -> Copied:
        """Copy out of one of them."""
        ...


def transfer(room: Room, arguments: argparse.Namespace, verb: str) -> int:
    """Copy into a container or a volume, or out of it; one of the two paths is in it."""
    (source, source_path), (target, target_path) = place_of(arguments.source), place_of(arguments.target)
    if target:
        stream_or_path = sys.stdin.buffer if source_path == "-" else source_path
        copied = room.copy_in(target, stream_or_path, target_path, follow_link=arguments.follow_link)
    else:
        if target_path == "-" and sys.stdout.isatty():
            raise Usage(f"{verb}: send stdout somewhere, for an archive is no text")
        copied = room.copy_out(
            source, source_path, sys.stdout.buffer if target_path == "-" else target_path,
            keeps_owners=arguments.archive, follow_link=arguments.follow_link,
        )  # fmt: skip
    tell(copied, arguments.target, is_quiet=arguments.quiet)
    return 0


def add_diff(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of diff."""
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument("container", metavar="CONTAINER")


def diff(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon diff."""
    changes = engine.containers.diff(arguments.container)
    if arguments.json:
        shown = [(change.kind, os.fsencode(change.path).decode(errors="replace")) for change in changes]
        output.as_json([{"kind": kind, "path": path} for kind, path in shown])
        return 0
    for change in changes:
        sys.stdout.buffer.write(os.fsencode(f"{change.kind} {change.path}\n"))
    return 0


def add_commit(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of commit."""
    parser.add_argument("-a", "--author", default="", metavar="NAME", help="who made it")
    parser.add_argument("-m", "--message", default="", metavar="TEXT", help="what the image's history says")
    add_list(parser, "-c", "--change", metavar="INSTRUCTION", help="a Dockerfile instruction such as CMD, ENV or USER")
    add_flag(parser, "-p", help="stop its processes meanwhile (the default)")
    parser.add_argument("--pause", default="true", choices=("true", "false"), help="false lets its processes go on")
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("reference", nargs="?", default="", metavar="REFERENCE")


def commit(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon commit."""
    image = engine.containers.commit(
        arguments.container, arguments.reference, author=arguments.author, message=arguments.message,
        changes=tuple(arguments.change), pause=arguments.pause == "true",
    )  # fmt: skip
    print(image.id)
    return 0


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of export."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="instead of stdout")
    parser.add_argument("container", metavar="CONTAINER")


def export(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon export."""
    if arguments.output is None and sys.stdout.isatty():
        raise Usage("export: give a file with -o, or send stdout somewhere")
    copied = engine.containers.export(arguments.container, arguments.output or sys.stdout.buffer)
    tell(copied, str(arguments.output or "-"), is_quiet=True)
    return 0


def place_of(text: str) -> tuple[str, str]:
    """Return the container and the path of an argument; docker's rule: a path that begins with / or . is the host's."""
    container, colon, path = text.partition(":")
    if text == "-" or text.startswith(("/", ".")) or not colon:
        return "", text
    if not container or not path:
        raise Usage(f"cp: {text!r} is no CONTAINER:PATH")
    return container, path


def tell(copied: Copied, target: str, *, is_quiet: bool) -> None:
    """Say what was left out, and on a terminal how much was copied."""
    for warning in copied.warnings:
        complain(warning)
    if not is_quiet and sys.stderr.isatty():
        print(f"Copied {copied.entries} entries ({units.size(copied.size)}) to {target}", file=sys.stderr)
