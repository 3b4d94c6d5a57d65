"""Flags of the verbs that look inside images."""

from __future__ import annotations

import argparse
from pathlib import Path

from tuicon.cli.words import add_flag

_TOP = 20


def layers(parser: argparse.ArgumentParser) -> None:
    """Add the flags of image layers."""
    add_flag(parser, "--no-trunc", help="whole commands and ids")
    _image(parser)


def tree(parser: argparse.ArgumentParser) -> None:
    """Add the flags of image tree."""
    _layer(parser, "what this layer changed, marked; default the whole image, marked against its lowest layer")
    add_flag(parser, "--changed", help="only what was added, changed or removed")
    _selection(parser)
    parser.add_argument("--depth", type=_natural, metavar="N", help="only N levels")
    _image(parser)


def diff(parser: argparse.ArgumentParser) -> None:
    """Add the flags of image diff."""
    _selection(parser)
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("other", metavar="IMAGE")


def waste(parser: argparse.ArgumentParser) -> None:
    """Add the flags of image waste, with dive's rules for CI."""
    parser.add_argument("--lowest-efficiency", metavar="RATIO", help="fail below it: 0..1")
    parser.add_argument("--highest-wasted-bytes", metavar="BYTES", help="fail above it: 20MB, 20MiB")
    parser.add_argument(
        "--highest-user-wasted-percent", metavar="RATIO", help="fail above it: 0..1 of the layers on the lowest"
    )
    parser.add_argument(
        "-n", "--top", type=_natural, default=_TOP, metavar="N", help=f"how many paths (default {_TOP})"
    )
    _image(parser)


def cat(parser: argparse.ArgumentParser) -> None:
    """Add the flags of image cat."""
    _layer(parser, "as it is after this layer; default the highest")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("path", metavar="PATH")


def extract(parser: argparse.ArgumentParser) -> None:
    """Add the flags of image extract."""
    cat(parser)
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument("target", type=Path, metavar="DEST", help="a new path, or a directory")


def advice(parser: argparse.ArgumentParser) -> None:
    """Add the flags of image advice."""
    _image(parser)


def shared(parser: argparse.ArgumentParser) -> None:
    """Add the flags of image shared."""
    add_flag(parser, "--json", help="print JSON")


def _image(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument("image", metavar="IMAGE")


def _layer(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--layer", type=_natural, metavar="N", help=text)


def _selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filter", default="", metavar="WORDS", help="only paths with these words; !not")
    parser.add_argument("--sort", default="name", choices=("name", "size"), help="the order of siblings")


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number
