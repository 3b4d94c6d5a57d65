"""What a crash may leave is found and mended; what lives is not touched. Boots and shutdowns; many engines at once."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import Conflict, NotFound, StartFailed
from engine.linux import nftables
from engine.linux.cgroup import group as cgroups
from engine.model.container import Container, ContainerSpec, ExecSpec, Mount, RestartPolicy
from engine.model.status import Status

IMAGE = "tuicon/demo"


def spec(*command: str, **more: object) -> ContainerSpec:
    return replace(ContainerSpec(IMAGE, command=command or ("sleep", "1000"), network="none", stop_timeout=0.1), **more)  # type: ignore[arg-type]


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def state_of(engine: Engine, container: Container) -> dict[str, object]:
    path = engine.run_root / "containers" / container.id / "state.json"
    found: dict[str, object] = json.loads(path.read_bytes())
    return found


def kill_monitor(engine: Engine, container: Container) -> None:
    pid = state_of(engine, container)["monitor_pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists())


def kinds(engine: Engine) -> set[str]:
    return {finding.kind for finding in engine.system.check(deep=True).found}


def is_mended(engine: Engine, kind: str) -> bool:
    """Whether a check finds this and nothing else, changes nothing by finding it, and mends it when asked."""
    assert kinds(engine) == kinds(engine) == {kind}
    checked = engine.system.check(repair=True, deep=True)
    return (checked.left, checked.errors, kinds(engine)) == ((), (), set())


def test_a_container_without_its_monitor_is_adopted(engine: Engine) -> None:
    container = engine.containers.run(spec(name="orphan"))
    kill_monitor(engine, container)
    assert engine.containers.get("orphan").status is Status.RUNNING
    session = engine.containers.exec("orphan", ExecSpec(("echo", "alive")))
    assert session is not None
    assert session.read(120) == ("stdout", b"alive\n")
    session.close()
    engine.containers.update("orphan", lambda limits: replace(limits, pids=77))
    assert engine.containers.counters("orphan").pids_limit == 77
    engine.containers.pause("orphan")
    assert engine.containers.get("orphan").status is Status.PAUSED
    engine.containers.unpause("orphan")
    with pytest.raises(Conflict, match="monitor is gone"):
        engine.containers.attach("orphan")
    checked = engine.system.check(repair=True)
    assert [finding.kind for finding in checked.left] == ["monitor"]
    assert engine.containers.get("orphan").status is Status.RUNNING
    assert engine.containers.stop("orphan").exit_code == 255
    assert "not seen" in engine.containers.get("orphan").error
    assert engine.system.check().found == ()
    engine.containers.start("orphan")
    assert engine.containers.get("orphan").status is Status.RUNNING


def test_the_end_of_an_orphan_is_found_and_written_down(engine: Engine) -> None:
    container = engine.containers.run(spec(name="orphan", network="bridge"))
    pid = container.pid
    kill_monitor(engine, container)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not engine.containers.get("orphan").status.is_alive)
    first, second = (engine.containers.get("orphan") for _ in range(2))
    assert (first.status, first.exit_code, first.finished_at) == (Status.EXITED, 255, second.finished_at)
    assert {"container", "lease"} <= kinds(engine)
    assert engine.system.check(repair=True).left == ()
    assert engine.containers.get("orphan").exit_code == 255
    assert any(event.action == "die" and event.id == container.id for event in engine.events.list())


def test_an_orphan_that_was_to_be_removed_is_removed(engine: Engine) -> None:
    container = engine.containers.run(spec(auto_remove=True))
    kill_monitor(engine, container)
    engine.containers.kill(container.id)
    assert is_mended(engine, "container")
    assert engine.containers.list() == ()


def dangling_name(engine: Engine) -> None:
    engine.root.joinpath("names", "nobody").symlink_to("a" * 64)


def lost_name(engine: Engine) -> None:
    engine.containers.create(spec(name="named"))
    engine.root.joinpath("names", "named").unlink()


def lost_lease(engine: Engine) -> None:
    network = engine.networks.create("mesh")
    engine.root.joinpath("networks", network.name, "leases", "10.1.2.3").write_text("b" * 64)


def group_with_process(engine: Engine) -> None:
    group = cgroups.group_for(f"{engine._paths.host_name}/{'c' * 64}")
    group.create()
    if os.fork() == 0:
        group.move_self()
        os.execv("/bin/sleep", ["sleep", "1000"])
    until(group.all_pids)


def stray_interface(engine: Engine) -> None:
    engine.containers.run(spec("true", network="bridge"))
    bridge = next(network.bridge for network in engine.networks.list() if network.bridge)
    ends = [f"ts{os.getpid()}{end}" for end in "ab"]
    command = ["ip", "link", "add", ends[0], "master", bridge, "type", "veth", "peer", ends[1]]
    subprocess.run(command, check=True)


def flushed_rules(engine: Engine) -> None:
    engine.containers.run(spec(network="bridge"))
    nftables.delete_table("inet", engine.networks.firewall.table)


def bridge_without_network(engine: Engine) -> str:
    bridge = engine.networks.create("mesh").bridge
    engine.containers.run(spec("true", network="mesh"))
    until(lambda: not engine.containers.list(all=False))
    shutil.rmtree(engine.root / "networks" / "mesh")
    return bridge


def half_layer(engine: Engine) -> None:
    engine.root.joinpath("layers", "d" * 64, "diff").mkdir(parents=True)


def damaged_blob(engine: Engine) -> None:
    next(engine.root.joinpath("blobs", "sha256").iterdir()).write_bytes(b"{}")


def unreferenced_blob(engine: Engine) -> None:
    engine.images._catalogue.blobs.put(b"nobody needs this")


def staged_container(engine: Engine) -> None:
    engine.root.joinpath("trash", "create.eeee.1", "upper").mkdir(parents=True)


def temporary_file(engine: Engine) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    engine.root.joinpath("images", f"references.json.{child.pid}.1.tmp").write_bytes(b"{")


def torn_journal(engine: Engine) -> None:
    with engine.root.joinpath("journal.jsonl").open("ab") as file:
        file.write(b'{"time": "2026')


def open_root(engine: Engine) -> None:
    engine.root.chmod(0o755)


def half_volume(engine: Engine) -> None:
    engine.root.joinpath("volumes", "half", "data").mkdir(parents=True)


def directory_without_record(engine: Engine) -> None:
    engine.root.joinpath("containers", "f" * 64).mkdir()


def run_directory(engine: Engine) -> None:
    engine.run_root.joinpath("containers", "f" * 64, "rootfs").mkdir(parents=True)


def stale_lock(engine: Engine) -> None:
    engine.root.joinpath("locks", f"container-{'f' * 64}").touch()


DAMAGES = {
    dangling_name: "name", lost_name: "name", lost_lease: "lease", group_with_process: "cgroup", stray_interface: "interface",
    flushed_rules: "rules", half_layer: "layer", damaged_blob: "blob", unreferenced_blob: "blob", staged_container: "trash",
    temporary_file: "temporary", torn_journal: "journal", open_root: "mode", half_volume: "volume", run_directory: "directory",
    directory_without_record: "container", stale_lock: "lock",
}  # fmt: skip


def test_each_damage_is_found_and_mended_beside_a_container_that_lives(engine: Engine) -> None:
    alive = engine.containers.run(spec(network="bridge", mounts=(Mount("volume", "/data", "kept"),)))
    before = state_of(engine, alive)
    assert kinds(engine) == set()
    for damage, kind in DAMAGES.items():
        damage(engine)
        assert is_mended(engine, kind), damage.__name__
    os.waitpid(-1, 0)  # the process that ran in the stray group
    assert (engine.containers.get(alive.id).status, state_of(engine, alive)) == (Status.RUNNING, before)
    assert engine.volumes.get("kept").used_by == (alive.id,)
    assert engine.containers.get("named").status is Status.CREATED
    assert f"table inet {engine.networks.firewall.table}" in nftables.run("list tables")


def test_a_bridge_and_its_rules_go_with_their_network(engine: Engine) -> None:
    bridge = bridge_without_network(engine)
    assert Path("/sys/class/net", bridge).exists()
    engine.containers.prune()
    assert engine.system.check(repair=True).left == ()
    assert not Path("/sys/class/net", bridge).exists()
    assert bridge not in nftables.run("list ruleset inet")


def test_a_damaged_record_hides_no_other_container_and_can_be_removed(engine: Engine) -> None:
    good, bad = (engine.containers.create(spec()) for _ in range(2))
    engine.root.joinpath("containers", bad.id, "record.json").write_bytes(b"")
    assert [container.id for container in engine.containers.list()] == [good.id]
    assert [finding.kind for finding in engine.system.check(repair=True).left] == ["container"]
    engine.containers.remove(bad.id, force=True)
    assert engine.system.check(repair=True).left == ()


def test_a_container_is_not_started_twice_when_the_first_engine_dies_on_the_way(engine: Engine) -> None:
    """The monitor keeps the container's lock until the command runs, whatever becomes of who asked for it."""
    script = "mkdir /once || exit 9; sleep 1000"
    container = engine.containers.create(spec("sh", "-c", script))
    pid = os.fork()
    if pid == 0:
        victim = Engine(engine.root)
        victim._launcher.warm()
        send = victim._launcher._send
        victim._launcher._send = lambda *given: (send(*given), os.kill(os.getpid(), signal.SIGKILL))  # type: ignore[assignment,method-assign,func-returns-value]
        victim.containers.start(container.id)
        os._exit(0)
    os.waitpid(pid, 0)
    assert engine.containers.start(container.id).status is Status.RUNNING
    starts = [event for event in engine.events.list() if event.action == "start" and event.id == container.id]
    assert len(starts) == 1


