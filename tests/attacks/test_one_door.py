"""Nobody but engine.linux.inside names a path under a container's or a layer's root; watched while it runs."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Engine
from engine.containers import launch
from engine.model.container import Mount
from engine.model.volume import Wishes
from tests.attacks import watch
from tests.attacks.world import entry, executed, finish, hostile_image, spec

_reports: list[str] = []
_listeners: list[Callable[[str], None]] = []


def _report(text: str) -> None:
    for listener in _listeners:
        listener(text)


@pytest.fixture
def watched(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have launcher, monitors and everything on its way into a container watched; return the file of reports."""
    reports = root / "reports"
    reports.touch()
    start = "; from tests.attacks.watch import watch_into; watch_into({root!r}, {path!r}); from engine.sandbox.launcher"
    code = launch._CODE.replace(
        "; from engine.sandbox.launcher",
        start.replace("{root!r}", repr(str(root))).replace("{path!r}", repr(str(reports))),
    )
    monkeypatch.setattr(launch, "_CODE", code)
    return reports


def test_starts_and_entries_name_no_path_of_the_container(watched: Path, engine: Engine, root: Path) -> None:
    shared = root / "shared"
    shared.mkdir()
    mounts = (Mount("bind", "/shared/made", str(shared)), Mount("volume", "/vol", "kept"), Mount("tmpfs", "/scratch"))
    for tty in (False, True):
        assert finish(engine, spec("true", user="nobody", workdir="/made/new", mounts=mounts, tty=tty))[0] == 0
        assert finish(engine, spec("true", read_only=True, tty=tty))[0] == 0
        container = engine.containers.run(spec("sleep", "1000", mounts=mounts, tty=tty))
        assert executed(engine, container.id, "true", user="daemon", workdir="/other/new", tty=tty)[0] == 0
        for _ in ("running", "stopped"):
            engine.containers.copy_in(container.id, str(shared), "/made")
            engine.containers.copy_out(container.id, "/made", io.BytesIO())
            engine.containers.stop(container.id, timeout=0)
    lines = watched.read_text().splitlines()
    assert {line for line in lines if line.startswith("wrong")} == set()
    assert {"inside: os.exec", "inside: os.chdir", "inside: open"} <= set(lines), "nothing was watched"


def test_layers_volumes_and_processes_are_read_by_descriptor(engine: Engine, root: Path) -> None:
    root.joinpath("reports").touch()
    watch.watch(str(root), _report)
    _listeners.append(_reports.append)
    try:
        image = hostile_image(
            engine,
            entry("data/sub/file", content=b"x"),
            entry("data/.wh.gone"),
            entry("data/link", b"2", link="/etc"),
        )
        container = engine.containers.run(spec("sleep", "1000", image=image, mounts=(Mount("volume", "/data", "up"),)))
        assert engine.containers.top(container.id)[0].command == "sleep 1000"
        engine.volumes.snapshot("up", "kept")
        engine.volumes.clone("up", "down")
        engine.volumes.sync("up", "down", Wishes(deletes=True, by_content=True))
        engine.volumes.export("down", exported := io.BytesIO())
        exported.seek(0)
        engine.volumes.import_("down", exported)
        engine.volumes.restore("down", engine.volumes.snapshot("down").name)
        assert engine.volumes.measure("up", "/sub").files == 2
        assert [entry.path for entry in engine.volumes.files("up", "/sub")] == ["/sub/file"]
        engine.volumes.open("up", "/sub/file").close()
        engine.volumes.remove("down")
        for path in ("/data", "/etc"):
            engine.containers.copy_in(container.id, str(root / "reports"), path)
            engine.containers.copy_out(container.id, path, str(root / "out"))
        assert engine.images.packages(image).image_id == engine.images.get(image).id
        engine.containers.remove(container.id, force=True)
        engine.volumes.remove("up")
        engine.images.remove(image, force=True)
        assert _reports == []
        os.listdir(engine.images.lower_directories(engine.images.get("tuicon/demo"))[0] / "etc")
        assert _reports != [], "nothing was watched"
    finally:
        _listeners.clear()
        _reports.clear()
