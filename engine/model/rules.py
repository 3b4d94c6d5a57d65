"""Rules that move limits, and the decision what to do now; pure, so that it can be tried on a simulated load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.model.limits import DeviceRate, Limits
from engine.model.usage import Usage
from engine.model.value import Value, replace

MEASURES = ("cpu", "memory", "throttled", "cpu-pressure", "memory-pressure", "io-pressure", "read", "write")
MOVABLE = ("cpus", "memory", "memory-high", "pids", "device-read-bps", "device-write-bps")
_OF_LIMIT = {"cpu": "cpus", "memory": "memory"}
_LONGEST_PAUSE = 6 * 3600.0


class Rule(Value, frozen=True):
    """When a measure of one container has passed a threshold for a while, a limit of it or of another one moves.

    Attributes:
        name: For people.
        container: Whose limit moves.
        watch: Whose measure is looked at.
        measure: One of MEASURES: percent (cpu and memory of the limit, or of the host without one), or bytes per second.
        is_above: Whether it must be above the threshold, else below.
        threshold: Percent, or bytes per second.
        seconds: How long that must hold without a break.
        limit: One of MOVABLE.
        step: What to add to the limit, in cores, bytes, tasks or bytes per second; below 0 lowers it.
        bound: Where it ends.
        pause: Seconds after any change of that limit in which no rule moves it again.
        device: The disk, for the limits of disks.
    """

    name: str
    container: str
    watch: str
    measure: str
    is_above: bool
    threshold: float
    seconds: float
    limit: str
    step: float
    bound: float
    pause: float
    device: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """What it moves."""
        return self.container, self.limit, self.device

    def holds(self, value: float) -> bool:
        """Return whether a value is past the threshold."""
        return value > self.threshold if self.is_above else value < self.threshold


class Observation(Value, frozen=True):
    """What is known of a container now: its use, its limits, and the host's CPUs and memory in bytes."""

    usage: Usage
    limits: Limits
    host_cpus: int
    host_memory: int

    def measure(self, name: str) -> float:
        """Return a measure in percent, or in bytes per second."""
        usage = self.usage
        values = {
            "cpu": usage.cpu_percent / (self.limits.effective_cpus or self.host_cpus),
            "memory": 100.0 * usage.counters.memory_bytes / (self.limits.memory or self.host_memory or 1),
            "throttled": usage.throttled_percent, "cpu-pressure": usage.cpu_pressure,
            "memory-pressure": usage.memory_pressure, "io-pressure": usage.io_pressure,
            "read": usage.read_rate, "write": usage.write_rate,
        }  # fmt: skip
        return values[name]


class Action(Value, frozen=True):
    """One change that a rule wants, with the sentence that says why."""

    rule: Rule
    old: float
    new: float
    why: str


@dataclass(slots=True)
class Memory:
    """What a tuner remembers between two looks.

    Attributes:
        since: When the condition of each rule began to hold.
        moved: For each limit: when it was moved last, in which direction, and how long it rests after that.
    """

    since: dict[str, float] = field(default_factory=dict)
    moved: dict[tuple[str, str, str], tuple[float, bool, float]] = field(default_factory=dict)


def decide(rules: tuple[Rule, ...], seen: Mapping[str, Observation], memory: Memory, now: float) -> tuple[Action, ...]:
    """Return what to do now, at most one change of each limit; what is returned is taken as done.

    It does not oscillate: a limit rests after each change, twice as long after each change of direction; and a change is
    not made when it would at once fulfil a rule that moves the same limit the other way.

    Args:
        rules: In the order in which they go first.
        seen: Each container that runs.
        memory: What is remembered; it is changed.
        now: Seconds of any steady clock.
    """
    actions = []
    for rule in rules:
        watched, moved = seen.get(rule.watch), seen.get(rule.container)
        if watched is None or moved is None or not rule.holds(watched.measure(rule.measure)):
            memory.since.pop(rule.name, None)
            continue
        if now - memory.since.setdefault(rule.name, now) < rule.seconds or _rests(rule, memory, now):
            continue
        old = value_of(moved.limits, rule, moved)
        new = max(old + rule.step, rule.bound) if rule.step < 0 else min(old + rule.step, rule.bound)
        if (new < old) != (rule.step < 0) or new == old or _would_turn_back(rule, rules, watched, old, new):
            continue
        value = watched.measure(rule.measure)
        sign = ">" if rule.is_above else "<"
        why = f"{rule.name}: {rule.measure} of {rule.watch} is {value:.4g}, {sign} {rule.threshold:.4g}"
        actions.append(Action(rule, old, new, f"{why} for {rule.seconds:g} s"))
        _remember(rule, memory, now)
    return tuple(actions)


