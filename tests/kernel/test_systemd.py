"""The systemd driver against a real message bus, which checks every message, and a stand-in for systemd behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.linux import dbus
from engine.linux.cgroup.group import Group, group_for
from engine.linux.cgroup.layout import CgroupError
from engine.linux.cgroup.systemd import scope_group

BUS_CONFIG = """<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"""
MANAGER = "org.freedesktop.systemd1.Manager"
JOB = "/org/freedesktop/systemd1/job/7"


class Stand:
    """Answers as systemd does: a scope is a group with the given process in it."""

    def __init__(self, slice_name: str) -> None:
        self.scopes: dict[str, dict[str, Any]] = {}
        self.changed: list[tuple[str, dict[str, Any]]] = []
        self.slice = slice_name
        self._bus = dbus.Connection()
        self._bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su",
            "org.freedesktop.systemd1", 0)  # fmt: skip
        threading.Thread(target=self._serve, daemon=True).start()

    def group(self, unit: str) -> Group:
        return group_for(f"/{self.slice}/{unit}")

    def _serve(self) -> None:
        while True:
            try:
                message = self._bus._next(time.monotonic() + 3600)
            except dbus.DBusError:
                return
            if message.kind == 1:
                self._answer(message)

    def _answer(self, message: dbus.Message) -> None:
        member = message.fields[dbus._MEMBER]
        if member == "StartTransientUnit":
            self._start(message)
        elif member == "StopUnit" and message.body[0] not in self.scopes:
            self._send(3, message, "s", ["Unit not loaded."], (4, "s", "org.freedesktop.systemd1.NoSuchUnit"))
        elif member == "StopUnit":
            del self.scopes[str(message.body[0])]
            self._finish_job(message, str(message.body[0]))
        elif member == "SetUnitProperties":
            unit, _, properties = message.body
            self.changed.append((str(unit), dict(properties)))  # type: ignore[call-overload]
            self._send(2, message)
        elif member == "GetUnit":
            self._send(2, message, "o", [f"/unit/{str(message.body[0]).encode().hex()}"])
        elif member == "Get":
            unit = bytes.fromhex(str(message.fields[dbus._PATH]).rpartition("/")[2]).decode()
            self._send(2, message, "v", [("s", f"/{self.slice}/{unit}")])
        else:
            self._send(2, message)

    def _start(self, message: dbus.Message) -> None:
        unit, properties = str(message.body[0]), dict(message.body[2])  # type: ignore[call-overload]
        if unit in self.scopes:
            self._send(
                3, message, "s", [f"Unit {unit} already exists."], (4, "s", "org.freedesktop.systemd1.UnitExists")
            )
            return
        self.scopes[unit] = properties
        group = self.group(unit)
        group.create()
        for path in set(group.paths.values()):
            Path(path, "cgroup.procs").write_text(str(properties["PIDs"][1][0]))
        self._finish_job(message, unit)

    def _finish_job(self, message: dbus.Message, unit: str) -> None:
        self._send(2, message, "o", [JOB])
        body = [7, JOB, unit, "done"]
        fields = ((1, "o", "/org/freedesktop/systemd1"), (2, "s", MANAGER), (3, "s", "JobRemoved"))
        self._put(4, fields, "uoss", body)

    def _send(
        self,
        kind: int,
        call: dbus.Message,
        signature: str = "",
        body: list[Any] | None = None,
        *more: tuple[int, str, str],
    ) -> None:
        self._put(kind, ((5, "u", call.serial), (6, "s", call.fields[7]), *more), signature, body or [])

    def _put(self, kind: int, fields: tuple[tuple[int, str, Any], ...], signature: str, body: list[Any]) -> None:
        content = dbus.pack(signature, body)
        self._bus._serial += 1
        listed = [(number, (name, value)) for number, name, value in fields]
        if signature:
            listed.append((8, ("g", signature)))
        head = dbus.pack("yyyyuua(yv)", (ord("l"), kind, 0, 1, len(content), self._bus._serial, listed))
        self._bus._send(head + bytes(-len(head) % 8) + content)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    config = tmp_path / "bus.conf"
    config.write_text(BUS_CONFIG.format(path=tmp_path / "bus"))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
    daemon = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"], stdout=subprocess.PIPE
    )
    assert daemon.stdout is not None
    daemon.stdout.readline()
    yield
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()


@pytest.fixture
def stand(bus: None) -> Iterator[Stand]:
    yield Stand(f"tuicon_test_{os.getpid()}.slice")
    group_for(f"/tuicon_test_{os.getpid()}.slice").remove()


def test_a_scope_is_started_limited_changed_and_stopped(stand: Stand) -> None:
    process = subprocess.Popen(["sleep", "1000"])
    resources = {"pids": {"limit": 44}, "memory": {"limit": 64 << 20}, "devices": [{"allow": False, "access": "rwm"}]}
    group = scope_group(f"{stand.slice}:tuicon:x", process.pid, resources)
    assert group.unit == "tuicon-x.scope"
    told = stand.scopes[group.unit]
    assert told["Slice"] == ("s", stand.slice)
    assert told["Delegate"] == ("b", 1)
    assert told["TasksMax"] == ("t", 44)
    assert told["DevicePolicy"] == ("s", "strict")
    assert ("/dev/char/1:3", "rwm") in told["DeviceAllow"][1]
    group.create()
    group.apply(resources)
    assert group.pids() == [process.pid]
    limit = Path(next(path for name, path in group.paths.items() if name in ("pids", "unified")), "pids.max")
    assert limit.read_text() == "44\n"
    group.apply({"pids": {"limit": 55}})
    assert limit.read_text() == "55\n"
    assert stand.changed[-1] == (group.unit, {"TasksMax": ("t", 55)})
    with pytest.raises(CgroupError, match="already exists"):
        scope_group(f"{stand.slice}:tuicon:x", process.pid, resources)
    group.kill()
    assert process.wait() == -signal.SIGKILL
    group.remove()
    group.remove()  # what is gone stays gone
    assert stand.scopes == {}
    assert not any(Path(path).exists() for path in group.paths.values())


def test_a_bus_without_systemd_is_named(bus: None) -> None:
    with pytest.raises(CgroupError, match=r"systemd does not start tuicon-x\.scope"):
        scope_group("system.slice:tuicon:x", os.getpid(), {})
