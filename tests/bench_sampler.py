"""Times one pass over the counters of 500 containers; run as root: python -m tests.bench_sampler

The groups are made for it, with one process that moves through memory and a CPU in some of them. CPU time is shown beside
the elapsed time, since a busy machine stretches only that.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time

from engine.linux.cgroup.counters import Reader
from engine.linux.cgroup.group import Group, group_for
from engine.model.usage import Counters, usage_between

GROUPS, BUSY, PASSES = 500, 20, 20
PIN_MS = 30.0


def busy(group: Group) -> int:
    """Start a process in a group that uses some memory and CPU; return its pid."""
    pid = os.fork()
    if pid == 0:
        group.move_self()
        while True:
            bytearray(os.urandom(1 << 16))
            time.sleep(0.05)
    return pid


def networked() -> subprocess.Popen[bytes]:
    """Start a process with interfaces of its own, as a container has them."""
    script = "ip link add eth0 type veth peer name eth1; echo; exec sleep 1000"
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


def main() -> None:
    """Make the groups, sample them, and print it."""
    parent = f"tuicon_bench_{os.getpid()}"
    groups = [group_for(f"{parent}/{number}") for number in range(GROUPS)]
    pids: list[int] = []
    network = networked()
    try:
        for group in groups:
            group.create()
        pids = [busy(group) for group in groups[:BUSY]]
        readers = [Reader(group.version, group.paths, network.pid) for group in groups]
        last: list[Counters | None] = [None] * GROUPS
        elapsed, used = [], []
        for _ in range(PASSES):
            time.sleep(0.2)
            wall, cpu = time.perf_counter(), time.process_time()
            for place, reader in enumerate(readers):
                found = reader.read()
                usage_between(last[place], found)
                last[place] = found
            elapsed.append((time.perf_counter() - wall) * 1000)
            used.append((time.process_time() - cpu) * 1000)
        for reader in readers:
            reader.close()
        median, cpu_median = statistics.median(elapsed), statistics.median(used)
        print(
            f"  {GROUPS} containers, {BUSY} of them busy     {median:8.1f} ms   {cpu_median:.1f} ms of CPU time, at most {PIN_MS:.0f}"
        )
    finally:
        network.kill()
        network.wait()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        group_for(parent).remove()


if __name__ == "__main__":
    main()
