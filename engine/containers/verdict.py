"""The judgement of an end, from the journal's events of one run; pure."""

from __future__ import annotations

import signal as signals
from collections.abc import Iterator

from engine.linux.cgroup.aftermath import HOST
from engine.model.container import ContainerSpec
from engine.model.death import Evidence, OutOfMemory
from engine.model.event import Event
from engine.model.status import Status
from engine.model.value import Value, replace

_CRASHES = {
    signals.SIGSEGV: "it touched memory that it does not have", signals.SIGBUS: "it touched memory that is not there",
    signals.SIGILL: "it came upon an instruction that this CPU does not have", signals.SIGFPE: "it divided by zero or the like",
    signals.SIGABRT: "it gave up by itself, as programs do on errors that must not be", signals.SIGTRAP: "it ran into a trap",
    signals.SIGSYS: "it made a system call that is forbidden to it", signals.SIGPIPE: "nobody reads its output",
    signals.SIGXCPU: "it used more CPU time than its ulimit allows", signals.SIGXFSZ: "it wrote a file longer than its ulimit allows",
}  # fmt: skip
_CODES = {
    125: "the engine or a tool like it could not do what was asked", 126: "a shell found the command but could not execute it",
    127: "a shell did not find the command",
}  # fmt: skip
_LIMIT_ATTRIBUTES = ("how", "by", "from", "why", "seconds", "image")


class Verdict(Value, frozen=True):
    """What an end was; the attributes are those of engine.model.death.Death."""

    kind: str
    sentence: str
    exit_code: int
    signal: int = 0
    by: str = ""
    origin: str = ""
    out_of_memory: OutOfMemory | None = None


def run_of(events: tuple[Event, ...], end: Event) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
    """Return the events of the run that ended, and those after it until the next one."""
    before = [event for event in events if event.time <= end.time and event is not end]
    begins = [place for place, event in enumerate(before) if event.action == "start"]
    ends = [place for place, event in enumerate(before) if event.action == "die"]
    begin = begins[-1] if begins and (not ends or begins[-1] > ends[-1]) else (ends[-1] + 1 if ends else 0)
    after = []
    for event in events:
        if event.time > end.time:
            after.append(event)
            if event.action == "start":
                break
    return tuple(before[begin:]), tuple(after)


def judge(end: Event, run: tuple[Event, ...], stop_signal: str, container_id: str) -> Verdict:
    """Return what an end was.

    Args:
        end: Its "die".
        run: The events of the run before it.
        stop_signal: The container's own.
        container_id: Its id, by which its control group is named.
    """
    code, number = int(end.attributes.get("exitCode") or 255), int(end.attributes.get("signal") or 0)
    error = end.attributes.get("error", "")
    if error:
        kind = "lost" if code == 255 else "not-started"
        return Verdict(
            kind, f"The end was not seen: {error}." if kind == "lost" else f"It could not be started: {error}.", code
        )
    lack = _lack(run, container_id)
    asked = _asked(run, number, stop_signal)
    if lack and not (asked and number != signals.SIGKILL):
        return _memory_verdict(lack, code, number)
    if asked:
        return replace(_stopped_verdict(asked, run, code, number), out_of_memory=lack)
    if number:
        return Verdict("signal", _signal_sentence(number), code, number)
    if code == 0:
        return Verdict("done", "It ended by itself with exit code 0: its command was done.", 0)
    return Verdict("failed", f"It ended by itself with exit code {code}{_meaning(code)}.", code)


def _lack(run: tuple[Event, ...], container_id: str) -> OutOfMemory | None:
    found = next((event.attributes for event in reversed(run) if event.action == "oom"), None)
    if found is None:
        return None
    where = found.get("where", HOST)
    limit, peak = (int(found[name]) if found.get(name, "").isdigit() else None for name in ("limit", "peak"))
    return OutOfMemory(int(found.get("kills") or 1), where, limit, peak, container_id in where)


def _asked(run: tuple[Event, ...], number: int, stop_signal: str) -> Event | None:
    """Return the wish that ended a run: a signal that ends it, or that it was told to take as the wish to end."""
    ending = {str(number), str(int(_number(stop_signal))), str(int(signals.SIGKILL))}
    wishes = [event for event in run if event.action == "kill" and event.attributes.get("signal") in ending]
    return wishes[0] if wishes else None


def _number(name: str) -> int:
    bare = name.upper().removeprefix("SIG")
    return int(bare) if bare.isdigit() else getattr(signals, f"SIG{bare}", signals.SIGTERM)


