"""What the results of health checks come to; expectations from docker's HEALTHCHECK reference."""

from __future__ import annotations

import pytest

from engine.model.health import Health, HealthCheck
from engine.sandbox.health import Verdict, command_of
from tests.fakes import a_container
from tuicon.cli.listing import _CONTAINER_TESTS, filtered
from tuicon.model.rows import container_columns, status_cell


def statuses(codes: list[int], *, at: float = 100.0, **settings: float) -> list[tuple[str, int]]:
    verdict = Verdict(settings)
    found = []
    for code in codes:
        verdict.add({"exit_code": code}, at)
        found.append((verdict.status, verdict.streak))
    return found


def test_so_many_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() -> None:
    assert statuses([1, 1, 0, 1, 1, -1, 1, 0]) == [("starting", 1), ("starting", 2), ("healthy", 0), ("healthy", 1),
        ("healthy", 2), ("unhealthy", 3), ("unhealthy", 4), ("healthy", 0)]  # fmt: skip
    assert statuses([1], retries=1) == [("unhealthy", 1)]


def test_the_start_period_ends_with_the_first_success() -> None:
    assert statuses([1, 1, 0, 1], at=5.0, start_period=10.0, retries=1)[-2:] == [("healthy", 0), ("unhealthy", 1)]
    assert statuses([1, 1], at=5.0, start_period=10.0, retries=1) == [("starting", 0)] * 2


def test_the_last_five_results_are_kept() -> None:
    verdict = Verdict({})
    for code in range(8):
        verdict.add({"exit_code": code}, 0.0)
    assert [result["exit_code"] for result in verdict.log] == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("test", "arguments"), [(["CMD", "a", "b"], ["a", "b"]), (["CMD-SHELL", "a b"], ["/bin/sh", "-c", "a b"])]
)
def test_a_check_is_a_program_or_a_line_for_the_shell(test: list[str], arguments: list[str]) -> None:
    assert command_of(test) == arguments


def test_what_a_user_does_not_say_is_the_images() -> None:
    image = HealthCheck(("CMD", "a"), interval=5.0, retries=4)
    assert HealthCheck(retries=1).completed_by(image) == HealthCheck(("CMD", "a"), interval=5.0, retries=1)
    assert not HealthCheck(("NONE",)).completed_by(image).is_wanted
    assert HealthCheck(interval=1.0).completed_by(HealthCheck(("WHATEVER", "x"), retries=4)) == HealthCheck(
        interval=1.0
    )


@pytest.mark.parametrize(("status", "style"), [("starting", "warn"), ("healthy", "ok"), ("unhealthy", "bad")])
def test_a_row_says_how_a_container_is_and_lists_can_be_filtered(status: str, style: str) -> None:
    container = a_container(1, health=Health(status))
    cell = status_cell(container)
    assert (cell.text.lstrip("● "), cell.style) == (status, style)
    assert len(cell.text) <= (container_columns(200)[0].width or 0)
    assert filtered([container, a_container(2)], [f"health={status}"], _CONTAINER_TESTS) == [container]
    assert filtered([container, a_container(2)], ["health=none"], _CONTAINER_TESTS) == [a_container(2)]
