"""The names of other engines' containers, as those engines keep them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from engine.api import Engine
from engine.containers.groups import Names, classified
from engine.model.groups import HostGroup
from tests.bench import rootfs_archive
from tests.kernel.conftest import Docker


def test_containers_of_docker_and_podman_have_their_names(engine: Engine, docker: Docker, root: Path) -> None:
    started = docker("run", "-d", "--network", "none", "--name", "neighbour", "demo:1", "sleep", "1000")
    assert started.returncode == 0, started.stderr
    try:
        container = started.stdout.decode().strip()
        group = next(one for one in engine.groups.read().groups if one.container_id == container)
        assert (group.owner, group.kind, group.is_ours) == ("docker", "container", False)
        data = docker("info", "--format", "{{.DockerRootDir}}").stdout.decode().strip()
        assert Names(docker=[Path(data)]).of(group) == "neighbour"
    finally:
        docker("rm", "-f", "neighbour")
    storage = root / "p"
    podman = ["podman", "--root", str(storage), "--runroot", str(root / "r"), "--storage-driver", "vfs"]
    try:
        subprocess.run([*podman, "import", "-", "box:1"], input=rootfs_archive(), check=True, capture_output=True)
        argv = [*podman, "create", "--name", "theirs", "--network", "none", "box:1", "/bin/sh"]
        made = subprocess.run(argv, check=True, capture_output=True).stdout.decode().strip()
        assert Names(podman=[storage]).of(classified(HostGroup(f"/libpod_parent/libpod-{made}"))) == "theirs"
    finally:
        subprocess.run([*podman, "rmi", "--all", "--force"], check=False, capture_output=True)
