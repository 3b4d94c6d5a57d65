"""Why a container ended, as lines for people, and what happened to it, as marks for graphs; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from engine.model.death import Death, Evidence
from engine.model.event import Event
from engine.model.value import Value
from tuicon.model import units
from tuicon.model.text import printable

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


class Line(Value, frozen=True):
    """A line of an account.

    Attributes:
        label: What stands before it; empty for none.
        text: The text, fit for a terminal.
        style: A style of the theme: "", "ok", "warn", "bad" or "muted".
    """

    label: str
    text: str
    style: str = ""


_BYTES = re.compile(r"\b(memory(?:_swap|_reservation|_high|_min)?) (\S+) -> (\S+?)(?=,|$)")
_STYLES = {
    "done": "ok",
    "stopped": "",
    "signal": "bad",
    "memory": "bad",
    "failed": "bad",
    "not-started": "bad",
    "lost": "warn",
}


def account(death: Death) -> tuple[Line, ...]:
    """Return the account of an end: what, when, how, what came before it, and its last words."""
    lines = [Line("", printable(death.sentence), _STYLES.get(death.kind, "")), Line("", printable(death.decision))]
    ended = f"{_day(death.finished_at)} {clock(death.finished_at)}"
    if death.started_at:
        lasted = (death.finished_at - death.started_at).total_seconds()
        ended += f", after {units.short_duration(lasted) if lasted >= 1 else f'{1000 * lasted:.0f} ms'}"
    lines += [Line("ended", ended), Line("exit code", str(death.exit_code))]
    lack = death.out_of_memory
    if lack:
        limit, peak = (units.size(value) if value else "unknown" for value in (lack.limit, lack.peak))
        lines.append(
            Line(
                "memory",
                f"limit {limit} of {'its own' if lack.is_own else printable(lack.where)}, peak {peak}, {lack.kills} killed",
            )
        )
    lines += [Line("", ""), Line("", "what came before", "muted")] if death.evidence else []
    lines += [_evidence_line(one) for one in death.evidence]
    lines += [Line("", ""), Line("", "its last words", "muted")] if death.last_lines else []
    for entry in death.last_lines:
        text = printable(_COLOURS.sub("", entry.text.rstrip("\r\n")))
        lines.append(Line(clock(entry.time), text, "warn" if entry.stream == "stderr" else ""))
    return tuple(lines)


def _evidence_line(evidence: Evidence) -> Line:
    return Line(
        clock(evidence.time),
        printable(with_sizes(evidence.sentence)),
        "bad" if evidence.kind in ("health", "memory") else "",
    )


def with_sizes(text: str) -> str:
    """Return a text of changed limits with sizes of memory as people write them."""

    def size(value: str) -> str:
        return units.size(int(value)) if value.isdigit() else value.replace("None", "none")

    return _BYTES.sub(lambda match: f"{match[1]} {size(match[2])} → {size(match[3])}", text)


def clock(moment: datetime) -> str:
    """Return the time of day, here, to the millisecond."""
    return moment.astimezone().strftime("%H:%M:%S.%f")[:12]


def _day(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d")


class Mark(Value, frozen=True):
    """Something that happened to a container, to stand under its graphs.

    Attributes:
        time: When it was.
        glyph: One cell wide.
        style: A style of the theme: "ok", "warn", "bad", "muted" or "accent".
        title: What it was, in a few words.
        detail: Who did it, and what changed from what to what; fit for a terminal.
        is_end: Whether a run ended there, so that there is something to explain.
    """

    time: datetime
    glyph: str
    style: str
    title: str
    detail: str = ""
    is_end: bool = False


_PLAIN = {
    "start": ("▶", "ok", "started"), "oom": ("✖", "bad", "killed for lack of memory"), "pause": ("‖", "warn", "paused"),
    "unpause": ("▶", "ok", "went on"), "exec_create": ("»", "muted", "a command was run"), "restart": ("↻", "warn", "restarted"),
    "pull": ("↓", "muted", "an image was pulled"), "pressure": ("▲", "warn", "pressure"),
}  # fmt: skip
_HOW = {
    "trial": ("◇", "limits on trial"), "revert": ("◁", "trial taken back by itself"), "undo": ("◁", "limits taken back"),
    "autotune": ("◈", "limits moved by a rule"), "confirm": ("◆", "trial confirmed"),
}  # fmt: skip
_NOT_SHOWN = ("how", "by", "from", "image", "execID", "where")
_SIZES = ("limit", "peak")


def marks_of(events: Iterable[Event], container_id: str) -> tuple[Mark, ...]:
    """Return what happened to a container, and the pulls of images beside it, as marks, oldest first."""
    found = (
        _mark(event) for event in events if event.id == container_id or (event.type, event.action) == ("image", "pull")
    )
    return tuple(sorted((mark for mark in found if mark), key=lambda mark: mark.time))


def _mark(event: Event) -> Mark | None:
    attributes, action = event.attributes, event.action
    if action == "die":
        code = attributes.get("exitCode", "?")
        return Mark(
            event.time,
            "■",
            "muted" if code == "0" else "bad",
            f"ended with exit code {code}",
            _details(event),
            is_end=True,
        )
    if action == "kill":
        return Mark(event.time, "□", "warn", f"signal {attributes.get('signal', '?')} was sent", _details(event))
    if action.startswith("health_status"):
        status = printable(action.partition(": ")[2])
        return Mark(
            event.time,
            "♥",
            {"healthy": "ok", "unhealthy": "bad"}.get(status, "warn"),
            f"became {status}",
            _details(event),
        )
    if action == "update":
        glyph, title = _HOW.get(attributes.get("how", ""), ("◆", "limits changed"))
        return Mark(event.time, glyph, "accent", title, _details(event))
    if action in _PLAIN:
        glyph, style, title = _PLAIN[action]
        return Mark(event.time, glyph, style, title, _details(event))
    return None


def _details(event: Event) -> str:
    attributes = event.attributes
    by = (
        f"by {attributes['by']}" if attributes.get("by") else "by its restart policy" if "restart" in attributes else ""
    )
    origin = f"from {attributes['from']}" if attributes.get("from") else ""
    named = event.name if event.type == "image" else ""
    more = ", ".join(
        f"{name} {units.size(int(text)) if name in _SIZES and text.isdigit() else text}"
        for name, text in attributes.items()
        if name not in _NOT_SHOWN
    )
    return printable(with_sizes(" ".join(part for part in (by, origin, named, more) if part)))


def column_of(moment: datetime, now: datetime, window: float, width: int) -> int | None:
    """Return in which of `width` columns a moment stands when the last one is now; None when it is farther back.

    Args:
        moment: The moment.
        now: What the right end of the axis stands for.
        window: Seconds that the axis shows.
        width: Columns of the axis.
    """
    age = max(0.0, (now - moment).total_seconds())
    if age > window or width < 1:
        return None
    return round((1 - age / window) * (width - 1))
