from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.containers import verdict
from engine.containers.causes import use
from engine.model.container import ContainerSpec, RestartPolicy
from engine.model.event import Event
from engine.model.history import Sample
from engine.model.status import Status
from tuicon.model.causes import account

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def event(second: float, action: str, **attributes: str) -> Event:
    return Event("1:1", BEGAN + timedelta(seconds=second), "container", action, "c" * 64, "web", attributes)


def judged(*events: Event, stop_signal: str = "SIGTERM") -> verdict.Verdict:
    end = [one for one in events if one.action == "die"][-1]
    return verdict.judge(end, verdict.run_of(events, end)[0], stop_signal, "c" * 64)


@pytest.mark.parametrize(
    ("number", "words"),
    [(11, "It crashed with SIGSEGV (11)"), (6, "It crashed with SIGABRT (6)"), (9, "did not come through the engine"),
        (31, "a system call that is forbidden"), (34, "34")],
)  # fmt: skip
def test_a_signal_has_its_meaning(number: int, words: str) -> None:
    found = judged(event(0, "start"), event(5, "die", exitCode=str(128 + number), signal=str(number)))
    assert found.kind == "signal"
    assert words in found.sentence


def test_only_the_events_of_the_run_that_ended_count() -> None:
    events = (
        event(0, "start"), event(1, "kill", signal="15", by="ann"), event(2, "die", exitCode="0"), event(3, "stop", by="ann"),
        event(4, "start", by="bob"), event(9, "die", exitCode="3"), event(10, "start", restart="1"), event(11, "exec_create"),
    )  # fmt: skip
    run, after = verdict.run_of(events, events[5])
    assert run == events[4:5]
    assert after == events[6:7]
    assert judged(*events).kind == "failed"
    policy = ContainerSpec("x", restart=RestartPolicy("always"))
    assert "(restart 1)" in verdict.decision(policy, Status.RUNNING, judged(*events), after)


def test_a_signal_that_does_not_mean_the_end_does_not_make_it_a_stop() -> None:
    found = judged(event(0, "start"), event(1, "kill", signal="1", by="ann"), event(2, "die", exitCode="1"))
    assert found.kind == "failed"
    own = judged(
        event(0, "start"), event(1, "kill", signal="3", by="ann"), event(2, "die", exitCode="1"), stop_signal="QUIT"
    )
    assert (own.kind, own.by) == ("stopped", "ann")


def test_the_address_of_who_stopped_it_is_named() -> None:
    wish = {"signal": "15", "by": "ann", "from": "192.0.2.7"}
    found = judged(event(0, "start"), event(1, "kill", **wish), event(2, "die", exitCode="143", signal="15"))
    assert found.sentence == "It was stopped by ann (from 192.0.2.7): SIGTERM (15) ended it."


def test_a_lack_of_memory_of_the_host_is_told_from_one_of_the_container() -> None:
    found = judged(
        event(0, "start"), event(1, "oom", kills="1", where="/"), event(2, "die", exitCode="137", signal="9")
    )
    assert "the host had no memory left" in found.sentence


def sample(second: int, **values: Any) -> Sample:
    zero = dict.fromkeys(Sample.__dataclass_fields__, 0.0)
    return Sample(**(zero | {"time": BEGAN + timedelta(seconds=second), "seconds": 1.0} | values))  # type: ignore[arg-type]


def test_stalls_and_growth_of_the_last_minute_are_evidence() -> None:
    calm = tuple(sample(second, memory=64 << 20, memory_max=64 << 20) for second in range(60))
    assert list(use(calm)) == []
    rising = tuple(
        sample(second, memory=(8 + second) << 20, memory_max=(8 + second) << 20, io_pressure=50.0, throttled=30.0)
        for second in range(60)
    )
    assert [one.kind for one in use(rising)] == ["pressure", "pressure", "memory"]
    assert "from 8 to 67 MiB" in list(use(rising))[-1].sentence


def test_an_account_obeys_nothing_of_what_the_container_said() -> None:
    from engine.model.container import LogEntry
    from engine.model.death import Death, Evidence

    hostile = "\x1b]0;mine\x07\x1b[31mred\x1b[0m\r\n"
    death = Death("c" * 64, "web", "failed", "It ended.", BEGAN, BEGAN, 1, evidence=(Evidence(BEGAN, "health", hostile),),
        last_lines=(LogEntry(BEGAN, "stderr", hostile),))  # fmt: skip
    assert all(line.text.isprintable() for line in account(death))
    assert account(death)[-1].text == r"\x1b]0;mine\x07red"
