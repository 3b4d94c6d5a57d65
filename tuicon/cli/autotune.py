"""`tuicon autotune`: a foreground service that moves limits by the rules of a TOML file."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.model import rules
from engine.model.rules import Action, Memory, Observation, Rule
from tuicon.cli.failure import Usage, complain
from tuicon.model.profiles import load
from tuicon.model.units import parse_duration, parse_size

if TYPE_CHECKING:
    from engine.api import Engine
    from tuicon.backend import Stalls

_WHEN = re.compile(r"\s*([a-z-]+)\s*([<>])\s*(\S+)\s*")
_KEYS = {"name", "container", "watch", "when", "for", "limit", "device", "step", "at-most", "at-least", "cool-down"}


def autotune(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon autotune."""
    interval, found = parse(load(arguments.file), engine)
    if arguments.unit:
        print(engine.system.autotune_unit(_program(), str(arguments.file.absolute())), end="")
        return 0
    print(
        f"{len(found)} rules, looked at every {interval:g} s" + (" (dry run)" if arguments.dry_run else ""), flush=True
    )
    memory = Memory()
    sampler = engine.containers.sampler()
    stalls = _stalls(engine, found)
    try:
        while True:
            for action in rules.decide(found, _seen(engine, sampler.sample()), memory, time.monotonic()):
                _say(action, "" if arguments.dry_run else _do(engine, action))
            if stalls is None:
                time.sleep(interval)
            else:
                stalls.wait(interval)
    finally:
        sampler.close()
        if stalls is not None:
            stalls.close()


def _stalls(engine: Engine, found: tuple[Rule, ...]) -> Stalls | None:
    """Return what wakes us when a rule's pressure is passed, so that it is not seen an interval later; None without any."""
    from engine.errors import EngineError

    thresholds: dict[str, float] = {}
    for rule in (rule for rule in found if rule.is_above and rule.measure.endswith("-pressure")):
        resource = rule.measure.removesuffix("-pressure")
        thresholds[resource] = min(rule.threshold, thresholds.get(resource, 100.0))
    if not thresholds:
        return None
    try:
        return engine.groups.stalls(thresholds, {rule.watch for rule in found})
    except EngineError:  # this kernel does not measure pressure
        return None


def _program() -> str:
    program = Path(sys.argv[0]).absolute()
    return str(program if program.name == "tuicon" else Path(sys.executable).with_name("tuicon"))


def _seen(engine: Engine, usages: dict[str, Any]) -> dict[str, Observation]:
    cpus, memory = os.cpu_count() or 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        container.name: Observation(usages[container.id], container.limits, cpus, memory)
        for container in engine.containers.list(all=False)
        if container.id in usages and usages[container.id].interval > 0
    }


def _do(engine: Engine, action: Action) -> str:
    """Do it; return why that failed, or nothing."""
    from engine.errors import EngineError

    try:
        engine.containers.tuning.update(
            action.rule.container, lambda limits: rules.changed(limits, action), how="autotune", why=action.why
        )
    except (EngineError, OSError) as error:
        return str(error)
    return ""


def _say(action: Action, refusal: str) -> None:
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"{stamp} {action.rule.container} {action.rule.limit} {action.old:.6g} → {action.new:.6g} ({action.why})"
    if refusal:
        complain(f"{text}: refused: {refusal}")
    else:
        print(text, flush=True)


def parse(text: str, engine: Engine) -> tuple[float, tuple[Rule, ...]]:
    """Parse a file of rules; return the interval in seconds, and the rules.

    Raises:
        Usage: It is malformed, or makes no sense.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Usage(f"the rules are no TOML: {error}") from error
    tables = document.get("rule")
    if not isinstance(tables, list) or not tables or set(document) - {"rule", "interval"}:
        raise Usage("the rules are not a list of [[rule]], with an interval beside it")
    interval = _seconds("interval", document.get("interval", "5s"))
    if not 0.5 <= interval <= 3600:
        raise Usage("the interval is between half a second and an hour")
    found = tuple(_rule(table, number, engine) for number, table in enumerate(tables, 1))
    for sentence in rules.conflicts(found):
        raise Usage(sentence)
    return interval, found


def _rule(table: dict[str, Any], number: int, engine: Engine) -> Rule:
    name = str(table.get("name") or f"rule {number}")
    unknown = set(table) - _KEYS
    if unknown:
        raise Usage(f"{name}: unknown key {min(unknown)!r}")
    missing = {"container", "when", "for", "limit", "step", "cool-down"} - set(table)
    if missing:
        raise Usage(f"{name}: {min(missing)!r} is missing")
    limit = str(table["limit"])
    if limit not in rules.MOVABLE:
        raise Usage(f"{name}: the limit {limit!r} cannot be moved by rules: {', '.join(rules.MOVABLE)}")
    measure, is_above, threshold = _when(name, str(table["when"]))
    step = _amount(name, limit, str(table["step"]))
    bound = "at-least" if step < 0 else "at-most"
    if bound not in table:
        raise Usage(f"{name}: {bound!r} is missing, so it would have no end")
    return Rule(
        name, str(table["container"]), str(table.get("watch") or table["container"]), measure, is_above, threshold,
        _seconds(name, table["for"]), limit, step, _amount(name, limit, str(table[bound])), _seconds(name, table["cool-down"]),
        engine.containers.tuning.disk(str(table["device"])) if "device" in table else "",
    )  # fmt: skip


def _when(name: str, text: str) -> tuple[str, bool, float]:
    found = _WHEN.fullmatch(text)
    if not found or found[1] not in rules.MEASURES:
        raise Usage(f"{name}: cannot read {text!r}: such as 'cpu > 80%', with one of {', '.join(rules.MEASURES)}")
    is_rate = found[1] in ("read", "write")
    try:
        threshold = float(parse_size(found[3].removesuffix("/s"))) if is_rate else float(found[3].removesuffix("%"))
    except ValueError as error:
        raise Usage(f"{name}: {error}") from error
    return found[1], found[2] == ">", threshold


def _amount(name: str, limit: str, text: str) -> float:
    """Return cores, tasks or bytes from "10%" (of the host's CPUs), "0.5", "256m"; a sign may go before."""
    sign = -1.0 if text.startswith("-") else 1.0
    bare = text.lstrip("+-").removesuffix("/s")
    try:
        if limit == "cpus":
            part = float(bare[:-1]) / 100 * (os.cpu_count() or 1) if bare.endswith("%") else float(bare)
            return sign * part
        return sign * (float(bare) if limit == "pids" else float(parse_size(bare)))
    except ValueError as error:
        raise Usage(f"{name}: cannot read {text!r} as an amount of {limit}") from error


def _seconds(name: str, value: object) -> float:
    try:
        return parse_duration(str(value))
    except ValueError as error:
        raise Usage(f"{name}: {error}") from error
