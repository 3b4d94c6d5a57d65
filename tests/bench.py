"""Times container starts and the console, side by side with the peers installed here, and prints ratios.

Runs take turns (ours, theirs, ours, …), so a drift of the machine's speed falls on both. Peers that are
absent are named as absent. Run as root: python -m tests.bench [ROUNDS]
"""

from __future__ import annotations

import io
import json
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.api import Engine
from engine.model.container import ContainerSpec, ExecSpec
from engine.model.network import PortMapping

ROUNDS = 15
CHECKOUT = Path(__file__).resolve().parent.parent
DOCKER_STARTS_WITHIN = 60.0
IMAGE = "bench/busybox:latest"


@dataclass(frozen=True, slots=True)
class Contender:
    """A command to time: its name, and a function that runs it once and returns milliseconds."""

    name: str
    once: Callable[[], float]


def milliseconds(action: Callable[[], object]) -> float:
    """Return how long `action` takes."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def take_turns(contenders: list[Contender], rounds: int) -> dict[str, float]:
    """Return the median of each contender, after one round that is not counted."""
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            taken = contender.once()
            if number:
                times[contender.name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


def report(title: str, ours: list[str], medians: dict[str, float]) -> None:
    """Print the medians, and the ratio of each of ours to each of theirs."""
    print(f"\n{title}")
    for name, median in medians.items():
        ratios = ""
        if name in ours:
            ratios = "   ".join(
                f"{median / theirs:.2f} of {peer}" for peer, theirs in medians.items() if peer not in ours
            )
        print(f"  {name:<44} {median:8.1f} ms   {ratios}".rstrip())


def rootfs_archive() -> bytes:
    """Return a tar of a root file system with a static busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        sys.exit("bench: busybox is missing (install with: sudo apt-get install busybox-static)")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(busybox, "bin/busybox")
        for name in ("true", "sh", "sleep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name in ("proc", "sys", "dev", "tmp", "etc"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(directory)
    return content.getvalue()


def warm_start(engine: Engine) -> Contender:
    """Time only `start`: from the request to the acknowledged execve."""

    def once() -> float:
        container = engine.containers.create(ContainerSpec(IMAGE, command=("true",), network="none"))
        taken = milliseconds(lambda: engine.containers.start(container.id))
        engine.containers.wait(container.id)
        engine.containers.remove(container.id)
        return taken

    return Contender("tuicon engine, warm: start to exec", once)


def warm_cycle(engine: Engine) -> Contender:
    """Time start, run and clean-up of a container that exists, as `runc run` has its bundle."""

    def once() -> float:
        container = engine.containers.create(ContainerSpec(IMAGE, command=("true",), network="none"))

        def cycle() -> None:
            engine.containers.start(container.id)
            engine.containers.wait(container.id)

        taken = milliseconds(cycle)
        engine.containers.remove(container.id)
        return taken

    return Contender("tuicon engine, warm: start, run, clean up", once)


def warm_exec(engine: Engine, container_id: str) -> Contender:
    """Time a command in a running container, from the request to its exit code."""

    def once() -> float:
        def executed() -> None:
            session = engine.containers.exec(container_id, ExecSpec(("true",)))
            while session is not None and session.exit_code is None:
                session.read()

        return milliseconds(executed)

    return Contender("tuicon engine, warm: exec", once)


def published_start(engine: Engine) -> Contender:
    """Time `start` of a container on the bridge with a published port."""

    def once() -> float:
        spec = ContainerSpec(IMAGE, command=("sleep", "1000"), ports=(PortMapping(80),))
        container = engine.containers.create(spec)
        taken = milliseconds(lambda: engine.containers.start(container.id))
        engine.containers.remove(container.id, force=True)
        return taken

    return Contender("tuicon engine, warm: start with a port", once)


def peer_published_start(name: str, client: list[str], *options: str) -> Contender:
    """Time `start` of a container with a published port by a client with docker's verbs; `create` gets the options."""

    def once() -> float:
        done = subprocess.run(
            [*client, "create", *options, "-p", "80", IMAGE, "sleep", "1000"], check=True, capture_output=True
        )
        container = done.stdout.decode().split()[-1]
        taken = milliseconds(lambda: subprocess.run([*client, "start", container], check=True, capture_output=True))
        subprocess.run([*client, "rm", "-f", container], check=True, capture_output=True)
        return taken

    return Contender(f"{name} start, with a port", once)


def command(name: str, argv: list[str]) -> Contender:
    """Time a whole process."""
    return Contender(name, lambda: milliseconds(lambda: subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)))


def runc_bundle(directory: Path, archive: bytes) -> list[str]:
    """Make a bundle and return the command that runs it."""
    rootfs = directory / "rootfs"
    rootfs.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as content:
        content.extractall(rootfs, filter="fully_trusted")
    subprocess.run(["runc", "spec", "--bundle", directory], check=True)
    config = json.loads(directory.joinpath("config.json").read_text())
    config["process"].update(args=["true"], terminal=False)
    config["process"].pop("rlimits", None)
    directory.joinpath("config.json").write_text(json.dumps(config))
    return ["runc", "--root", str(directory / "state"), "run", "--bundle", str(directory), "tuicon-bench"]


