"""Times the console: first paint in a pseudo-terminal, key to paint with 200 containers, idle CPU with 50."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import statistics
import sys
import time

from tests.fakes import FakeBackend, a_container
from tuicon.app import Console
from tuicon.config import Config
from tuicon.widgets.table import RecordTable

_IDLE_SECONDS = 10
_SHOW = "from tests.fakes import *; from tuicon.app import Console; from tuicon.config import Config; Console({}, Config()).run()"
_EIGHT = _SHOW.format("eight()")
_MANY = _SHOW.format("FakeBackend(*(a_container(number) for number in range(1, 201)))")


def first_paint() -> float:
    """Return the milliseconds from exec to the first list on the screen."""
    start = time.perf_counter()
    pid, fd = _in_terminal(_EIGHT)
    _read_until(fd, b"containers")
    taken = (time.perf_counter() - start) * 1000
    _end(pid, fd)
    return taken


def key_to_paint() -> float:
    """Return the median milliseconds from a key to the first bytes of the moved cursor, with 200 containers."""
    pid, fd = _in_terminal(_MANY)
    _read_until(fd, b"service-010")
    times = []
    for _ in range(30):
        while select.select([fd], [], [], 0.3)[0]:
            os.read(fd, 65536)
        start = time.perf_counter()
        os.write(fd, b"j")
        select.select([fd], [], [], 10)
        times.append((time.perf_counter() - start) * 1000)
    _end(pid, fd)
    return statistics.median(times)


def _in_terminal(code: str) -> tuple[int, int]:
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="140", LINES="40")
        os.execv(sys.executable, [sys.executable, "-c", code])
    return pid, fd


def _read_until(fd: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        if select.select([fd], [], [], 30)[0]:
            seen += os.read(fd, 65536)


def _end(pid: int, fd: int) -> None:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    os.close(fd)


async def idle_cpu() -> float:
    """Return the share of a core, in percent, with 50 running containers and nobody at the keys."""
    app = Console(FakeBackend(*(a_container(number) for number in range(1, 51))), Config())
    async with app.run_test(size=(140, 40)) as pilot:
        while not app.main.is_mounted or len(app.main.query_one("#containers", RecordTable).rows) < 50:
            await pilot.pause(0.02)
        await asyncio.sleep(2)
        start_cpu, start = time.process_time(), time.perf_counter()
        await asyncio.sleep(_IDLE_SECONDS)
        return (time.process_time() - start_cpu) / (time.perf_counter() - start) * 100


def main() -> None:
    """Print the figures."""
    first_paint()
    print(
        f"  first paint                                  {statistics.median(first_paint() for _ in range(5)):8.1f} ms"
    )
    print(f"  key to paint, 200 containers                 {key_to_paint():8.1f} ms")
    print(f"  idle CPU, 50 running containers              {asyncio.run(idle_cpu()):8.1f} % of a core")


if __name__ == "__main__":
    main()
