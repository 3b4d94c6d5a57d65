"""Times pulls of a large image from a local registry, side by side with the peers installed here, and prints ratios.

Everything lies on tmpfs and speaks over the loopback of a network namespace of its own. Each pull starts with an empty
store and ends with the image's files unpacked, ready to run. Run as root: python -m tests.bench_pull [ROUNDS]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.bench import Contender, milliseconds, private_dockerd, report, take_turns
from tests.kernel.registries import docker_registry

ROUNDS = 5
LAYERS = 6
LAYER_BYTES = 50 << 20
SOURCES = ("/usr/lib", "/usr/share", "/usr/bin", "/usr/sbin")


def layer_archives(scratch: Path, count: int = LAYERS) -> list[Path]:
    """Make tars of this host's own programs and libraries, of about 50 MB each; fewer when there is not enough."""
    archives: list[Path] = []
    names: list[str] = []
    total = 0
    for source in SOURCES:
        for directory, _, files in sorted(os.walk(source)):
            for name in sorted(files):
                path = Path(directory, name)
                if path.is_symlink() or not path.is_file():
                    continue
                names.append(str(path))
                total += path.stat().st_size
                if total < LAYER_BYTES:
                    continue
                archive = scratch / f"layer{len(archives)}.tar"
                subprocess.run(
                    ["tar", "-cPf", archive, "-T", "-"],
                    input="\n".join(names).encode(),
                    check=True,
                    stderr=subprocess.DEVNULL,
                )
                archives.append(archive)
                names, total = [], 0
                if len(archives) == count:
                    return archives
    return archives


def make_image(scratch: Path, registry: str) -> str:
    """Push an image of these layers; return its reference."""
    layout = scratch / "layout"
    subprocess.run(["umoci", "init", "--layout", layout], check=True)
    subprocess.run(["umoci", "new", "--image", f"{layout}:1"], check=True)
    for archive in layer_archives(scratch):
        subprocess.run(["umoci", "raw", "add-layer", "--image", f"{layout}:1", archive], check=True)
        archive.unlink()
    reference = f"{registry}/bench:1"
    copy = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{reference}"]
    subprocess.run(copy, check=True)
    shutil.rmtree(layout)
    return reference


def run(argv: list[str]) -> None:
    """Run a command without its output."""
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def timed(name: str, commands: list[list[str]], clean: Callable[[], object]) -> Contender:
    """Time commands; clean up afterwards, untimed."""

    def work() -> None:
        for argv in commands:
            run(argv)

    def once() -> float:
        taken = milliseconds(work)
        clean()
        return taken

    return Contender(name, once)


def remove(*paths: Path) -> None:
    """Remove directories."""
    for path in paths:
        shutil.rmtree(path)


def contenders(scratch: Path, reference: str, stack: ExitStack) -> list[Contender]:
    """Return us and the peers that are installed."""
    tuicon = str(Path(sys.executable).with_name("tuicon"))
    root = scratch / "tuicon"
    found = [timed("tuicon pull", [[tuicon, "--root", str(root), "pull", "-q", reference]], lambda: remove(root))]
    copied, bundle = scratch / "oci", scratch / "bundle"
    if shutil.which("skopeo") and shutil.which("umoci"):
        copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{reference}", f"oci:{copied}:1"]
        unpack = ["umoci", "unpack", "--image", f"{copied}:1", str(bundle)]
        found.append(timed("skopeo copy + umoci unpack", [copy, unpack], lambda: remove(copied, bundle)))
    if shutil.which("podman"):
        podman = [
            "podman",
            "--root",
            str(scratch / "podman"),
            "--runroot",
            str(scratch / "podman-run"),
            "--storage-driver",
            "overlay",
        ]
        found.append(timed("podman pull", [[*podman, "pull", "-q", "--tls-verify=false", reference]],
            lambda: run([*podman, "rmi", "-f", reference])))  # fmt: skip
    if shutil.which("dockerd"):
        scratch.joinpath("docker").mkdir()
        client = stack.enter_context(private_dockerd(scratch / "docker", own_network=False))
        found.append(timed("docker pull", [[*client, "pull", "-q", reference]],
            lambda: run([*client, "rmi", "-f", reference])))  # fmt: skip
    return found


def main() -> None:
    """Run everything and print it."""
    missing = [name for name in ("docker-registry", "skopeo", "umoci") if not shutil.which(name)]
    if missing:
        print(f"pulls: absent: {', '.join(missing)}")
        return
    if os.environ.get("TUICON_BENCH_INSIDE") != "1":
        words = [sys.executable, "-m", "tests.bench_pull", *sys.argv[1:]]
        subprocess.run(
            ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words],
            check=True, env={**os.environ, "TUICON_BENCH_INSIDE": "1"},
        )  # fmt: skip
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with (
        tempfile.TemporaryDirectory(prefix="tuicon-bench-", dir="/dev/shm", ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        scratch = Path(name)
        registry = stack.enter_context(docker_registry(scratch / "registry"))
        reference = make_image(scratch, registry)
        started = time.monotonic()
        all_of_us = contenders(scratch, reference, stack)
        report(
            f"A pull of {LAYERS} layers, {LAYERS * LAYER_BYTES >> 20} MB, from a local registry on tmpfs",
            ["tuicon pull"],
            take_turns(all_of_us, rounds),
        )
        print(f"  ({rounds} rounds in {time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    main()
