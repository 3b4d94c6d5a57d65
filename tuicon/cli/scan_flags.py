"""Flags of the verbs that list and judge packages; building them imports nothing but argparse."""

from __future__ import annotations

import argparse
from pathlib import Path

_KINDS = ("deb", "apk", "rpm", "pypi", "npm", "golang", "maven")


def packages(parser: argparse.ArgumentParser) -> None:
    """Add the flags of image packages."""
    parser.add_argument("-k", "--kind", default="", choices=_KINDS, metavar="KIND", help=f"only {', '.join(_KINDS)}")
    parser.add_argument("--no-trunc", action="store_true", help="whole layers and licences")
    parser.add_argument("--format", metavar="TEMPLATE", help="json, table …, or text with {{.Field}}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("image", metavar="IMAGE")


def sbom(parser: argparse.ArgumentParser) -> None:
    """Add sbom's flags."""
    parser.add_argument("--format", default="cyclonedx", choices=("cyclonedx", "spdx"), help="default cyclonedx")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default stdout")
    parser.add_argument("image", metavar="IMAGE")


def scan(parser: argparse.ArgumentParser) -> None:
    """Add scan's flags."""
    parser.add_argument("--severity", default="", metavar="LEVEL,…", help="only these: critical, high, medium, low, …")
    parser.add_argument("--only-fixed", action="store_true", help="only what a newer version fixes")
    parser.add_argument("--fail-on", default="", metavar="LEVEL", help="exit with 1 when something is as bad as this")
    parser.add_argument(
        "--ignore-file", type=Path, metavar="FILE", help="TOML with [[ignore]] id, package, until, reason"
    )
    parser.add_argument("--format", default="table", choices=("table", "json", "sarif"), help="default table")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default stdout")
    parser.add_argument(
        "--scanner", default="tuicon", choices=("tuicon", "trivy", "grype"), help="hand the image to another scanner"
    )
    store = parser.add_argument_group("databases of advisories, in the OSV format")
    store.add_argument(
        "--import",
        type=Path,
        dest="source",
        metavar="FILE|DIR",
        help="import a zip, a directory or JSON, such as osv.dev's all.zip",
    )
    store.add_argument("--name", default="", metavar="NAME", help="call the imported one so")
    store.add_argument("--list", action="store_true", dest="lists", help="list them with their age")
    store.add_argument("--remove", default="", metavar="NAME", help="remove one")
    parser.add_argument("image", nargs="?", metavar="IMAGE")
