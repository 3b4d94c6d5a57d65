"""The flags that say how health is checked, of run, create and update."""

from __future__ import annotations

import argparse

from engine.model.health import HealthCheck
from tuicon.cli.failure import Usage
from tuicon.cli.words import add_flag
from tuicon.model.units import parse_duration

_HEALTH_TIMES = ("interval", "timeout", "start_period", "start_interval")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add what says how health is checked."""
    group = parser.add_argument_group("health")
    group.add_argument("--health-cmd", metavar="COMMAND", help="shell command that checks its health")
    group.add_argument("--health-interval", metavar="TIME", help="time between two checks (30s)")
    group.add_argument("--health-timeout", metavar="TIME", help="time that a check may take (30s)")
    group.add_argument("--health-retries", type=int, metavar="N", help="failures in a row that make it unhealthy (3)")
    group.add_argument("--health-start-period", metavar="TIME", help="time at the start in which failures do not count")
    group.add_argument("--health-start-interval", metavar="TIME", help="time between two checks in that period (5s)")
    add_flag(group, "--no-healthcheck", help="ignore the image's health check")


def check_of(arguments: argparse.Namespace) -> HealthCheck:
    """Return the health check that the flags ask for; an empty one when they do not.

    Raises:
        Usage: A flag's value is malformed.
    """
    texts = {name: getattr(arguments, f"health_{name}") for name in _HEALTH_TIMES}
    times = {name: _health_time(name, text) for name, text in texts.items() if text is not None}
    retries = arguments.health_retries or 0
    if retries < 0:
        raise Usage("--health-retries must not be negative")
    if arguments.no_healthcheck:
        if times or retries or arguments.health_cmd:
            raise Usage("--no-healthcheck cannot be combined with the other flags for health")
        return HealthCheck(("NONE",))
    test = ("CMD-SHELL", arguments.health_cmd) if arguments.health_cmd else ()
    return HealthCheck(test, retries=retries, **times)


def _health_time(name: str, text: str) -> float:
    seconds = parse_duration(text)
    if 0 < seconds < 0.001 or seconds < 0:
        raise Usage(f"--health-{name.replace('_', '-')} must be at least 1ms")
    return seconds