@contextmanager
def private_dockerd(directory: Path, *, own_network: bool = True, options: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Run dockerd, in a network namespace of its own unless we are in one, and yield the client's command for it."""
    socket = directory / "docker.sock"
    daemon: list[str | Path] = [*(("unshare", "--net") if own_network else ()), "dockerd", "--data-root", directory / "data", "--exec-root", directory / "exec",
        "--pidfile", directory / "pid", "-H", f"unix://{socket}", *options]  # fmt: skip
    with directory.joinpath("log").open("wb") as log:
        process = subprocess.Popen(daemon, stdout=log, stderr=log)
    client = ["docker", "-H", f"unix://{socket}"]
    try:
        deadline = time.monotonic() + DOCKER_STARTS_WITHIN
        while subprocess.run([*client, "info"], check=False, capture_output=True).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                message = directory.joinpath("log").read_text().strip().splitlines()[-1:]
                raise RuntimeError(f"dockerd did not start: {message}")
            time.sleep(0.1)
        yield client
    finally:
        process.terminate()
        process.wait()


def bench_bundle(bundle: Path, rounds: int) -> None:
    """Print `run` of one bundle by tuicon-oci beside runc and crun."""
    program = str(Path(sys.executable).with_name("tuicon-oci"))
    contenders = []
    for runtime in (program, "runc", "crun"):
        name = Path(runtime).name
        argv = [runtime, "--root", str(bundle / f"{name}-state"), "run", "--bundle", str(bundle), "tuicon-bench"]
        if shutil.which(runtime) and subprocess.run(argv, check=False, capture_output=True).returncode == 0:
            contenders.append(command(f"{name} run", argv))
        else:
            print(f"{name}: absent, or does not run here")
    report("A bundle, by the OCI runtime commands", ["tuicon-oci run"], take_turns(contenders, rounds))


def private_podman(directory: Path, archive: bytes) -> tuple[list[str], list[str]]:
    """Return podman's command on a store of its own with the image, and what its `run` needs to work here."""
    client = ["podman", "--root", str(directory / "root"), "--runroot", str(directory / "run"), "--runtime", "runc"]
    subprocess.run([*client, "import", "-q", "-", IMAGE], input=archive, check=True, stdout=subprocess.DEVNULL)
    return client, ["run", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]


def bench_execs(engine: Engine, root: Path, peers: list[tuple[str, list[str], list[str]]], rounds: int) -> None:
    """Print a command in a container that runs, from a warm engine and cold, beside the peers."""
    ours = engine.containers.run(ContainerSpec(IMAGE, command=("sleep", "100000"), network="none"))
    tuicon = [str(Path(sys.executable).with_name("tuicon")), "--root", str(root)]
    contenders = [warm_exec(engine, ours.id), command("tuicon exec", [*tuicon, "exec", ours.id, "true"])]
    names = [contender.name for contender in contenders]
    for name, client, run in peers:
        subprocess.run(
            [*client, *run, "-d", "--name", "bench", IMAGE, "sleep", "100000"], check=True, stdout=subprocess.DEVNULL
        )
        contenders.append(command(f"{name} exec", [*client, "exec", "bench", "true"]))
    report("A command in a running container", names, take_turns(contenders, rounds))
    for _, client, _ in peers:
        subprocess.run([*client, "rm", "-f", "bench"], check=True, stdout=subprocess.DEVNULL)
    engine.containers.remove(ours.id, force=True)


def bench_starts(scratch: Path, rounds: int, stack: ExitStack) -> None:
    """Print the warm starts beside runc, and the cold command beside docker."""
    archive = rootfs_archive()
    root = scratch / "tuicon"
    engine = stack.enter_context(Engine(root))
    stack.callback(engine.system.reset)
    engine.images.import_rootfs(io.BytesIO(archive), IMAGE)

    ours = [warm_start(engine), warm_cycle(engine)]
    theirs = []
    if shutil.which("runc"):
        theirs.append(command("runc run", runc_bundle(scratch / "runc", archive)))
    else:
        print("runc: absent")
    report(
        "A container without network, from a warm engine", [c.name for c in ours], take_turns([*ours, *theirs], rounds)
    )

    if theirs:
        bench_bundle(scratch / "runc", rounds)

    tuicon = [str(Path(sys.executable).with_name("tuicon")), "--root", str(root), "run", "--rm"]
    cold = [command("tuicon run --rm", [*tuicon, IMAGE, "true"])]
    cold.append(command("tuicon run --rm --network none", [*tuicon, "--network", "none", IMAGE, "true"]))
    peers: list[tuple[str, list[str], list[str]]] = []
    if shutil.which("dockerd"):
        client = stack.enter_context(private_dockerd(scratch / "docker"))
        subprocess.run([*client, "import", "-", IMAGE], input=archive, check=True, stdout=subprocess.DEVNULL)
        peers.append(("docker", client, ["run"]))
    else:
        print("dockerd: absent")
    if shutil.which("podman") and shutil.which("runc"):
        peers.append(("podman", *private_podman(scratch / "podman", archive)))
    else:
        print("podman: absent")
    others = [
        command(f"{name} {' '.join(run[:3])} --rm", [*client, *run, "--rm", IMAGE, "true"])
        for name, client, run in peers
    ]
    report("The whole command, cold", [c.name for c in cold], take_turns([*cold, *others], rounds))
    bench_execs(engine, root, peers, rounds)


def main() -> None:
    """Run everything and print it."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="tuicon-bench-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        scratch = Path(name)
        scratch.joinpath("docker").mkdir()
        bench_starts(scratch, rounds, stack)
    for part in ("bench_network", "bench_memory", "bench_many", "bench_pull", "bench_inside", "bench_sampler"):
        subprocess.run([sys.executable, "-m", f"tests.{part}"], check=True, cwd=CHECKOUT)
    print("\nThe console", flush=True)
    subprocess.run([sys.executable, "-m", "tests.bench_console"], check=True, cwd=CHECKOUT)


if __name__ == "__main__":
    main()