def _rests(rule: Rule, memory: Memory, now: float) -> bool:
    if rule.place not in memory.moved:
        return False
    at, was_up, pause = memory.moved[rule.place]
    return now - at < (pause if was_up == (rule.step > 0) else 2 * pause)


def _remember(rule: Rule, memory: Memory, now: float) -> None:
    is_up, pause = rule.step > 0, rule.pause
    if rule.place in memory.moved:
        _, was_up, before = memory.moved[rule.place]
        pause = max(pause, before if was_up == is_up else min(2 * before, _LONGEST_PAUSE))
    memory.moved[rule.place] = (now, is_up, pause)
    memory.since.pop(rule.name, None)


def _would_turn_back(rule: Rule, rules: tuple[Rule, ...], watched: Observation, old: float, new: float) -> bool:
    """Return whether the same use, measured against the new limit, would fulfil a rule that moves it back."""
    opposite = (
        other for other in rules
        if other.place == rule.place and (other.step > 0) != (rule.step > 0)
        and _OF_LIMIT.get(other.measure) == other.limit and other.watch == other.container == rule.watch
    )  # fmt: skip
    return any(other.holds(watched.measure(other.measure) * old / new) for other in opposite)


def value_of(limits: Limits, rule: Rule, seen: Observation) -> float:
    """Return the limit in force that a rule moves; without one, what the host has."""
    if rule.limit == "cpus":
        return limits.effective_cpus or float(seen.host_cpus)
    if rule.limit.startswith("device-"):
        rates: tuple[DeviceRate, ...] = getattr(limits, rule.limit.replace("-", "_"))
        fallback = seen.usage.read_rate if rule.limit == "device-read-bps" else seen.usage.write_rate
        return float(next((rate.rate for rate in rates if rate.device == rule.device), fallback))
    found = getattr(limits, rule.limit.replace("-", "_"))
    return (
        float(found)
        if found is not None
        else float(seen.host_memory if "memory" in rule.limit else seen.usage.counters.pids)
    )


def changed(limits: Limits, action: Action) -> Limits:
    """Return limits with an action done."""
    rule = action.rule
    if rule.limit == "cpus":
        return replace(limits, cpus=round(action.new, 4), cpu_quota=None, cpu_period=None)
    name = rule.limit.replace("-", "_")
    if rule.limit.startswith("device-"):
        others = (rate for rate in getattr(limits, name) if rate.device != rule.device)
        rates: tuple[DeviceRate, ...] = (*others, DeviceRate(rule.device, round(action.new)))
        return replace(limits, **{name: rates})  # type: ignore[arg-type]
    if rule.limit == "memory" and limits.memory_swap not in (None, -1) and (limits.memory_swap or 0) < action.new:
        limits = replace(limits, memory_swap=None)
    return replace(limits, **{name: round(action.new)})  # type: ignore[arg-type]


def conflicts(rules: tuple[Rule, ...]) -> Iterator[str]:
    """Yield a sentence for each thing that makes no sense in a set of rules."""
    for rule in rules:
        if rule.limit.startswith("device-") != bool(rule.device):
            yield f"rule {rule.name!r}: limits of disks need a device, others have none"
        if rule.step == 0:
            yield f"rule {rule.name!r}: the step is 0"
        if rule.pause < rule.seconds:
            yield f"rule {rule.name!r}: the cool-down must not be shorter than the time that its condition must hold"
    names = [rule.name for rule in rules]
    yield from (f"two rules are named {name!r}" for name in {name for name in names if names.count(name) > 1})
