"""What `update` can do beside setting limits: previews, trials, undo, ulimits, memory given back."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.model.health import HealthCheck
from engine.model.limits import Effective, Limits, Preview
from engine.model.value import names
from tuicon.cli import output
from tuicon.cli.failure import Exit, Usage, complain
from tuicon.cli.health import check_of
from tuicon.cli.isolation import parse_ulimit
from tuicon.model import limit_flags, units
from tuicon.model.changes import effect_sentence

if TYPE_CHECKING:
    from engine.api import Engine

_WITHOUT_LIMITS = ("confirm", "undo")
_ASKED = ("dry_run", "trial", "force", "step_down", "ulimit", "memory_reclaim", *_WITHOUT_LIMITS)
_STEPS_WITHIN = 60.0


def is_asked(arguments: argparse.Namespace) -> bool:
    """Return whether any of these flags is given."""
    return any(getattr(arguments, name) for name in _ASKED)


def update(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon update with one of these flags."""
    has_limits = not limit_flags.is_empty(arguments)
    if sum(bool(getattr(arguments, name)) for name in ("dry_run", "trial", "step_down", *_WITHOUT_LIMITS)) > 1:
        raise Usage("update: of --dry-run, --trial, --step-down, --confirm and --undo only one can be given")
    if arguments.restart is not None or check_of(arguments) != HealthCheck():
        raise Usage(
            "update: restart policies and health checks go with limits only, without flags that try, show, confirm or undo them"
        )
    if has_limits and (arguments.confirm or arguments.undo):
        raise Usage("update: --confirm and --undo take no limits")
    if not has_limits and (arguments.dry_run or arguments.trial or arguments.step_down or arguments.force):
        raise Usage("update: no limit is named")
    change = limit_flags.change_of(arguments)
    if arguments.dry_run:
        return _show(engine, arguments, change)
    return _each(arguments.containers, lambda ref: _change_one(engine, arguments, ref, change))


def _each(refs: list[str], action: Callable[[str], str]) -> int:
    from engine.errors import EngineError

    code = 0
    for ref in refs:
        try:
            print(action(ref))
        except (EngineError, OSError) as error:
            complain(str(error), getattr(error, "hint", ""))
            code = 1
    return code


def _change_one(engine: Engine, arguments: argparse.Namespace, ref: str, change: Callable[[Limits], Limits]) -> str:
    tuning = engine.containers.tuning
    if arguments.confirm:
        return _confirm(engine, ref)
    if arguments.undo:
        undone = tuning.undo(ref)
        return f"{ref}: {difference(undone.before, undone.after) or 'nothing'}"
    if arguments.ulimit:
        tuning.limit_processes(ref, tuple(parse_ulimit(text) for text in arguments.ulimit))
    if arguments.step_down:
        wanted = change(engine.containers.get(ref).limits).memory
        if wanted is None:
            raise Usage("update: --step-down needs --memory")
        tuning.step_down(ref, wanted, _STEPS_WITHIN)
    if not limit_flags.is_empty(arguments):
        tuning.update(ref, change, force=arguments.force, seconds=arguments.trial or 0.0)
    if arguments.memory_reclaim:
        freed = tuning.reclaim(ref, arguments.memory_reclaim)
        return f"{ref}: {units.size(freed)} given back"
    return f"{ref}: on trial for {arguments.trial:g} s, keep it with --confirm" if arguments.trial else ref


def _confirm(engine: Engine, ref: str) -> str:
    """Keep what is on trial; return what it did, over equal times before and after it."""
    tuning = engine.containers.tuning
    found = tuning.on_trial(ref)
    tuning.confirm(ref)
    effect = engine.containers.history.effect(ref, found.began) if found else None
    if effect is None:
        return ref
    return f"{ref}: {effect_sentence(effect)}"


def _show(engine: Engine, arguments: argparse.Namespace, change: Callable[[Limits], Limits]) -> int:
    found = engine.containers.tuning.preview_all(dict.fromkeys(arguments.containers, change))
    if arguments.json:
        output.as_json(found)
    else:
        print_previews(found)
    if any(preview.refusal for preview in found):
        raise Exit(1)
    return 0


def print_previews(found: tuple[Preview, ...]) -> None:
    """Print what changes would do."""
    rows = []
    for preview in found:
        texts = _effective_texts(preview.effective)
        rows.append((preview.name, difference(preview.before, preview.after) or "nothing", *texts))
    output.table(("NAME", "CHANGE", "CPUS", "CPU SHARE", "MEMORY", "PIDS"), rows)
    for preview in found:
        if preview.refusal:
            complain(f"{preview.name}: {preview.refusal}")


def _effective_texts(found: Effective | None) -> tuple[str, str, str, str]:
    if found is None:
        return "-", "-", "-", "-"
    return (
        f"{found.cpus:g}", f"{100 * found.cpu_share:.1f}%",
        units.size(found.memory) if found.memory else "none", str(found.pids or "none"),
    )  # fmt: skip


def difference(before: Limits, after: Limits) -> str:
    """Return what differs, for people."""
    changed = [name for name in names(Limits) if getattr(before, name) != getattr(after, name)]
    texts = (f"{name} {_text(name, getattr(before, name))} → {_text(name, getattr(after, name))}" for name in changed)
    return ", ".join(texts)


def _text(name: str, value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return " ".join(":".join(str(getattr(item, part)) for part in item.__slots__) if hasattr(item, "__slots__")
            else "=".join(item) for item in value)  # fmt: skip
    if name.startswith("memory") and name != "memory_swappiness" and isinstance(value, int) and value > 0:
        return units.size(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def knobs(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon system knobs."""
    found = engine.containers.tuning.knobs()
    if arguments.json:
        output.as_json([output.plain(knob) | {"is_supported": knob.is_supported} for knob in found])
    else:
        rows = [
            (knob.name.replace("_", "-"), "yes" if knob.is_supported else "no", knob.file or knob.why_not)
            for knob in found
        ]
        output.table(("LIMIT", "HERE", "FILE, OR WHY NOT"), rows)
    return 0
