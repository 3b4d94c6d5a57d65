"""Transfers that go on in the background: one thread each, told of by news, shown by snapshots, ended by an event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.errors import Cancelled
from engine.model.transfer import Progress, Watch
from tuicon.model.transfers import STOPPABLE, State, Tally, TransferEnded, TransferProgress, totals

Call = Callable[[Watch, threading.Event], object]
"""Does the transfer; tells the first argument of its progress, and ends soon after the second is set."""
_KEEPS = 50
_ENDS_WITHIN = 20.0


@dataclass(slots=True)
class _Transfer:
    id: str
    kind: str
    name: str
    call: Call
    then: Callable[[object], None] | None
    stop: threading.Event = field(default_factory=threading.Event)
    tally: Tally = field(default_factory=Tally)
    state: State = State.RUNNING
    outcome: str = ""
    result: object = None
    error: Exception | None = None
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0


class Transfers:
    """All transfers of this console; used by the screen, and by each transfer's thread."""

    def __init__(self, ended: Callable[[TransferEnded], None]) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self._all: dict[str, _Transfer] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._count = 0

    def start(self, kind: str, name: str, call: Call, then: Callable[[object], None] | None = None) -> str:
        """Begin a transfer in a thread; one of the same kind and name that goes on already is taken instead.

        Args:
            kind: pull, push, save or load.
            name: What it is about.
            call: Does it.
            then: Is called with its result in the screen's thread when it has ended well.

        Returns:
            Its id.
        """
        with self._lock:
            for other in self._all.values():
                if (other.kind, other.name, other.state) == (kind, name, State.RUNNING):
                    other.then = then or other.then
                    return other.id
            self._count += 1
            made = _Transfer(str(self._count), kind, name, call, then)
            self._all[made.id] = made
            thread = threading.Thread(target=self._run, args=(made,), name=f"transfer-{made.id}", daemon=True)
            self._threads[made.id] = thread
        thread.start()
        return made.id

    def again(self, transfer_id: str) -> str:
        """Begin anew what has failed or was called off; return the new id, "" when it is not such a one."""
        old = self._all.get(transfer_id)
        if old is None or old.state not in (State.FAILED, State.CANCELLED):
            return ""
        self.drop(transfer_id)
        return self.start(old.kind, old.name, old.call, old.then)

    def _run(self, transfer: _Transfer) -> None:
        def watch(news: Progress) -> None:
            with self._lock:
                transfer.tally.take(news, time.monotonic())

        state, outcome = State.DONE, ""
        try:
            transfer.result = transfer.call(watch, transfer.stop)
        except Cancelled:
            state, outcome = (
                State.CANCELLED,
                f"{transfer.kind} of {transfer.name} was called off, nothing of it is left",
            )
        except Exception as error:  # noqa: BLE001 - the console outlives every engine error
            transfer.error = error
            hint = getattr(error, "hint", "")
            state, outcome = State.FAILED, f"{error}" + (f" ({hint})" if hint else "")
        with self._lock:
            transfer.state, transfer.outcome = state, outcome or f"{transfer.kind} of {transfer.name} is done"
            transfer.seconds = time.monotonic() - transfer.started
            del self._threads[transfer.id]
            self._forget_oldest()
        self._ended(TransferEnded(self._snapshot(transfer), transfer.result, transfer.error, transfer.then))

    def _forget_oldest(self) -> None:
        ended = [item.id for item in self._all.values() if item.id not in self._threads]
        for transfer_id in ended[:-_KEEPS]:
            del self._all[transfer_id]

    def stop(self, transfer_id: str) -> None:
        """Call a transfer off; it ends soon, but for those of files, which go on to their end."""
        with self._lock:
            found = self._all.get(transfer_id)
            if found is not None and found.state is State.RUNNING and found.kind in STOPPABLE:
                found.state = State.STOPPING
                found.stop.set()

    def drop(self, transfer_id: str = "") -> None:
        """Forget a transfer that has ended, or all of them."""
        with self._lock:
            for item in [*self._all.values()]:
                if item.id not in self._threads and transfer_id in ("", item.id):
                    del self._all[item.id]

    def list(self) -> tuple[TransferProgress, ...]:
        """Return all transfers as they are now, the newest first."""
        with self._lock:
            return tuple(self._snapshot(item) for item in reversed(self._all.values()))

    @property
    def active(self) -> int:
        """How many go on."""
        return len(self._threads)

    @staticmethod
    def _snapshot(item: _Transfer) -> TransferProgress:
        now = time.monotonic()
        layers = item.tally.layers(now)
        done, total, rate = totals(layers)
        is_active = item.state in (State.RUNNING, State.STOPPING)
        seconds = now - item.started if is_active else item.seconds
        return TransferProgress(
            item.id, item.kind, item.name, item.state, item.outcome, seconds, layers, done, total,
            rate if is_active else 0.0,
        )  # fmt: skip

    def close(self) -> None:
        """Call all transfers off, and wait for them to clean up; those of files go on to their end."""
        with self._lock:
            left = [(self._all[transfer_id], thread) for transfer_id, thread in self._threads.items()]
        for transfer, _ in left:
            self.stop(transfer.id)
        deadline = time.monotonic() + _ENDS_WITHIN
        for transfer, thread in left:
            thread.join(max(0.0, deadline - time.monotonic()) if transfer.kind in STOPPABLE else None)
