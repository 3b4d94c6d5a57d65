"""`tuicon cgroups`: the control groups of the whole host as a tree, and all that the kernel says of one."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING

from engine.model.groups import GroupReading, cpu_shares
from tuicon.cli import output
from tuicon.model import groups
from tuicon.model.groups import Use
from tuicon.model.rows import Column

if TYPE_CHECKING:
    from engine.api import Engine

_COLUMNS = tuple(
    Column(name, title, None, align)
    for name, title, align in (
        ("name", "GROUP", "left"), ("owner", "OWNER", "left"), ("cpu", "CPU %", "right"), ("cpu_bar", "OF CPU LIMIT", "left"),
        ("memory", "MEMORY", "right"), ("memory_bar", "OF MEMORY LIMIT", "left"), ("io", "I/O", "right"),
        ("tasks", "TASKS", "right"), ("weight", "WEIGHT", "right"), ("cpu_share", "CPU SHARE", "left"), ("pressure", "PRESSURE", "right"),
    )
)  # fmt: skip


def watched(engine: Engine, seconds: float) -> tuple[GroupReading, dict[str, Use]]:
    """Return the newer of two readings of all groups, and what each group used between them."""
    older = engine.groups.read()
    time.sleep(seconds)
    newer = engine.groups.read()
    return newer, groups.uses(older, newer)


def cgroups(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon cgroups."""
    if arguments.path:
        detail = engine.groups.inspect(arguments.path)
        if arguments.json:
            output.as_json(detail)
        else:
            print(groups.detail_text(detail))
        return 0
    reading, found = watched(engine, arguments.over)
    if arguments.json:
        _as_json(reading, found)
        return 0
    rows = groups.tree_rows(
        found,
        _COLUMNS,
        pattern=arguments.filter,
        sort_by=arguments.sort,
        hides_idle=not arguments.all,
        cpus=os.cpu_count() or 1,
    )
    output.table([column.title for column in _COLUMNS], [[cell.text for cell in row.cells] for row in rows])
    if reading.pressure.reason:
        print(f"\n{reading.pressure.reason}")
    return 0


def _as_json(reading: GroupReading, found: dict[str, Use]) -> None:
    shares = cpu_shares(reading.groups)
    rates = ("cpu_percent", "io_rate", "growth", "throttled", "cpu_pressure", "memory_pressure", "io_pressure")
    items = [
        output.plain(use.group)
        | {"cpu_share": shares[path], "rates": {name: round(getattr(use, name), 3) for name in rates}}
        for path, use in found.items()
    ]
    output.as_json({"version": reading.version, "pressure": reading.pressure, "groups": items})
