"""How far a transfer is: layers, rates, what is left, and the texts for it; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum

from engine.model.transfer import ENDED, Phase, Progress
from engine.model.value import Value
from tuicon.model import units
from tuicon.model.rows import Cell, Column, Row

_WINDOW = 5.0
"""Seconds over which a rate is measured."""
_MOVES = frozenset({Phase.DOWNLOADING, Phase.UPLOADING})
_NEEDS_NOTHING = frozenset({Phase.EXISTS, Phase.MOUNTED})
STOPPABLE = frozenset({"pull", "push"})
"""Kinds of transfers that can be called off."""
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LONGEST_SHOWN = 99 * 3600


class State(StrEnum):
    """Where a transfer is; the value is what a person reads."""

    RUNNING = "running"
    STOPPING = "ending"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "called off"


class LayerProgress(Value, frozen=True):
    """One layer.

    Attributes:
        rate: Bytes a second now; 0 when nothing moves.
        note: What made it retry.
    """

    layer: str
    phase: Phase
    done: int
    total: int
    rate: float = 0.0
    note: str = ""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until it is here at this rate; None when that cannot be told."""
        return (self.total - self.done) / self.rate if self.rate > 0 and self.total > self.done else None


class TransferProgress(Value, frozen=True):
    """A transfer at one moment.

    Attributes:
        id: Its number as text.
        kind: pull, push, save or load.
        name: What is transferred.
        outcome: When it has ended, one sentence about it.
        seconds: How long it has gone on.
        layers: In the order of the image.
        done, total: Bytes, without the layers that are there already.
        rate: Bytes a second.
    """

    id: str
    kind: str
    name: str
    state: State = State.RUNNING
    outcome: str = ""
    seconds: float = 0.0
    layers: tuple[LayerProgress, ...] = ()
    done: int = 0
    total: int = 0
    rate: float = 0.0

    @property
    def is_active(self) -> bool:
        """Whether it goes on."""
        return self.state in (State.RUNNING, State.STOPPING)

    @property
    def share(self) -> float | None:
        """How much of it is done, 0..1; None when that is not known yet."""
        if self.state is State.DONE:
            return 1.0
        return self.done / self.total if self.total else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all is here at this rate; None when that cannot be told."""
        return (self.total - self.done) / self.rate if self.rate > 0 and self.total > self.done else None


class TransferEnded(Value, frozen=True):
    """How a transfer ended: with a result, or with an error, or called off with neither."""

    progress: TransferProgress
    result: object
    error: Exception | None
    then: Callable[[object], None] | None


class Tally:
    """Adds up the news of a transfer's layers; its caller sees to it that it is used by one thread at a time."""

    def __init__(self) -> None:
        self._layers: dict[str, Progress] = {}
        self._moved: dict[str, deque[tuple[float, int]]] = {}

    def take(self, news: Progress, now: float) -> None:
        """Take news of a layer; what comes after its end is about the same layer once more, and says nothing."""
        before = self._layers.get(news.layer)
        if before is not None and before.phase in ENDED:
            return
        self._layers[news.layer] = news
        if news.phase not in _MOVES:
            self._moved.pop(news.layer, None)
            return
        moved = self._moved.setdefault(news.layer, deque())
        if moved and news.done < moved[-1][1]:
            moved.clear()  # it started over
        moved.append((now, news.done))
        while len(moved) > 2 and moved[0][0] < now - _WINDOW:
            moved.popleft()

    def layers(self, now: float) -> tuple[LayerProgress, ...]:
        """Return the layers as they are now."""
        return tuple(
            LayerProgress(news.layer, news.phase, news.done, news.total, self._rate(news.layer, now), news.note)
            for news in self._layers.values()
        )

    def _rate(self, layer: str, now: float) -> float:
        moved = self._moved.get(layer)
        if not moved:
            return 0.0
        since, start = moved[0]
        return (moved[-1][1] - start) / max(now - since, 0.1)


def totals(layers: tuple[LayerProgress, ...]) -> tuple[int, int, float]:
    """Return bytes done, bytes in all and bytes a second of the layers that have to be moved."""
    wanted = [layer for layer in layers if layer.phase not in _NEEDS_NOTHING]
    return (
        sum(layer.done for layer in wanted),
        sum(layer.total for layer in wanted),
        sum(layer.rate for layer in wanted),
    )


def bar(share: float | None, width: int) -> str:
    """Return a bar of blocks; dots where nothing is known."""
    if share is None:
        return "·" * width
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width, "░")


