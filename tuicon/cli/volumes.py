"""Verbs on volumes: lists, archives, files, clones and snapshots."""

from __future__ import annotations

import argparse
import shlex
import stat
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import NotSupported
from engine.model.volume import Way, Wishes
from tuicon.cli import listing, output
from tuicon.cli.containers import confirm, each
from tuicon.cli.copying import place_of, tell, transfer
from tuicon.cli.failure import Usage, complain
from tuicon.cli.inside import print_file
from tuicon.model import units
from tuicon.model.text import printable
from tuicon.model.volumes import changed_text

if TYPE_CHECKING:
    from engine.api import Engine
    from engine.model.contents import FileEntry
    from engine.model.volume import Volume

_HOWS = {
    "snapshot": "It is a snapshot of btrfs: made at one moment, and it takes no space.",
    "reflink": "Its files share their data with the first ones, so it takes no space.",
    "copy": "It is a copy, for this file system can share no data between files.",
}


def ls(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume ls."""
    sizes = arguments.size or ".Size" in (arguments.format or "")
    records = [
        {"Driver": volume.driver, "Name": volume.name, "Mountpoint": volume.mountpoint, "Labels": volume.labels,
            "Scope": "local", "Links": str(len(volume.used_by)), "UsedBy": str(len(volume.used_by)),
            "Size": _size(engine, volume) if sizes else "N/A", "CreatedAt": volume.created_at.isoformat()}
        for volume in engine.volumes.list()
    ]  # fmt: skip
    dangling: dict[str, Callable[[dict[str, Any], str], bool]] = {
        "dangling": lambda record, value: (record["Links"] == "0") == (value in ("true", "1")),
    }
    keys = ("Driver", "Name", "UsedBy") + ("Size",) * sizes
    titles = ("DRIVER", "VOLUME NAME", "USED BY") + ("SIZE",) * sizes
    listing.show(arguments, records, keys, titles, "Name", dangling)
    return 0


def _size(engine: Engine, volume: Volume) -> str:
    try:
        return units.size(engine.volumes.measure(volume.name).size)
    except NotSupported:
        return "N/A"


def rm(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume rm."""
    return each(arguments.names, lambda name: engine.volumes.remove(name, force=arguments.force))


def prune(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume prune."""
    labels: list[str] = []
    without: list[str] = []
    takes_named = arguments.all
    for text in arguments.filter:
        key, equals, value = text.partition("=")
        if key == "all":
            takes_named = takes_named or value in ("true", "1")
        elif equals and key in ("label", "label!"):
            (labels if key == "label" else without).append(value)
        else:
            raise Usage(f"unknown filter {text!r}: known are label, label! and all")
    plan = engine.volumes.plan_prune(takes_named=takes_named, labels=tuple(labels), without_labels=tuple(without))
    if not plan.volumes:
        print("There is nothing to remove.")
        return 0
    if arguments.dry_run or not arguments.force:
        for volume in plan.volumes:
            print(f"{volume.name}  {units.size(volume.size or 0)}")
        print(f"That frees {units.size(plan.size)}.")
    if arguments.dry_run:
        return 0
    confirm("This removes these volumes with all their files and snapshots.", arguments.force)
    gone = set(engine.volumes.prune(plan))
    for name in sorted(gone):
        print(name)
    freed = sum(volume.size or 0 for volume in plan.volumes if volume.name in gone)
    print(f"Total reclaimed space: {units.size(freed)}")
    return 0


def export(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume export."""
    if arguments.output is None and sys.stdout.isatty():
        raise Usage("volume export: give a file with -o, or send stdout somewhere")
    copied = engine.volumes.export(arguments.volume, arguments.output or sys.stdout.buffer)
    tell(copied, str(arguments.output or "-"), is_quiet=True)
    return 0


def import_(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume import."""
    if arguments.source == "-" and sys.stdin.isatty():
        raise Usage("volume import: name a file, or send an archive to stdin")
    source = sys.stdin.buffer if arguments.source == "-" else Path(arguments.source)
    copied = engine.volumes.import_(arguments.volume, source, replaces=arguments.replace)
    tell(copied, arguments.volume, is_quiet=False)
    return 0


def files(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume files."""
    found = engine.volumes.files(arguments.volume, arguments.path)
    if arguments.json:
        output.as_json([_record(entry) for entry in found], is_ascii=True)
        return 0
    rows = []
    for entry in found:
        size = units.size(entry.size)
        if entry.kind == "d":
            size = units.size(engine.volumes.measure(arguments.volume, entry.path).size) if arguments.size else "-"
        mode = entry.kind + stat.filemode(entry.mode)[1:]
        name = entry.path.rpartition("/")[2] + (f" -> {entry.link}" if entry.link else "")
        rows.append((mode, f"{entry.uid}:{entry.gid}", size, changed_text(entry), printable(name)))
    output.table(("MODE", "OWNER", "SIZE", "CHANGED (UTC)", "NAME"), rows)
    return 0


def _record(entry: FileEntry) -> dict[str, Any]:
    record: dict[str, Any] = output.plain(entry)
    return {key: value for key, value in record.items() if key not in ("before", "change", "layer")}


def cat(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume cat."""
    with engine.volumes.open(arguments.volume, arguments.path) as file:
        print_file(file)
    return 0


def cp(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume cp."""
    source, target = place_of(arguments.source)[0], place_of(arguments.target)[0]
    if bool(source) == bool(target):
        raise Usage("volume cp: one of the two paths must be in a volume (VOLUME:PATH), the other on the host")
    return transfer(engine.volumes, arguments, "volume cp")


def clone(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume clone."""
    made = engine.volumes.clone(arguments.volume, arguments.target, from_snapshot=arguments.snapshot)
    print(made.volume.name)
    _say_how(made.how)
    return 0


def snapshot(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume snapshot."""
    volumes, volume, name = engine.volumes, arguments.volume, arguments.name
    if arguments.action == "create":
        made = volumes.snapshot(volume, name)
        print(made.name)
        _say_how(made.how)
        return 0
    if arguments.action == "ls":
        found = volumes.snapshots(volume)
        if arguments.json:
            output.as_json(found)
        else:
            now = datetime.now(UTC)
            rows = [(one.name, f"{units.ago(one.created_at, now)} ago", one.how) for one in found]
            output.table(("SNAPSHOT", "CREATED", "HOW"), rows)
        return 0
    if not name:
        raise Usage(f"volume snapshot {arguments.action}: the name of the snapshot is missing")
    if arguments.action == "restore":
        volumes.restore(volume, name)
    else:
        volumes.remove_snapshot(volume, name)
    print(name)
    return 0


def _say_how(how: str) -> None:
    if sys.stderr.isatty():
        print(_HOWS[how], file=sys.stderr)


def update(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume update."""
    size = units.parse_size(arguments.size)
    if size < 0:
        raise Usage(f"invalid size: {arguments.size!r}")
    return each(arguments.names, lambda name: engine.volumes.resize(name, size))


def sync(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume sync."""
    way = Way(tuple(shlex.split(arguments.rsh)), tuple(shlex.split(arguments.remote_tuicon)))
    if not (way.shell and way.program):
        raise Usage("volume sync: --rsh and --remote-tuicon must name programs")
    done = engine.volumes.sync(arguments.source, arguments.target, _wishes(arguments), way)
    for warning in done.warnings:
        complain(printable(warning))
    if arguments.json:
        output.as_json(done, is_ascii=True)
        return 0
    if arguments.verbose or arguments.dry_run:
        for change in done.changes:
            print(f"{change.kind} {printable(change.path)}")
    would = "would be " if arguments.dry_run else ""
    print(
        f"{done.files} files: {done.sent} {would}sent ({units.size(done.size)}), {done.touched} {would}changed, {done.removed} {would}removed"
    )
    return 0


def serve(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume serve: what `volume sync` starts on another host."""
    from engine.api import wire

    engine.volumes.serve(
        arguments.volume, wire(sys.stdin.buffer, _write_out), _wishes(arguments), receives=arguments.role == "receive"
    )
    return 0


def _write_out(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _wishes(arguments: argparse.Namespace) -> Wishes:
    return Wishes(arguments.delete, arguments.dry_run, arguments.checksum)
