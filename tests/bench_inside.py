"""Times the analysis of a large image's layers, side by side with ways that export it first, and prints ratios.

Ours reads the indexes that were made while the layers were unpacked. The others have docker save the image and list the
layers' archives, or are dive, which does the same inside. Everything lies on tmpfs.
Run as root: python -m tests.bench_inside [ROUNDS]
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import ExitStack
from pathlib import Path

from engine.oci.digest import of_bytes
from tests.bench import Contender, command, milliseconds, private_dockerd, report, take_turns
from tests.bench_pull import layer_archives, run

ROUNDS = 3
LAYERS = 10
IMAGE = "bench/inside:latest"
_LIST = (
    'mkdir out && docker_save | tar -xC out && for layer in $(find out -type f -size +1M); do tar -tvf "$layer"; done'
)


def make_archive(scratch: Path) -> Path:
    """Make a docker archive of this host's own programs and libraries."""
    layers = layer_archives(scratch, LAYERS)
    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [of_bytes(layer.read_bytes()) for layer in layers]},
    }).encode()  # fmt: skip
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": [layer.name for layer in layers]}])
    target = scratch / "image.tar"
    with tarfile.open(target, "w") as archive:
        for name, content in (("manifest.json", manifest.encode()), ("config.json", config)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for layer in layers:
            archive.add(layer, layer.name)
            layer.unlink()
    return target


def exported(client: list[str], scratch: Path) -> Contender:
    """Time docker save and a listing of each layer."""
    script = _LIST.replace("docker_save", " ".join([*client, "save", IMAGE]))

    def once() -> float:
        place = scratch / "export"
        place.mkdir()
        taken = milliseconds(lambda: subprocess.run(["sh", "-ec", script], check=True, cwd=place, capture_output=True))
        shutil.rmtree(place)
        return taken

    return Contender("docker save + tar -tv of each layer", once)


def dive(client: list[str], scratch: Path) -> Contender:
    """Time dive without its screen."""
    environment = {**os.environ, "DOCKER_HOST": client[2], "HOME": str(scratch)}
    argv = ["dive", IMAGE, "--json", str(scratch / "dive.json")]
    return Contender(
        "dive --json",
        lambda: milliseconds(lambda: subprocess.run(argv, check=False, env=environment, capture_output=True)),
    )


def main() -> None:
    """Run everything and print it."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    tuicon = str(Path(sys.executable).with_name("tuicon"))
    with (
        tempfile.TemporaryDirectory(prefix="tuicon-bench-", dir="/dev/shm", ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        scratch = Path(name)
        archive = make_archive(scratch)
        size = archive.stat().st_size >> 20
        ours = [tuicon, "--root", str(scratch / "tuicon")]
        run([*ours, "load", "-i", str(archive)])
        contenders = [
            command(f"tuicon image {verb}", [*ours, "image", verb, IMAGE]) for verb in ("layers", "waste", "tree")
        ]
        names = [contender.name for contender in contenders]
        if shutil.which("dockerd"):
            scratch.joinpath("docker").mkdir()
            client = stack.enter_context(private_dockerd(scratch / "docker"))
            run([*client, "load", "-i", str(archive)])
            contenders.append(exported(client, scratch))
            if shutil.which("dive"):
                contenders.append(dive(client, scratch))
            else:
                print("dive: absent")
        else:
            print("dockerd: absent")
        archive.unlink()
        report(f"The analysis of an image of {size} MB on tmpfs", names, take_turns(contenders, rounds))


if __name__ == "__main__":
    main()
