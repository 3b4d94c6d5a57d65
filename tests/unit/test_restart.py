from __future__ import annotations

import pytest

from engine.sandbox.restart import RestartPolicy


def test_pauses_double_up_to_a_minute_and_begin_anew_after_a_run_that_lasted() -> None:
    policy = RestartPolicy({"name": "always"})
    pauses = [policy.next_pause(0.5) for _ in range(12)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]
    assert [policy.next_pause(10.0), policy.next_pause(9.9)] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("name", "attempts", "count", "code", "wanted"),
    [
        ("no", 0, 0, 1, False), ("always", 0, 99, 0, True), ("unless-stopped", 0, 99, 1, True),
        ("on-failure", 0, 99, 1, True), ("on-failure", 0, 0, 0, False), ("on-failure", 3, 2, 1, True),
        ("on-failure", 3, 3, 1, False),
    ],
)  # fmt: skip
def test_a_policy_wants_what_dockers_does(name: str, attempts: int, count: int, code: int, wanted: bool) -> None:
    policy = RestartPolicy({"name": name, "attempts": attempts})
    policy.count = count
    assert policy.wants(code) is wanted
