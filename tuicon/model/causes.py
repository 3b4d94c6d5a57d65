"""Why a container ended, as lines for people; pure."""

from __future__ import annotations

import re
from datetime import datetime

from engine.model.death import Death, Evidence
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
        clock(evidence.time), printable(evidence.sentence), "bad" if evidence.kind in ("health", "memory") else ""
    )


def clock(moment: datetime) -> str:
    """Return the time of day, here, to the millisecond."""
    return moment.astimezone().strftime("%H:%M:%S.%f")[:12]


def _day(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d")