def simulate_reboot(engine: Engine) -> None:
    """Kill everything, and let the run root be that of an earlier boot."""
    for container in engine.containers.list(all=False):
        kill_monitor(engine, container)
        os.kill(container.pid, signal.SIGKILL)
        until(lambda pid=container.pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]
    engine.run_root.joinpath("boot_id").write_text("00000000-0000-0000-0000-000000000000")
    engine.networks.reset()


def test_a_boot_starts_what_is_to_be_started_once_and_in_order(engine: Engine) -> None:
    wanted = {"always": "always", "unless": "unless-stopped", "stopped": "unless-stopped", "never": "no"}
    for name, policy in wanted.items():
        engine.containers.run(spec(name=name, network="bridge", restart=RestartPolicy(policy)))
    engine.containers.create(spec(name="broken", restart=RestartPolicy("always")))
    source = engine.root.parent / "source"
    source.mkdir()
    engine.containers.run(
        spec(name="refused", restart=RestartPolicy("always"), mounts=(Mount("bind", "/x", str(source)),))
    )
    engine.containers.stop("stopped")
    simulate_reboot(engine)
    source.rmdir()
    with Engine(engine.root) as after:
        lost = after.containers.get("never")
        assert (lost.status, lost.exit_code) == (Status.EXITED, 255)
        booted = after.system.boot()
        assert [container.name for container in booted] == ["always", "unless", "refused"]
        assert [bool(container.error) for container in booted] == [False, False, True]
        running = {container.name for container in after.containers.list(all=False)}
        assert running == {"always", "unless"}
        assert [container.name for container in after.system.boot()] == ["refused"]
        assert after.system.check(repair=True).left == ()
        assert {container.name for container in after.system.shutdown()} == running
        assert after.containers.list(all=False) == ()
        assert {container.name for container in after.system.boot()} == {*running, "refused"}


