"""Weighs what stays in memory for each running container, side by side with the peers installed here.

The weight is the proportional set size (proc(5), smaps_rollup): pages that processes share count once, divided among
them. Run as root: python -m tests.bench_memory [CONTAINERS]
"""

from __future__ import annotations

import io
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from engine.api import Engine
from engine.linux import procfs
from engine.model.container import ContainerSpec
from tests.bench import IMAGE, private_dockerd, rootfs_archive

CONTAINERS = 10
SLEEP = ("sleep", "3600")


def weight(pid: int) -> float:
    """Return the proportional set size of a process in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    return 0.0


def named(program: str, ids: set[str]) -> list[int]:
    """Return the processes of a program that name one of some containers."""
    found = []
    for pid in procfs.process_ids():
        try:
            command = procfs.command_line(pid)
        except OSError:
            continue
        if program in command.split(" ", maxsplit=1)[0] and any(container in command for container in ids):
            found.append(pid)
    return found


def report(name: str, pids: list[int]) -> None:
    """Print the median weight."""
    weights = [weight(pid) for pid in pids]
    print(f"  {name:<44} {statistics.median(weights) / 1024:8.2f} MiB   ({len(pids)} containers)")


def ours(scratch: Path, archive: bytes, count: int) -> None:
    """Weigh the monitors of containers of our own."""
    with Engine(scratch / "tuicon") as engine:
        engine.images.import_rootfs(io.BytesIO(archive), IMAGE)
        try:
            spec = ContainerSpec(IMAGE, command=SLEEP, network="none")
            pids = [engine.containers.run(spec).pid for _ in range(count)]
            report("tuicon: monitor", [int(procfs.status_of(pid)["PPid"]) for pid in pids])
        finally:
            engine.system.reset()


def docker(scratch: Path, archive: bytes, count: int, stack: ExitStack) -> None:
    """Weigh the shims of docker's containers; dockerd and containerd come on top."""
    scratch.joinpath("docker").mkdir()
    client = stack.enter_context(private_dockerd(scratch / "docker"))
    subprocess.run([*client, "import", "-", IMAGE], input=archive, check=True, stdout=subprocess.DEVNULL)
    run = [*client, "run", "-d", "--network", "none", IMAGE, *SLEEP]
    ids = {subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip() for _ in range(count)}
    report("docker: containerd-shim", named("containerd-shim", ids))
    subprocess.run([*client, "rm", "-f", *ids], check=True, stdout=subprocess.DEVNULL)


def podman(scratch: Path, archive: bytes, count: int) -> None:
    """Weigh the conmons of podman's containers."""
    client = ["podman", "--root", str(scratch / "podman"), "--runroot", str(scratch / "podman-run"),
        "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]  # fmt: skip
    subprocess.run([*client, "import", "-", IMAGE], input=archive, check=True, capture_output=True)
    run = [*client, "run", "-d", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
        f"localhost/{IMAGE}", *SLEEP]  # fmt: skip
    ids = {subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip() for _ in range(count)}
    try:
        report("podman: conmon", named("conmon", ids))
    finally:
        subprocess.run([*client, "rm", "-f", "-t", "0", *ids], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Weigh everything and print it."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else CONTAINERS
    archive = rootfs_archive()
    print("\nMemory for each running container, beside its own")
    with tempfile.TemporaryDirectory(prefix="tuicon-bench-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        scratch = Path(name)
        ours(scratch, archive, count)
        for peer, program in (("docker", "dockerd"), ("podman", "podman")):
            if not shutil.which(program):
                print(f"  {peer}: absent")
            elif peer == "docker":
                docker(scratch, archive, count, stack)
            else:
                podman(scratch, archive, count)


if __name__ == "__main__":
    main()
