"""One reader: waits for events and for the second to pass, takes a snapshot, hands it on."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from engine.model.usage import InterfaceCounters
from engine.model.value import replace
from tuicon.backend import Backend, Sampler
from tuicon.model.snapshot import HostTotals, Snapshot
from tuicon.model.traffic import HostLink, Meter, readings_of

_TICK = 1.0
_RELISTS_EVERY = 5.0
_RESTS_AFTER_EVENT = 0.05


class Feed:
    """Runs in a thread of its own; engine errors become the snapshot's `error`, and it goes on."""

    def __init__(self, backend: Backend, deliver: Callable[[Snapshot], None]) -> None:
        self._backend = backend
        self._deliver = deliver
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._is_stale = True
        self._listed_at = 0.0
        self._snapshot = Snapshot()
        self._meter = Meter()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin."""
        for target in (self._read, self._watch):
            thread = threading.Thread(target=target, name=f"feed{target.__name__}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End, and wait for the reader."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(timeout=2)

    def refresh(self) -> None:
        """Take a snapshot soon."""
        self._is_stale = True
        self._wake.set()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                for _ in self._backend.events.follow(stop=self._stop):
                    self.refresh()
            except Exception:  # noqa: BLE001 - the console outlives every engine error
                self._stop.wait(_TICK)

    def _read(self) -> None:
        sampler: Sampler | None = None
        host = _Host()
        next_tick = time.monotonic()
        while not self._stop.is_set():
            try:
                sampler = sampler or self._backend.containers.sampler()
                self._snapshot = self._take(sampler, host)
            except Exception as error:  # noqa: BLE001 - the console outlives every engine error
                self._snapshot = replace(self._snapshot, taken_at=datetime.now(UTC), error=str(error))
            if self._stop.is_set():
                break  # whom it is for may be gone by now
            self._deliver(self._snapshot)
            now = time.monotonic()
            next_tick = max(next_tick + _TICK, now + _RESTS_AFTER_EVENT)
            if self._wake.wait(next_tick - now):
                self._stop.wait(_RESTS_AFTER_EVENT)
                next_tick = time.monotonic()
            self._wake.clear()
        if sampler:
            sampler.close()

    def _take(self, sampler: Sampler, host: _Host) -> Snapshot:
        now = time.monotonic()
        found = replace(self._snapshot, taken_at=datetime.now(UTC), error="", host=host.read())
        if self._is_stale or now - self._listed_at > _RELISTS_EVERY:
            self._is_stale, self._listed_at = False, now
            backend = self._backend
            found = replace(
                found, containers=backend.containers.list(), images=backend.images.list(),
                networks=backend.networks.list(), volumes=backend.volumes.list(), uplink=backend.networks.uplink(),
            )  # fmt: skip
            host.look()
        usages = sampler.sample()
        return replace(found, usages=usages, flows=self._meter.flows(readings_of(usages)), links=host.links())


class _Host:
    """Reads the host's totals; psutil is loaded with the first snapshot, after the first paint."""

    def __init__(self) -> None:
        self._psutil: Any = None
        self._meter = Meter()
        self._addresses: dict[str, tuple[str, ...]] = {}

    def read(self) -> HostTotals:
        """Return the totals now; CPU since the last call."""
        if self._psutil is None:
            import psutil  # noqa: PLC0415 - see above

            self._psutil = psutil
        psutil = self._psutil
        memory = psutil.virtual_memory()
        return HostTotals(
            psutil.cpu_percent(None),
            memory.total - memory.available,
            memory.total,
            psutil.getloadavg()[0],
            psutil.cpu_count() or 1,
        )

    def look(self) -> None:
        """Look anew which addresses the host has."""
        self._addresses = {
            name: tuple(text for one in found if (text := _address(one.address, one.netmask)))
            for name, found in self._psutil.net_if_addrs().items()
        }

    def links(self) -> dict[str, HostLink]:
        """Return the host's interfaces, with rates since the last call."""
        now = time.monotonic_ns()
        found = {name: (now, _counters(name, one)) for name, one in self._psutil.net_io_counters(pernic=True).items()}
        flows = self._meter.flows(found)
        return {
            name: HostLink(name, self._addresses.get(name, ()), counters, flows[name])
            for name, (_, counters) in found.items()
        }


def _counters(name: str, one: Any) -> InterfaceCounters:  # noqa: ANN401 - psutil has no public name for it
    return InterfaceCounters(
        name, one.bytes_recv, one.bytes_sent, one.packets_recv, one.packets_sent, one.errin, one.errout, one.dropin,
        one.dropout,
    )  # fmt: skip


def _address(address: str, netmask: str | None) -> str:
    """Return "ADDRESS/PREFIX"; empty for what is no address of IP, and for link-local ones."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
        if found.is_link_local:
            return ""
        mask = int(ipaddress.ip_address(netmask or ""))
    except ValueError:
        return ""
    return f"{found}/{mask.bit_count()}"
