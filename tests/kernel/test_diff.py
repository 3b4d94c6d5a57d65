"""What a container changed, beside what docker says of the same commands."""

from __future__ import annotations

from engine.api import Engine
from engine.model.container import Mount
from tests.kernel.conftest import Docker
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_copy import run
from tests.kernel.test_lifecycle import spec

SCRIPT = """
mkdir -p /new/deep/er; touch /new/deep/file; echo more >>/etc/passwd; rm /etc/os-release; rm /bin/cat
rm -r /root; mkdir -m 700 /root; touch /root/kept; rmdir /run; chmod 700 /tmp; mkdir /tmp/inside
touch /gone; rm /gone; mkdir /was; rmdir /was; mv /etc/group /etc/renamed; ln /etc/passwd /linked; ln -s nowhere /dangling
rm /bin/sleep; mkdir /bin/sleep; touch /bin/sleep/inside; chown 7:8 /bin/echo; mkfifo /pipe; touch "/a b"
mv /new/deep /moved; touch /vol/unseen
"""


def lines(engine: Engine, ref: str) -> list[str]:
    return [f"{change.kind} {change.path}" for change in engine.containers.diff(ref)]


def test_changes_are_those_that_docker_lists(engine: Engine, docker: Docker) -> None:
    container = run(engine, SCRIPT, mounts=(Mount("volume", "/vol", "kept"),))
    running = lines(engine, container)
    engine.containers.stop(container, timeout=0)
    assert lines(engine, container) == running == sorted(running, key=lambda line: line[2:].split("/"))
    assert tuicon(engine, "diff", container).stdout.splitlines() == running
    arguments = ("--network", "none", "--name", "changed", "-v", "/vol", "demo:1", "sh", "-c", SCRIPT)
    assert docker("run", *arguments).returncode == 0
    assert sorted(running) == sorted(docker("diff", "changed").stdout.decode().splitlines())
    docker("rm", "-v", "changed")


def test_a_directory_that_was_made_anew_hides_what_it_had(engine: Engine) -> None:
    container = run(engine, "mkdir /d; rm -r /root; mkdir /root; rm -r /bin; mkdir /bin || true; exit 0")
    found = lines(engine, container)
    assert {"A /d", "C /bin", "D /bin/sh", "D /bin/busybox", "C /root"} <= set(found)
    assert not any("/bin/" in line and not line.startswith("D ") for line in found)


def test_what_the_engine_mounts_is_no_change(engine: Engine) -> None:
    created = engine.containers.create(spec("true"))
    assert lines(engine, created.id) == []
    for more in ({}, {"userns": "auto"}, {"tty": True}, {"read_only": True}):
        assert lines(engine, run(engine, **more)) == [], more
