"""Pressure stall information: how long tasks waited for a resource (kernel: accounting/psi)."""

from __future__ import annotations

import os

from engine.model.groups import HostPressure
from engine.model.usage import Pressure

RESOURCES = ("cpu", "memory", "io")
_DIRECTORY = "/proc/pressure"


def parse(text: str) -> Pressure | None:
    """Return what a pressure file says; None for an empty one."""
    values: dict[str, float] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values |= {f"{kind}_{name}": float(value) for name, _, value in (pair.partition("=") for pair in pairs)}
    if "some_total" not in values:
        return None
    averages = [f"avg{seconds}" for seconds in (10, 60, 300)]
    some, full = ([values.get(f"{kind}_{name}", 0.0) for name in averages] for kind in ("some", "full"))
    return Pressure(
        some[0], some[1], some[2], int(values["some_total"]), full[0], full[1], full[2], int(values.get("full_total", 0))
    )  # fmt: skip


def of_host(*, of_groups: bool = False) -> HostPressure:
    """Return the pressure of the whole host.

    Args:
        of_groups: Whether the kernel tells it of control groups too, as the caller has seen.
    """
    found = [of(name) for name in RESOURCES]
    reason = ""
    if not any(found):
        reason = "this kernel does not measure pressure: it was built without PSI, or booted without psi=1"
    elif not of_groups:
        reason = "this kernel measures the pressure of groups on cgroup v2 only: throttling and use are shown for each"
    return HostPressure(found[0], found[1], found[2], of_groups, reason)


def of(resource: str) -> Pressure | None:
    """Return the pressure of the whole host on one resource; None where the kernel does not say."""
    try:
        fd = os.open(f"{_DIRECTORY}/{resource}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return parse(os.read(fd, 4096).decode())
    except OSError:  # EOPNOTSUPP: it is off
        return None
    finally:
        os.close(fd)