def _memory_verdict(lack: OutOfMemory, code: int, number: int) -> Verdict:
    limit = f" of {_size(lack.limit)}" if lack.limit else ""
    place = f"its own memory limit{limit}" if lack.is_own else f"the memory limit{limit} of the group {lack.where}"
    reached = (
        f"{place} was reached"
        if lack.where != HOST
        else "the host had no memory left, and no limit of the container's was reached"
    )
    peak = f" (peak {_size(lack.peak)})" if lack.peak else ""
    if number == signals.SIGKILL:
        sentence = f"The kernel killed it for lack of memory: {reached}{peak}."
    else:
        how = f"exit code {code}" if not number else signal_name(number)
        many = "one of its processes" if lack.kills == 1 else f"{lack.kills} of its processes"
        sentence = f"It ended with {how} after the kernel killed {many} for lack of memory: {reached}{peak}."
    return Verdict("memory", sentence, code, number, out_of_memory=lack)


def _stopped_verdict(asked: Event, run: tuple[Event, ...], code: int, number: int) -> Verdict:
    by, origin = asked.attributes.get("by", ""), asked.attributes.get("from", "")
    who = f" by {by}{f' (from {origin})' if origin else ''}" if by else ""
    first = int(asked.attributes["signal"])
    is_forced = number == signals.SIGKILL and first != signals.SIGKILL
    if is_forced:
        how = f"it did not end by {signal_name(first)} in time, so SIGKILL followed"
    elif number:
        how = f"{signal_name(number)} ended it"
    else:
        how = f"it took {signal_name(first)} and ended with exit code {code}"
    ill = " while it was unhealthy" if _is_ill(run) else ""
    return Verdict("stopped", f"It was stopped{who}{ill}: {how}.", code, number, by, origin)


def _is_ill(run: tuple[Event, ...]) -> bool:
    said = [event.action for event in run if event.action.startswith("health_status")]
    return bool(said) and said[-1].endswith("unhealthy")


def _signal_sentence(number: int) -> str:
    meaning = _CRASHES.get(signals.Signals(number)) if number in set(signals.Signals) else None
    if meaning:
        return f"It crashed with {signal_name(number)}: {meaning}."
    return f"{signal_name(number)} ended it, which did not come through the engine: a process of the host or of the container sent it."


def _meaning(code: int) -> str:
    if code in _CODES:
        return f": {_CODES[code]}"
    if 128 < code < 128 + 65:
        return f", as shells report a process that {signal_name(code - 128)} ended"
    return ""


def signal_name(number: int) -> str:
    """Return a signal as "SIGKILL (9)"."""
    try:
        return f"{signals.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"


def _size(count: int | None) -> str:
    return f"{(count or 0) / (1 << 20):.4g} MiB"


def evidence(run: tuple[Event, ...]) -> Iterator[Evidence]:
    """Yield the events of a run that may have to do with its end."""
    for event in run:
        found = _sentence(event)
        if found:
            yield Evidence(event.time, *found)


def _sentence(event: Event) -> tuple[str, str] | None:
    attributes = event.attributes
    by = f" by {attributes['by']}" if attributes.get("by") else ""
    if event.action == "kill":
        return "stop", f"{signal_name(int(attributes.get('signal') or 0))} was sent{by}"
    if event.action.startswith("health_status"):
        return "health", f"its health became {event.action.partition(': ')[2]}"
    if event.action == "update":
        moved = ", ".join(f"{name} {text}" for name, text in attributes.items() if name not in _LIMIT_ATTRIBUTES)
        return "limits", f"its limits were changed{by} ({attributes.get('how', 'update')}): {moved}"
    if event.action == "exec_create":
        return "exec", f"{attributes.get('command', 'a command')} was run in it{by} as {attributes.get('user', 'root')}"
    if event.action in ("pause", "unpause"):
        return "stop", f"it was {event.action}d{by}"
    if event.action == "start" and "restart" in attributes:
        return "start", f"its restart policy had started it again (restart {attributes['restart']})"
    return None


def decision(spec: ContainerSpec, status: Status, found: Verdict, after: tuple[Event, ...]) -> str:
    """Return what the restart policy made of an end, in one sentence."""
    started = next((event for event in after if event.action == "start"), None)
    policy = spec.restart.name + (f":{spec.restart.attempts}" if spec.restart.attempts else "")
    if started and "restart" in started.attributes:
        return f"The restart policy {policy} started it again (restart {started.attributes['restart']})."
    if started:
        by = started.attributes.get("by", "")
        return f"It was started again{f' by {by}' if by else ''}."
    if spec.auto_remove:
        return "It is removed when it ends, so nothing starts it again."
    if status is Status.RESTARTING:
        return f"The restart policy {policy} is about to start it again."
    if spec.restart.name == "no":
        return "It has no restart policy, so it stays down."
    if found.kind == "stopped":
        return f"The restart policy {policy} leaves down what somebody stopped."
    if found.kind == "lost":
        return f"The restart policy {policy} was not asked: its monitor was gone; the next boot asks it."
    if found.kind == "not-started":
        return "A start that fails is not tried again."
    if spec.restart.name == "on-failure":
        why = "starts again only what failed" if found.exit_code == 0 else "has used up its attempts"
        return f"The restart policy {policy} {why}."
    return f"The restart policy {policy} has not started it again."
