"""Flags of the verbs that speak to registries, or move images; building them imports nothing but argparse."""

from __future__ import annotations

import argparse
from pathlib import Path


def _connection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cert-dir", type=Path, metavar="DIR", help="ca .crt, and .cert and .key of the client")
    parser.add_argument(
        "--tls-verify",
        choices=("true", "false"),
        help="false: take any certificate, and plain http; default as configured",
    )


def policy(parser: argparse.ArgumentParser) -> None:
    """Add the flag that says when run and create pull their image."""
    parser.add_argument(
        "--pull", default="missing", choices=("missing", "always", "never"), help="when to pull the image"
    )


def pull(parser: argparse.ArgumentParser) -> None:
    """Add pull's flags."""
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the reference")
    parser.add_argument("-a", "--all-tags", action="store_true", help="all tags of the repository")
    parser.add_argument("--platform", default="", metavar="OS/ARCH[/VARIANT]", help="instead of this machine's")
    parser.add_argument("--from", type=Path, dest="listed", metavar="FILE", help="pull what the lines of a file name")
    _connection(parser)
    parser.add_argument("references", nargs="*", metavar="REFERENCE")


def push(parser: argparse.ArgumentParser) -> None:
    """Add push's flags."""
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the reference")
    parser.add_argument("-a", "--all-tags", action="store_true", help="all tags of the repository that are here")
    _connection(parser)
    parser.add_argument("reference", metavar="REFERENCE")


def login(parser: argparse.ArgumentParser) -> None:
    """Add login's flags."""
    parser.add_argument("-u", "--username", default="", metavar="NAME", help="user name")
    parser.add_argument("--password-stdin", action="store_true", help="read the password from stdin")
    _connection(parser)
    parser.add_argument("registry", nargs="?", default="docker.io", metavar="REGISTRY")


def logout(parser: argparse.ArgumentParser) -> None:
    """Add logout's argument."""
    parser.add_argument("registry", nargs="?", default="docker.io", metavar="REGISTRY")


def search(parser: argparse.ArgumentParser) -> None:
    """Add search's flags."""
    parser.add_argument("--limit", type=int, default=25, metavar="N", help="at most N results")
    _connection(parser)
    _output(parser)
    parser.add_argument("term", metavar="TERM", help="a word, or REGISTRY/word for a registry's catalogue")


def remote(parser: argparse.ArgumentParser) -> None:
    """Add the flags of what asks a registry about one reference."""
    _connection(parser)
    _output(parser)
    parser.add_argument("reference", metavar="REFERENCE")


def save(parser: argparse.ArgumentParser) -> None:
    """Add save's flags."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default stdout")
    parser.add_argument(
        "--form", default="docker", choices=("docker", "oci", "oci-dir"), help="docker's is an OCI archive too"
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE")


def history(parser: argparse.ArgumentParser) -> None:
    """Add history's flags."""
    parser.add_argument("-q", "--quiet", action="store_true", help="only layers")
    parser.add_argument("--no-trunc", action="store_true", help="whole commands")
    _output(parser)
    parser.add_argument("image", metavar="IMAGE")


def prune(parser: argparse.ArgumentParser) -> None:
    """Add the flags of image prune."""
    parser.add_argument("-a", "--all", action="store_true", help="also images with a name that no container uses")
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="only show what would go")
    parser.add_argument(
        "--filter", action="append", default=[], metavar="KEY=VALUE", help="until=TIME, label=NAME[=VALUE], label!=…"
    )


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", metavar="TEMPLATE", help="json, table …, or text with {{.Field}}")
    parser.add_argument("--json", action="store_true", help="print JSON")
