"""The flags of the verbs on networks."""

from __future__ import annotations

import argparse

from tuicon.cli.words import add_flag, add_list


def create(parser: argparse.ArgumentParser) -> None:
    """Add the flags of network create."""
    parser.add_argument("--subnet", default="", metavar="CIDR", help="its addresses; default a free /24")
    add_flag(parser, "--internal", help="no way out")
    parser.add_argument("-d", "--driver", default="bridge", choices=("bridge",), help="kind of network")
    add_list(parser, "--label", metavar="NAME=VALUE", help="set a label")
    parser.add_argument("name", metavar="NAME")
