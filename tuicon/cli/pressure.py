"""`tuicon pressure`: who waits for what on this host, and who is in the way."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from tuicon.cli import output
from tuicon.cli.groups import watched
from tuicon.model import pressure
from tuicon.model.pressure import RESOURCES, Host

if TYPE_CHECKING:
    from engine.api import Engine

_TITLES = ("CONTAINER", "CPU", "MEMORY", "I/O", "10s 60s 300s", "CPU %", "WHO IS IN THE WAY")


def show(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon pressure."""
    reading, found = watched(engine, arguments.over)
    containers = {container.id: container for container in engine.containers.list()}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    listed = pressure.sufferers(found, containers, Host(os.cpu_count() or 1, memory, reading.pressure))
    if arguments.json:
        output.as_json({"host": reading.pressure, "containers": [_plain(one) for one in listed]})
        return 0
    print("host, in percent of the last 10 s, 60 s, 300 s:")
    for name, numbers, _ in pressure.host_lines(reading.pressure):
        print(f"  {name:<8}{numbers}")
    if reading.pressure.reason:
        print(f"  {reading.pressure.reason}")
    print()
    rows = pressure.pressure_rows(listed, pressure.columns_for(200))
    output.table(_TITLES, [[cell.text for cell in row.cells] for row in rows])
    return 0


def _plain(one: pressure.Sufferer) -> dict[str, object]:
    group = one.use.group
    return {
        "name": group.name, "id": group.container_id, "owner": group.owner, "path": group.path, "levels": one.levels,
        "full": {name: getattr(one.use, f"{name}_full") for name in RESOURCES},
        "averages": {name: getattr(group, f"{name}_pressure") for name in RESOURCES},
        "throttled": one.use.throttled, "cpu_percent": one.use.cpu_percent, "io_rate": one.use.io_rate,
        "memory_bytes": group.memory_bytes, "causes": one.causes,
    }  # fmt: skip
