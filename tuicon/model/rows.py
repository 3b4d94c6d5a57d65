"""Records as rows of a table; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from engine.model.container import Container
from engine.model.status import Status
from engine.model.value import Value
from tuicon.model import units
from tuicon.model.history import History
from tuicon.model.snapshot import Snapshot


class Cell(Value, frozen=True):
    """What stands in one column of a row.

    Attributes:
        text: The text.
        style: A style of the theme: "", "ok", "warn", "bad", "muted" or "accent".
        spark: Values of a sparkline before the text.
        maximum: What a full sparkline bar stands for; None takes the largest value.
        sort: What the column sorts by; None takes the text.
    """

    text: str
    style: str = ""
    spark: tuple[float, ...] = ()
    maximum: float | None = None
    sort: float | str | None = None


class Row(Value, frozen=True):
    """A row with the key of its object."""

    key: str
    cells: tuple[Cell, ...]


class Column(Value, frozen=True):
    """A column; a width of None takes what is left."""

    id: str
    title: str
    width: int | None
    align: str = "left"


_SPARK = 8
_SHORTEST_NAME = 12
_ALL = (
    Column("status", "STATUS", 10),
    Column("name", "NAME", None),
    Column("image", "IMAGE", 18),
    Column("cpu", "CPU %", 14, "right"),
    Column("memory", "MEMORY", 18, "right"),
    Column("io", "I/O R/W", 16, "right"),
    Column("net", "NET RX/TX", 16, "right"),
    Column("pids", "PIDS", 5, "right"),
    Column("age", "UP", 4, "right"),
)
_FIRST_TO_GO = ("image", "pids", "net", "io", "age", "memory")


def container_columns(width: int) -> tuple[Column, ...]:
    """Return the columns that fit into a width and leave room for the name; the least wanted go first."""
    columns = list(_ALL)
    for name in _FIRST_TO_GO:
        needed = sum(column.width or _SHORTEST_NAME for column in columns) + len(columns) + 1
        if needed <= width:
            break
        columns = [column for column in columns if column.id != name]
    return tuple(columns)


NETWORK_COLUMNS = (
    Column("name", "NETWORK", None), Column("driver", "DRIVER", 8), Column("subnet", "SUBNET", 18), Column("members", "USED", 4, "right"),
)  # fmt: skip


_RUNNING = {
    "": Cell("● running", "ok", sort="0"),
    "healthy": Cell("● healthy", "ok", sort="0"),
    "starting": Cell("● starting", "warn", sort="0"),
    "unhealthy": Cell("●unhealthy", "bad", sort="0"),
}


def status_cell(container: Container) -> Cell:
    """Return a glyph and a word for a container's status."""
    if container.status is Status.RUNNING:
        return _RUNNING[container.health.status if container.health else ""]
    if container.status is Status.PAUSED:
        return Cell("◐ paused", "warn", sort="1")
    if container.status is Status.RESTARTING:
        return Cell("↻ restarting", "bad", sort="1")
    if container.status is Status.EXITED:
        code = container.exit_code
        return Cell(f"○ exit {code if code is not None else '?'}", "muted" if code == 0 else "bad", sort="2")
    return Cell(f"○ {container.status}", "muted", sort="3")


def container_rows(snapshot: Snapshot, history: History, columns: Sequence[Column]) -> tuple[Row, ...]:
    """Return a row for each container."""
    return tuple(
        Row(container.id, tuple(_container_cell(column.id, container, snapshot, history) for column in columns))
        for container in snapshot.containers
    )


def _container_cell(column: str, container: Container, snapshot: Snapshot, history: History) -> Cell:
    if column == "status":
        return status_cell(container)
    if column == "name":
        return Cell(container.name, "" if container.status.is_alive else "muted")
    if column == "image":
        return Cell(_short_image(container.image), "muted")
    if column == "age":
        return _age_cell(container, snapshot.taken_at)
    usage = snapshot.usages.get(container.id)
    if usage is None:
        return Cell("", sort=-1.0)
    counters = usage.counters
    if column == "cpu":
        values = tuple(history.series(container.id, "cpu"))[-_SPARK:]
        limit = container.limits.effective_cpus
        is_high = limit is not None and usage.cpu_percent > 90 * limit
        return Cell(
            f"{usage.cpu_percent:5.1f}", "warn" if is_high else "", values, 100 * (limit or 1), usage.cpu_percent
        )
    if column == "memory":
        values = tuple(history.series(container.id, "memory"))[-_SPARK:]
        limit_text = f"/{units.short_size(counters.memory_limit_bytes)}" if counters.memory_limit_bytes else ""
        text = f"{units.short_size(counters.memory_bytes)}{limit_text}"
        style = "bad" if usage.memory_percent > 95 else "warn" if usage.memory_percent > 80 else ""
        return Cell(text, style, values, counters.memory_limit_bytes, float(counters.memory_bytes))
    if column == "io":
        both = usage.read_rate + usage.write_rate
        return Cell(f"{units.rate(usage.read_rate)} {units.rate(usage.write_rate)}", "" if both else "muted", sort=both)
    if column == "net":
        both = usage.rx_rate + usage.tx_rate
        return Cell(f"{units.rate(usage.rx_rate)} {units.rate(usage.tx_rate)}", "" if both else "muted", sort=both)
    return Cell(str(counters.pids), sort=float(counters.pids))


def _age_cell(container: Container, now: datetime) -> Cell:
    moment = container.started_at if container.status.is_alive else container.finished_at
    seconds = (now - moment).total_seconds() if moment else 0.0
    return Cell(units.short_duration(seconds) if moment else "", "muted", sort=seconds)


def _short_image(reference: str) -> str:
    return reference.removeprefix("docker.io/library/").removeprefix("docker.io/").removesuffix(":latest")


def network_rows(snapshot: Snapshot) -> tuple[Row, ...]:
    """Return a row for each network."""
    rows = []
    for network in snapshot.networks:
        members = sum(
            1
            for container in snapshot.containers
            if container.status.is_alive
            and network.name in (container.spec.network, *(item.network for item in container.spec.attachments))
        )
        subnet = network.subnet or "-"
        count = Cell(str(members), "" if members else "muted", sort=float(members))
        rows.append(Row(network.id, (Cell(network.name), Cell(network.driver, "muted"), Cell(subnet, "muted"), count)))
    return tuple(rows)


def matches(row: Row, pattern: str) -> bool:
    """Return whether a row fits a filter: words that all occur; a leading ! excludes a word."""
    text = " ".join(cell.text for cell in row.cells).lower() + " " + row.key
    for word in pattern.lower().split():
        excluded = word.startswith("!") and len(word) > 1
        if (word.lstrip("!") in text) == excluded and word != "!":
            return False
    return True


def ordered(rows: Sequence[Row], columns: Sequence[Column], by: str, *, is_reversed: bool) -> tuple[Row, ...]:
    """Return the rows sorted by a column; an unknown column keeps their order."""
    places = [place for place, column in enumerate(columns) if column.id == by]
    if not places:
        return tuple(rows)

    def key(row: Row) -> tuple[int, float, str]:
        cell = row.cells[places[0]]
        value = cell.text.lower() if cell.sort is None else cell.sort
        return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))

    return tuple(sorted(rows, key=key, reverse=is_reversed))
