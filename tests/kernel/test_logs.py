"""What is kept with a container's output, by the options of its log driver."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from engine.api import Engine
from engine.containers import journals
from engine.errors import InvalidArgument, NotSupported
from engine.model.container import Container, ContainerSpec, ExecSpec, LogOptions
from tests.kernel.test_lifecycle import IMAGE, until
from tuicon.cli import containers as cli
from tuicon.cli.parser import build


def test_labels_variables_and_a_tag_are_kept_with_each_entry(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    log = LogOptions(tag="{{.Name}}/{{ .ID }}/{{.ImageName}}", labels=("team", "absent"), env=("WHO", "NONE"))
    spec = ContainerSpec(IMAGE, name="tagged", command=("sh", "-c", "echo out; echo err >&2"), network="none", log=log,
        labels={"team": "blue sky", "other": "x"}, env=("WHO=me=you", "OTHER=y"))  # fmt: skip
    container = engine.containers.run(spec)
    assert engine.containers.wait(container.id, timeout=120) == 0
    expected = {"team": "blue sky", "WHO": "me=you", "tag": f"tagged/{container.short_id}/{IMAGE}"}
    with open(container.log_path) as file:
        entries = [json.loads(line) for line in file]
    assert [entry["attrs"] for entry in entries] == [expected] * 2
    assert {entry["stream"] for entry in entries} == {"stdout", "stderr"}
    assert [entry.attributes for entry in engine.containers.logs(container.id)] == [expected] * 2
    assert engine.containers.inspect(container.id)["HostConfig"]["LogConfig"]["Config"] == {
        "tag": log.tag, "labels": "team,absent", "env": "WHO,NONE"}  # fmt: skip
    cli.logs(engine, build().parse_args(["logs", "--details", container.id]))
    details = f"WHO=me%3Dyou,tag=tagged%2F{container.short_id}%2Ftuicon%2Fdemo,team=blue+sky"  # as docker prints them
    assert capsys.readouterr().out == f"{details} out\n"


def test_a_tag_with_an_unknown_field_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="unknown field"):
        engine.containers.create(ContainerSpec(IMAGE, network="none", log=LogOptions(tag="{{.Mood}}")))
    assert engine.containers.list() == ()


JOURNALD = "/lib/systemd/systemd-journald"
PRIVATE = """
mount --make-rprivate / && mount --bind "$1" /run && mkdir -p /run/systemd/journal /run/log/journal && exec "$2"
"""


@pytest.fixture
def journal(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A journald of our own in a mount namespace where /run is empty; its socket and files are reached from outside."""
    run = root / "run"
    run.mkdir()
    process = subprocess.Popen(["unshare", "-m", "sh", "-c", PRIVATE, "sh", run, JOURNALD])
    try:
        monkeypatch.setattr(journals, "SOCKET", str(run / "systemd/journal/socket"))
        monkeypatch.setattr(journals, "JOURNALCTL", (*journals.JOURNALCTL, f"--directory={run / 'log/journal'}"))
        until(run.joinpath("systemd/journal/socket").is_socket)
        yield run
    finally:
        process.terminate()
        process.wait()


def journaled(engine: Engine, script: str, **options: object) -> Container:
    log = LogOptions("journald", **options)  # type: ignore[arg-type]
    spec = ContainerSpec(IMAGE, name="noted", command=("sh", "-c", script), network="none", log=log,
        labels={"org.team": "blue\nsky", "message": "false"}, env=("WHO=me",))  # fmt: skip
    return engine.containers.run(spec)


