"""What the tuning pane says: previews, changes, effects, advice, trials; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from rich.text import Text

from engine.model.history import Advice
from engine.model.limits import Effective, OnTrial, Preview
from tuicon.model import units
from tuicon.model.changes import MadeChange, difference, effect_parts
from tuicon.screens.tuning_facts import Facts

Color = Callable[[str], str]
_MOST_CHANGES = 12


def changes_text(changes: Sequence[MadeChange], chosen: int, now: datetime, color: Color) -> Text:
    """Return the changes, newest first, one or two lines each."""
    text = Text(no_wrap=True, overflow="ellipsis")
    if not changes:
        return Text("nobody has changed anything", color("muted"))
    for number, change in enumerate(list(reversed(changes))[:_MOST_CHANGES]):
        is_chosen = number == chosen
        text.append("▸" if is_chosen else " ", f"bold {color('primary')}")
        text.append(f"{_ago(change, now):>4} ", color("muted"))
        text.append(", ".join(change.what) or "nothing", "bold" if is_chosen else "")
        text.append(f"  {change.how} by {change.by}\n", color("muted"))
        if change.why:
            text.append(f"      {change.why}\n", color("muted"))
    text.rstrip()
    return text


def _ago(change: MadeChange, now: datetime) -> str:
    return units.short_duration((now - change.time).total_seconds())


def effect_text(facts: Facts, chosen: int, now: datetime, color: Color) -> Text:
    """Return what the chosen change did."""
    text = Text(no_wrap=True, overflow="ellipsis")
    if chosen >= len(facts.changes):
        return Text("The effect of a change is measured once there is one", color("muted"))
    change, effect = facts.changes[-1 - chosen], facts.effect
    text.append(f"{_ago(change, now)} ago: ", color("muted"))
    if effect is None:
        text.append(f"{', '.join(change.what)}: its effect is being measured", color("muted"))
        return text
    for label, before, after in effect_parts(effect):
        text.append(f"{label} ", color("muted"))
        text.append(f"{before} → {after}  ", "bold" if not after.startswith(before) else "")
    text.append(f"{effect.seconds:.0f} s before and after", color("muted"))
    return text


def advice_text(advice: Advice | None, color: Color) -> Text:
    """Return the advice, how far it can be trusted, and what it rests on."""
    text = Text(overflow="ellipsis")
    if advice is None:
        return text
    if advice.cpus is None or advice.memory is None:
        return Text(f"Advice: {'; '.join(advice.evidence) or 'none yet'}", color("muted"))
    text.append("Advice ", color("muted"))
    text.append(f"{advice.cpus:g} cores, {units.size(advice.memory)}", f"bold {color('success')}")
    known = units.short_duration(advice.hours * 3600)
    text.append(f"  a tries it · {advice.confidence} confidence, {known} known", color("muted"))
    text.append(f", p95 {advice.cpu_p95:.2f} cores, peak {units.size(advice.memory_peak)}", color("muted"))
    if advice.evidence:
        text.append(f" · {'; '.join(advice.evidence)}", color("warning"))
    return text


def preview_text(preview: Preview | None, group: str, color: Color, *, is_wanted: bool) -> Text:
    """Return what is in force, or would be, with the groups above counted, and the share when all want the CPU."""
    text = Text(no_wrap=True, overflow="ellipsis")
    if preview is None:
        return text
    if preview.refusal:
        text.append("would be refused: ", f"bold {color('error')}")
        text.append(preview.refusal, color("error"))
        return text
    if preview.effective is None:
        return text
    text.append("would be in force: " if is_wanted else "in force: ", color("warning") if is_wanted else color("muted"))
    order = {"Memory": (_memory, _cpus, _share, _tasks), "Tasks": (_tasks, _cpus, _share, _memory)}
    for number, part in enumerate(order.get(group, (_cpus, _share, _memory, _tasks))):
        value, by = part(preview.effective)
        text.append(" · " if number else "", color("muted"))
        text.append(value, "bold")
        text.append(by, color("muted"))
    return text


def _by(name: str) -> str:
    return f" by {name}" if name and name != "this container" and not name.endswith("}") else ""


def _cpus(found: Effective) -> tuple[str, str]:
    return f"{found.cpus:.2f} cores", _by(_short(found.cpus_by))


def _share(found: Effective) -> tuple[str, str]:
    return f"{100 * found.cpu_share:.1f}% of the host", " when all want it"


def _memory(found: Effective) -> tuple[str, str]:
    return units.size(found.memory) if found.memory else "all memory", _by(_short(found.memory_by))


def _tasks(found: Effective) -> tuple[str, str]:
    return f"{found.pids} tasks" if found.pids else "any number of tasks", _by(_short(found.pids_by))


def _short(group: str) -> str:
    """Return a group's name without the part that is a container's id."""
    last = group.rsplit("/", 1)[-1].removesuffix(".scope").rsplit("-", 1)[-1]
    return "" if len(last) == 64 else group


def trial_text(trial: OnTrial, seconds_left: float) -> Text:
    """Return what is on trial, and for how long."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"On trial, {seconds_left:.0f} s left", "bold")
    text.append(f" · {difference(trial.confirmed, trial.after)} · enter keeps it · u takes it back · t begins anew")
    return text


def step_text(began_at: int, used: int, wanted: int) -> Text:
    """Return how far a memory limit has come down."""
    part = min(1.0, max(0.0, (began_at - used) / max(1, began_at - wanted)))
    bar = "█" * round(20 * part) + "░" * (20 - round(20 * part))
    return Text(f"Stepping down to {units.size(wanted)}  {bar}  {units.size(used)} in use · esc calls it off")


def offer_text(wanted: int, *, can_be_high: bool) -> Text:
    """Return what can be done instead of a memory limit below what is in use."""
    high = " · f sets memory.high first, which never kills" if can_be_high else ""
    return Text(f"More than {units.size(wanted)} is in use · d steps down to it bit by bit{high}", "bold")
