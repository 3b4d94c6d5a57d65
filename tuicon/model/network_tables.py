"""A network's members, counters and rules as rows of tables; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.model.network import Network
from engine.model.usage import InterfaceCounters
from tuicon.model import units
from tuicon.model.members import Member, device_of, members_of
from tuicon.model.rows import Cell, Column, Row, status_cell
from tuicon.model.snapshot import Snapshot

COUNTER_COLUMNS = (
    Column("interface", "INTERFACE", None), Column("rx", "RECEIVED", 9, "right"), Column("tx", "SENT", 9, "right"),
    Column("rx_packets", "PACKETS IN", 10, "right"), Column("tx_packets", "OUT", 9, "right"),
    Column("errors", "ERRORS", 6, "right"), Column("dropped", "DROPPED", 7, "right"),
)  # fmt: skip
RULE_COLUMNS = (
    Column("where", "IN", 17),
    Column("packets", "PACKETS", 9, "right"),
    Column("bytes", "BYTES", 8, "right"),
    Column("rule", "RULE", None),
)
_MEMBERS = (
    Column("status", "STATUS", 10), Column("name", "CONTAINER", None), Column("interface", "IF", 5), Column("address", "ADDRESS", 15),
    Column("mac", "MAC", 17), Column("in", "IN", 8, "right"), Column("out", "OUT", 8, "right"), Column("limits", "LIMITS", 15),
    Column("ports", "PORTS", 24), Column("names", "ALSO", 16),
)  # fmt: skip
_FIRST_TO_GO = ("mac", "names", "limits", "interface", "ports", "status")
_SHORTEST_NAME = 12
_COUNTER = re.compile(r"counter packets (\d+) bytes (\d+) ?")


def member_columns(width: int) -> tuple[Column, ...]:
    """Return the columns that fit into a width; the least wanted go first."""
    columns = list(_MEMBERS)
    for name in _FIRST_TO_GO:
        if sum(column.width or _SHORTEST_NAME for column in columns) + len(columns) + 1 <= width:
            break
        columns = [column for column in columns if column.id != name]
    return tuple(columns)


def member_rows(members: Sequence[Member], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Return a row for each member; its key is the member's."""
    return tuple(Row(member.key, tuple(_member_cell(column.id, member) for column in columns)) for member in members)


def _member_cell(column: str, member: Member) -> Cell:
    muted = "" if member.is_alive else "muted"
    match column:
        case "status":
            return status_cell(member.container)
        case "name":
            return Cell(member.container.name, muted)
        case "in" | "out":
            value = (member.flow.rx if column == "in" else member.flow.tx) if member.flow else None
            return Cell("" if value is None else units.rate(value), "" if value else "muted")
        case "limits":
            limits = (member.limit_in, member.limit_out)
            return Cell(f"≤{_limit(limits[0])} ≤{_limit(limits[1])}" if any(limits) else "", "warn")
    text = {
        "interface": member.interface, "address": member.address or member.address6 or "-", "mac": member.mac, "ports": member.ports,
        "names": ", ".join(member.names),
    }[column]  # fmt: skip
    return Cell(text, "muted" if column in ("interface", "mac") else muted)


def _limit(value: int | None) -> str:
    return units.short_size(value) if value else "∞"


def counter_rows(network: Network, snapshot: Snapshot) -> tuple[Row, ...]:
    """Return a row for each interface on the way: the host's, the bridge or parent, and the members', each as its owner sees it."""
    found = []
    for name, what in ((snapshot.uplink, "way out of the host"), (device_of(network), network.driver)):
        if name in snapshot.links and network.driver != "null":
            found.append(_counter_row(f"host/{name}", Cell(f"{name}  {what}"), snapshot.links[name].counters))
    for member in members_of(network, snapshot):
        usage = snapshot.usages.get(member.container.id)
        found += [
            _counter_row(member.key, Cell(f"{member.container.name}  {counters.name}"), counters)
            for counters in (usage.counters.interfaces if usage else ())
            if counters.name == member.interface
        ]
    return tuple({row.key: row for row in found}.values())


def _counter_row(key: str, name: Cell, counters: InterfaceCounters) -> Row:
    def troubles(count: int) -> Cell:
        return Cell(str(count), "bad" if count else "muted", sort=float(count))

    sizes = [
        Cell(units.short_size(count), "" if count else "muted") for count in (counters.rx_bytes, counters.tx_bytes)
    ]
    packets = [Cell(str(count), "" if count else "muted") for count in (counters.rx_packets, counters.tx_packets)]
    errors = troubles(counters.rx_errors + counters.tx_errors)
    return Row(key, (name, *sizes, *packets, errors, troubles(counters.rx_dropped + counters.tx_dropped)))


def rule_rows(lines: Sequence[str]) -> tuple[tuple[Column, ...], tuple[Row, ...]]:
    """Return columns and rows for lines such as "chain forward: RULE"; what was counted gets columns of its own, when anything was."""
    has_counters = any(_COUNTER.search(line) for line in lines)
    columns = RULE_COLUMNS if has_counters else RULE_COLUMNS[:1] + RULE_COLUMNS[3:]
    rows = []
    for number, line in enumerate(lines):
        place, colon, rule = line.partition(": ")
        found = _COUNTER.search(rule)
        counted = "accent" if found and int(found[1]) else "muted"
        counters = (
            Cell(found[1] if found else "", counted), Cell(units.short_size(int(found[2])) if found else "", counted),
        )  # fmt: skip
        text = _COUNTER.sub("", rule) if colon else line
        cells = (Cell(place if colon else "", "muted"), *(counters if has_counters else ()), Cell(text))
        rows.append(Row(str(number), cells))
    return columns, tuple(rows)