def test_the_unit_is_one_that_systemd_takes(engine: Engine, tmp_path: Path) -> None:
    unit = tmp_path / "tuicon.service"
    unit.write_text(engine.system.unit("/bin/true"))
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert f"--root {engine.root}" in unit.read_text()


def test_the_command_line_tells_and_mends(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    from tuicon.cli import parser
    from tuicon.cli.main import run

    def tuicon(*words: str) -> tuple[int, str]:
        code = run(engine, parser.build(words).parse_args(words))
        return code, capsys.readouterr().out

    assert tuicon("system", "check") == (0, "nothing is wrong\n")
    dangling_name(engine)
    code, text = tuicon("system", "check")
    assert (code, text.startswith("name: the name nobody leads to no container")) == (1, True)
    code, text = tuicon("system", "check", "--repair", "--json")
    assert (code, len(json.loads(text)["found"]), json.loads(text)["left"]) == (0, 1, [])
    engine.containers.run(spec(name="first", mounts=(Mount("volume", "/data", "kept"),)))
    code, text = tuicon("system", "df", "--json")
    assert [(line["kind"], line["count"], line["active"]) for line in json.loads(text)] == [
        ("Images", 1, 1), ("Containers", 1, 1), ("Local Volumes", 1, 1)]  # fmt: skip
    assert tuicon("system", "shutdown") == (0, "first\n")


def busy(state: Path, seed: int, seconds: float) -> None:
    """Create, start, stop, rename and remove what is there, whoever made it."""
    choice = random.Random(seed)
    deadline = time.monotonic() + seconds
    with Engine(state) as engine:
        while time.monotonic() < deadline:
            there = [container.id for container in engine.containers.list()]
            some = choice.choice(there) if there else ""
            wanted = spec(network=choice.choice(("bridge", "none")), name=choice.choice(("", "same")),
                auto_remove=choice.random() < 0.3)  # fmt: skip
            actions: list[Callable[[], object]] = [
                lambda w=wanted: engine.containers.run(w),  # type: ignore[misc]
                lambda s=some: engine.containers.start(s), lambda s=some: engine.containers.stop(s),  # type: ignore[misc]
                lambda s=some: engine.containers.remove(s, force=True), lambda s=some: engine.containers.kill(s),  # type: ignore[misc]
                lambda: engine.system.check(repair=True), engine.images.collect,
                lambda s=some: engine.containers.rename(s, f"name{choice.randrange(9)}"),  # type: ignore[misc]
            ]  # fmt: skip
            try:
                choice.choice(actions[:1] if len(there) < 3 else actions)()
            except (Conflict, NotFound):
                continue  # somebody else was faster
            except StartFailed as error:
                if "died while it was set up" not in str(error):  # somebody killed it on its way
                    raise


def test_four_engines_work_on_one_root_and_leave_it_whole(engine: Engine) -> None:
    engine.containers.run(spec("true", network="bridge"))
    children = []
    for seed in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                busy(engine.root, seed, 5)
            except BaseException:  # noqa: BLE001 - the child must not return
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    for container in engine.containers.list():
        engine.containers.remove(container.id, force=True)
    checked = engine.system.check(repair=True, deep=True)
    assert (checked.left, checked.errors) == ((), ())
    assert not [finding for finding in checked.found if finding.kind not in ("lock", "name")]
