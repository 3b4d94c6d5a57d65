"""Verbs on images."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from tuicon.cli import output
from tuicon.cli.containers import confirm, moment
from tuicon.cli.failure import Usage, complain
from tuicon.model import units

if TYPE_CHECKING:
    from engine.api import Engine

_COMMAND_WIDTH = 45


def load(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon load."""
    from engine.api import familiar_reference

    if arguments.input is None and sys.stdin.isatty():
        raise Usage("load: give an archive with -i, or on stdin")
    for image in engine.images.load(arguments.input or sys.stdin.buffer):
        if arguments.quiet:
            continue
        for reference in image.references:
            print(f"Loaded image: {':'.join(familiar_reference(reference))}")
        if not image.references:
            print(f"Loaded image ID: {image.id}")
    return 0


def import_(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon import."""
    source = sys.stdin.buffer if arguments.source == "-" else Path(arguments.source)
    image = engine.images.import_rootfs(source, arguments.reference, changes=tuple(arguments.change))
    print(image.id)
    return 0


def save(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon save."""
    if arguments.output is None and sys.stdout.isatty():
        raise Usage("save: give a file with -o, or send stdout somewhere")
    engine.images.save(tuple(arguments.images), arguments.output or sys.stdout.buffer, form=arguments.form)
    return 0


def history(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon history."""
    now = datetime.now(UTC)
    rows = [
        {
            "ID": step.layer if arguments.no_trunc else step.layer.removeprefix("sha256:")[:12] or "<none>",
            "CreatedSince": f"{units.ago(step.created_at, now)} ago" if step.created_at else "N/A",
            "CreatedAt": str(step.created_at or ""), "CreatedBy": step.created_by, "Size": units.size(step.size),
            "Comment": step.comment,
        }
        for step in engine.images.history(arguments.image)
    ]  # fmt: skip
    if arguments.quiet:
        for row in rows:
            print(row["ID"])
    elif arguments.json:
        output.as_json(rows)
    elif arguments.format:
        output.formatted(arguments.format, rows)
    else:
        width = None if arguments.no_trunc else _COMMAND_WIDTH
        keys = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
        cells = [
            [row[key] if key != "CreatedBy" else " ".join(row[key].split())[:width] for key in keys] for row in rows
        ]
        output.table(("LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"), cells)
    return 0


def prune(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image prune."""
    until, labels, without = _prune_filters(arguments.filter)
    plan = engine.images.plan_prune(
        takes_unused=arguments.all, until=until, labels=tuple(labels), without_labels=tuple(without)
    )
    if not plan.images:
        print("There is nothing to remove.")
        return 0
    if arguments.dry_run or not arguments.force:
        for item in plan.images:
            name = familiar(item.image.references) or "<none>"
            print(f"{item.image.short_id}  {name}  {item.reason}")
        print(f"That frees {units.size(plan.size)}.")
    if arguments.dry_run:
        return 0
    confirm("This removes these images.", arguments.force)
    for line in engine.images.prune(plan):
        print(line)
    print(f"Total reclaimed space: {units.size(plan.size)}")
    return 0


def familiar(names: tuple[str, ...]) -> str:
    """Return names in the short form, in one text."""
    from engine.api import familiar_reference

    return " ".join(":".join(familiar_reference(name)) for name in names)


def _prune_filters(filters: list[str]) -> tuple[datetime | None, list[str], list[str]]:
    until: datetime | None = None
    labels: list[str] = []
    without: list[str] = []
    for text in filters:
        key, equals, value = text.partition("=")
        if equals and key == "until":
            until = moment(value)
        elif equals and key == "label":
            labels.append(value)
        elif equals and key == "label!":
            without.append(value)
        else:
            raise Usage(f"unknown filter {text!r}: until=…, label=… and label!=… are known")
    return until, labels, without


def rmi(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon rmi."""
    failed = 0
    for ref in arguments.images:
        try:
            for line in engine.images.remove(ref, force=arguments.force):
                print(line)
        except EngineError as error:
            complain(str(error), error.hint)
            failed = 1
    return failed


def tag(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon tag."""
    engine.images.tag(arguments.image, arguments.reference)
    return 0
