"""One reader: waits for events and for the second to pass, takes a snapshot, hands it on."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.model.event import Event
from engine.model.groups import GroupReading, Stall
from engine.model.usage import InterfaceCounters
from engine.model.value import replace
from tuicon.backend import Backend, Sampler
from tuicon.model.snapshot import HostTotals, Snapshot
from tuicon.model.traffic import HostLink, Meter, readings_of

_TICK = 1.0
_RELISTS_EVERY = 5.0
_RESTS_AFTER_EVENT = 0.05
_EVENTS_OF = timedelta(minutes=15)
_MOST_EVENTS = 500
_TELLS_EVERY = 60.0
_FIRST_GROUPS_AFTER = 0.5
_GROUPS_EVERY = 2.0


class Feed:
    """Runs in a thread of its own; engine errors become the snapshot's `error`, and it goes on."""

    def __init__(
        self,
        backend: Backend,
        deliver: Callable[[Snapshot], None],
        tell: Callable[[Stall], object] = lambda _stall: None,
    ) -> None:
        self._backend = backend
        self._deliver = deliver
        self._tell = tell
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._is_stale = True
        self._listed_at = 0.0
        self._snapshot = Snapshot()
        self._meter = Meter()
        self._threads: list[threading.Thread] = []
        self._events: tuple[Event, ...] = ()
        self._events_lock = threading.Lock()
        self._seen: deque[tuple[datetime, str, str]] = deque(maxlen=_MOST_EVENTS)

    def start(self) -> None:
        """Begin."""
        for target in (self._read, self._watch):
            thread = threading.Thread(target=target, name=f"feed{target.__name__}", daemon=True)
            self._threads.append(thread)
            thread.start()
        # Not waited for at the end: it ends within a second, which a user who leaves need not spend.
        threading.Thread(target=self._wait_for_stalls, name="feed_stalls", daemon=True).start()

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
            since = datetime.now(UTC) - _EVENTS_OF
            try:
                for event in self._backend.events.follow(since=since, stop=self._stop):
                    self._take_event(event)
            except Exception:  # noqa: BLE001 - the console outlives every engine error
                self._stop.wait(_TICK)

    def _wait_for_stalls(self) -> None:
        """Tell of containers that wait too long; where the kernel does not measure that, nobody does."""
        try:
            stalls = self._backend.groups.stalls()
        except Exception:  # noqa: BLE001 - the console outlives every engine error
            return
        told: dict[tuple[str, str], float] = {}
        try:
            while not self._stop.is_set():
                for stall in stalls.wait(_TICK):
                    self._take_stall(stall, told)
        except Exception:  # noqa: BLE001 - the same
            return
        finally:
            stalls.close()

    def _take_stall(self, stall: Stall, told: dict[tuple[str, str], float]) -> None:
        """Mark a stall below the graphs and tell of it, but not the same again for a while."""
        key, now = (stall.container_id, stall.resource), time.monotonic()
        if now - told.get(key, -_TELLS_EVERY) < _TELLS_EVERY:
            return
        told[key] = now
        if stall.container_id:
            attributes = {"waits for": stall.resource, "more than": f"{stall.threshold:g}% of the time"}
            moment = datetime.now(UTC)
            self._take_event(Event("", moment, "container", "pressure", stall.container_id, "", attributes))
        if not self._stop.is_set():
            self._tell(stall)

    def _take_event(self, event: Event) -> None:
        """Remember an event, once: those of the last minutes come again when the journal had to be opened anew."""
        key = (event.time, event.id, event.action)
        with self._events_lock:
            if key in self._seen:
                return
            self._seen.append(key)
            self._events = (*self._events, event)[-_MOST_EVENTS:]
        self.refresh()

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
        return replace(
            found,
            events=self._events,
            usages=usages,
            flows=self._meter.flows(readings_of(usages)),
            links=host.links(),
        )


class GroupFeed:
    """Reads the host's control groups every two seconds, in a thread of its own, as long as somebody looks."""

    def __init__(self, backend: Backend, deliver: Callable[[GroupReading | None, str], None]) -> None:
        self._backend = backend
        self._deliver = deliver
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="groups", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the reader may take a moment."""
        self._stop.set()

    def _read(self) -> None:
        pause = _FIRST_GROUPS_AFTER
        while not self._stop.is_set():
            try:
                reading, error = self._backend.groups.read(), ""
            except Exception as failure:  # noqa: BLE001 - the console outlives every engine error
                reading, error = None, str(failure)
            if not self._stop.is_set():
                self._deliver(reading, error)
            self._stop.wait(pause)
            pause = _GROUPS_EVERY


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