def clock(seconds: float | None) -> str:
    """Return a duration as "0:08" or "1:02:03"; "" when it is not known or of no use."""
    if seconds is None or seconds > _LONGEST_SHOWN:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def amount(done: int, total: int) -> str:
    """Return "12.3M/45.6M"."""
    return f"{units.short_size(done)}/{units.short_size(total)}" if total else ""


_STYLES = {
    State.RUNNING: "accent", State.STOPPING: "warn", State.DONE: "ok", State.FAILED: "bad", State.CANCELLED: "muted",
}  # fmt: skip
_WORDS = {"pull": "pulling", "push": "pushing", "save": "saving", "load": "loading"}
_BAR = 16


def transfer_columns(width: int) -> tuple[Column, ...]:
    """Return the columns of the list of transfers that fit into a width."""
    columns = [
        Column("kind", "", 4), Column("name", "TRANSFER", None), Column("bar", "", _BAR), Column("amount", "BYTES", 13, "right"),
        Column("rate", "RATE", 8, "right"), Column("left", "LEFT", 7, "right"), Column("state", "STATE", 10),
    ]  # fmt: skip
    return tuple(column for column in columns if width >= 96 or column.id not in ("amount", "left"))


def transfer_row(transfer: TransferProgress, columns: tuple[Column, ...]) -> Row:
    """Return a transfer as a row."""
    style = _STYLES[transfer.state]
    cells = {
        "kind": Cell(transfer.kind, "muted"), "name": Cell(transfer.name), "bar": Cell(bar(transfer.share, _BAR), style),
        "amount": Cell(amount(transfer.done, transfer.total)), "rate": Cell(units.rate(transfer.rate) if transfer.rate else ""),
        "left": Cell(clock(transfer.seconds_left)), "state": Cell(transfer.state.value, style),
    }  # fmt: skip
    return Row(transfer.id, tuple(cells[column.id] for column in columns))


def layer_columns(width: int) -> tuple[Column, ...]:
    """Return the columns of the list of layers that fit into a width."""
    columns = [
        Column("layer", "LAYER", 12), Column("phase", "STATE", None), Column("bar", "", _BAR), Column("amount", "BYTES", 13, "right"),
        Column("rate", "RATE", 8, "right"), Column("left", "LEFT", 7, "right"),
    ]  # fmt: skip
    return tuple(column for column in columns if width >= 76 or column.id != "left")


def layer_row(layer: LayerProgress, columns: tuple[Column, ...]) -> Row:
    """Return a layer as a row."""
    has_ended = layer.phase in ENDED
    style = "ok" if has_ended else "warn" if layer.phase is Phase.RETRYING else "accent"
    share = 1.0 if has_ended else layer.done / layer.total if layer.total else None
    phase = layer.phase.value + (f": {layer.note}" if layer.note else "")
    cells = {
        "layer": Cell(layer.layer, "muted"), "phase": Cell(phase, "" if layer.phase is Phase.WAITING else style),
        "bar": Cell(bar(share, _BAR), "muted" if layer.phase in _NEEDS_NOTHING else style),
        "amount": Cell(units.short_size(layer.total) if has_ended else amount(layer.done, layer.total)),
        "rate": Cell(units.rate(layer.rate) if layer.rate else ""), "left": Cell(clock(layer.seconds_left)),
    }  # fmt: skip
    return Row(layer.layer, tuple(cells[column.id] for column in columns))


def summary(transfer: TransferProgress) -> str:
    """Return one line about a transfer: how far it is, or how it ended."""
    if transfer.state is State.DONE and transfer.total:
        return f"{transfer.outcome}: {units.size(transfer.total)} in {clock(max(1.0, transfer.seconds))}"
    if not transfer.is_active:
        return transfer.outcome
    word = "calling off" if transfer.state is State.STOPPING else _WORDS[transfer.kind]
    parts = [f"{word} {transfer.name}"]
    if transfer.total:
        parts.append(f"{100 * (transfer.share or 0):.0f}% of {units.short_size(transfer.total)}")
    if transfer.rate:
        parts.append(units.rate(transfer.rate))
    left = clock(transfer.seconds_left)
    parts.append(f"{left} left" if left else f"for {clock(transfer.seconds)}")
    return " · ".join(parts)


def ending(transfer: TransferProgress) -> str:
    """Return what happens to a transfer that goes on when the console is left."""
    what = "is called off, nothing of it is left" if transfer.kind in STOPPABLE else "is waited for"
    return f"{_WORDS[transfer.kind]} {transfer.name} {what}"