def test_output_goes_to_the_journal_with_the_containers_fields(engine: Engine, journal: Path) -> None:
    long = "head -c 20000 /dev/zero | tr '\\0' x; echo"
    script = f"echo out; echo err >&2; {long}; printf 'a\\377b\\n'; printf rest"
    container = journaled(engine, script, tag="{{.Name}}", labels=("org.team", "message"), env=("WHO",))
    assert engine.containers.wait(container.id, timeout=120) == 0
    until(lambda: len(list(engine.containers.logs(container.id))) == 6)
    entries = list(engine.containers.logs(container.id))
    assert (
        "".join(entry.text for entry in entries if entry.stream == "stdout")
        == "out\n" + "x" * 20000 + "\na\ufffdb\nrest\n"
    )
    assert [entry.text for entry in entries if entry.stream == "stderr"] == ["err\n"]
    command = [*journals.JOURNALCTL, f"CONTAINER_ID_FULL={container.id}"]
    said = [json.loads(line) for line in subprocess.run(command, check=True, capture_output=True).stdout.splitlines()]
    first = next(entry for entry in said if entry["MESSAGE"] == "out")
    expected = {"PRIORITY": "6", "CONTAINER_ID": container.short_id, "CONTAINER_NAME": "noted", "CONTAINER_TAG": "noted",
        "SYSLOG_IDENTIFIER": "noted", "IMAGE_NAME": IMAGE, "ORG_TEAM": "blue\nsky", "WHO": "me"}  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    assert [entry.get("CONTAINER_PARTIAL_MESSAGE") for entry in said].count("true") == 1
    assert not Path(container.log_path).exists()
    assert [entry.text for entry in engine.containers.logs(container.id, tail=1)] == ["rest\n"]
    assert list(engine.containers.logs(container.id, since=datetime.now(UTC))) == []


def test_the_journal_is_followed_to_the_end_of_the_container(engine: Engine, journal: Path) -> None:
    script = "echo one; for go in 1 2; do while ! [ -e /$go ]; do sleep 0.05; done; echo after $go; done; exec sleep 1"
    container = journaled(engine, script)

    def go(number: int) -> None:
        session = engine.containers.exec(container.id, ExecSpec(("touch", f"/{number}")))
        assert session is not None
        session.close()

    found = []
    for entry in engine.containers.logs(container.id, follow=True):
        found.append(entry.text)
        if entry.text == "one\n":
            go(1)
        if entry.text == "after 1\n":
            go(2)
    assert found == ["one\n", "after 1\n", "after 2\n"]


def test_what_comes_from_now_on_is_followed_too(engine: Engine, journal: Path) -> None:
    script = "echo old; i=0; while ! [ -e /end ]; do i=$((i+1)); echo new $i; sleep 0.2; done"
    container = journaled(engine, script)
    until(lambda: [entry.text for entry in engine.containers.logs(container.id)][:1] == ["old\n"])
    found = [entry.text for entry in islice(engine.containers.logs(container.id, follow=True, tail=0), 3)]
    numbers = [int(text.split()[1]) for text in found]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    engine.containers.remove(container.id, force=True)


def test_an_entry_that_is_too_large_for_a_datagram_goes_by_a_file_in_memory(engine: Engine, root: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    path = root / "socket"
    monkeypatch.setattr(journals, "SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(60)
        big = "y" * 500_000
        log = LogOptions("journald", labels=("big",))
        engine.containers.run(
            ContainerSpec(IMAGE, command=("echo", "hello"), network="none", log=log, labels={"big": big})
        )
        data, fds, _, _ = socket.recv_fds(receiver, 1 << 20, 4)
        assert data == b""
        with os.fdopen(fds[0], "rb") as file:
            file.seek(0)
            entry = file.read()
    assert f"BIG={big}\n".encode() in entry
    assert b"\nMESSAGE=hello\n" in entry


def test_without_a_journal_a_start_is_refused_and_leaves_nothing(engine: Engine, root: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(journals, "SOCKET", str(root / "nobody"))
    with pytest.raises(NotSupported, match="does not listen"):
        journaled(engine, "true")
    assert engine.system.check().found == ()
    monkeypatch.setattr(journals, "JOURNALCTL", ("no-such-journalctl",))
    with pytest.raises(NotSupported, match="not installed"):
        list(engine.containers.logs("noted"))
