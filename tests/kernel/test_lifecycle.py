from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import CommandNotExecutable, CommandNotFound, Conflict, InvalidArgument, NotFound, StartFailed
from engine.model.container import ContainerSpec, ExecSpec, LogOptions, Mount
from engine.model.status import Status

IMAGE = "tuicon/demo"
ROOT = Path(__file__).resolve().parents[2]


def spec(*command: str, **more: object) -> ContainerSpec:
    return replace(ContainerSpec(IMAGE, command=command, network="none"), **more)  # type: ignore[arg-type]


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def output(engine: Engine, ref: str, stream: str = "stdout") -> str:
    return "".join(entry.text for entry in engine.containers.logs(ref) if entry.stream == stream)


def finish(engine: Engine, wanted: ContainerSpec) -> tuple[int, str]:
    container = engine.containers.run(wanted)
    code = engine.containers.wait(container.id, timeout=60)
    return code, output(engine, container.id)


@pytest.mark.parametrize("code", [0, 1, 42])
def test_the_exit_code_is_the_commands(engine: Engine, code: int) -> None:
    assert finish(engine, spec("sh", "-c", f"exit {code}"))[0] == code


def test_a_missing_command_gives_127(engine: Engine) -> None:
    created = engine.containers.create(spec("no-such-command"))
    with pytest.raises(CommandNotFound) as caught:
        engine.containers.start(created.id)
    assert caught.value.exit_code == 127
    found = engine.containers.get(created.id)
    assert (found.status, found.exit_code) == (Status.EXITED, 127)
    assert "no-such-command" in found.error


def test_a_file_that_is_no_program_gives_126(engine: Engine) -> None:
    with pytest.raises(CommandNotExecutable) as caught:
        engine.containers.run(spec("/etc/passwd"))
    assert caught.value.exit_code == 126


def test_a_signal_gives_128_and_its_number(engine: Engine) -> None:
    container = engine.containers.run(spec("sleep", "1000"))
    engine.containers.kill(container.id, "KILL")
    assert engine.containers.wait(container.id, timeout=60) == 137


def test_stop_sends_the_stop_signal_first(engine: Engine) -> None:
    script = "trap 'echo bye; exit 5' USR1; echo ready; while :; do sleep 0.1; done"
    container = engine.containers.run(spec("sh", "-c", script, stop_signal="USR1"))
    until(lambda: "ready" in output(engine, container.id))
    assert engine.containers.stop(container.id, timeout=60).exit_code == 5
    assert "bye" in output(engine, container.id)


def test_stop_kills_what_does_not_listen(engine: Engine) -> None:
    container = engine.containers.run(spec("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"))
    until(lambda: "ready" in output(engine, container.id))
    assert engine.containers.stop(container.id, timeout=0.2).exit_code == 137


def test_a_paused_container_stands_still_and_goes_on(engine: Engine) -> None:
    container = engine.containers.run(spec("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"))
    until(lambda: output(engine, container.id))
    engine.containers.pause(container.id)
    assert engine.containers.get(container.id).status is Status.PAUSED
    cpu = engine.containers.counters(container.id).cpu_ns
    time.sleep(0.5)  # time in which nothing may happen
    assert engine.containers.counters(container.id).cpu_ns - cpu < 5_000_000
    with pytest.raises(Conflict):
        engine.containers.pause(container.id)
    engine.containers.unpause(container.id)
    count = len(output(engine, container.id))
    until(lambda: len(output(engine, container.id)) > count)


def test_a_paused_container_can_be_killed(engine: Engine) -> None:
    container = engine.containers.run(spec("sleep", "1000"))
    engine.containers.pause(container.id)
    engine.containers.kill(container.id)
    assert engine.containers.wait(container.id, timeout=60) == 137


def test_restart_runs_it_anew_with_its_changes(engine: Engine) -> None:
    container = engine.containers.run(spec("sh", "-c", "echo run >>/runs; cat /runs; sleep 1000", stop_timeout=0.1))
    until(lambda: output(engine, container.id) == "run\n")
    engine.containers.restart(container.id)
    until(lambda: output(engine, container.id) == "run\nrun\nrun\n")


def test_names_are_unique_and_free_again(engine: Engine) -> None:
    first = engine.containers.create(spec("true", name="one"))
    with pytest.raises(Conflict, match="one"):
        engine.containers.create(spec("true", name="one"))
    engine.containers.rename("one", "two")
    assert engine.containers.get("two").id == first.id
    with pytest.raises(NotFound):
        engine.containers.get("one")
    engine.containers.create(spec("true", name="one"))
    engine.containers.remove("two")
    engine.containers.create(spec("true", name="two"))


def test_a_container_is_found_by_a_prefix_of_its_id(engine: Engine) -> None:
    container = engine.containers.create(spec("true"))
    assert engine.containers.get(container.id[:6]).id == container.id


def test_a_running_container_is_not_removed_without_force(engine: Engine) -> None:
    container = engine.containers.run(spec("sleep", "1000"))
    with pytest.raises(Conflict, match="running"):
        engine.containers.remove(container.id)
    engine.containers.remove(container.id, force=True)
    with pytest.raises(NotFound):
        engine.containers.get(container.id)


def test_a_container_with_auto_remove_goes_by_itself(engine: Engine) -> None:
    container = engine.containers.run(spec("sh", "-c", "exit 3", auto_remove=True))
    until(lambda: container.id not in [found.id for found in engine.containers.list()])
    assert any(event.action == "die" and event.attributes["exitCode"] == "3" for event in engine.events.list())


def test_stdout_and_stderr_are_logged_apart(engine: Engine) -> None:
    container = engine.containers.run(spec("sh", "-c", "echo out; echo err >&2"))
    engine.containers.wait(container.id, timeout=60)
    assert output(engine, container.id) == "out\n"
    assert output(engine, container.id, "stderr") == "err\n"


def test_a_log_is_rotated_and_read_as_one(engine: Engine) -> None:
    options = LogOptions(max_size=4096, max_file=3)
    container = engine.containers.run(
        spec("sh", "-c", "for i in $(seq 1 120); do echo line $i; sleep 0.001; done", log=options)
    )
    engine.containers.wait(container.id, timeout=60)
    parts = sorted(Path(container.log_path).parent.glob("log.json*"))
    assert [part.name for part in parts] == ["log.json", "log.json.1", "log.json.2"]
    lines = output(engine, container.id).splitlines()
    assert lines[-1] == "line 120"
    first = int(lines[0].removeprefix("line "))
    assert lines == [f"line {number}" for number in range(first, 121)]
    assert [entry.text for entry in engine.containers.logs(container.id, tail=2)] == ["line 119\n", "line 120\n"]


def test_following_a_log_ends_with_the_container(engine: Engine) -> None:
    container = engine.containers.run(spec("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"))
    assert [entry.text for entry in engine.containers.logs(container.id, follow=True)] == ["1\n", "2\n", "3\n"]


def test_an_attached_start_misses_nothing(engine: Engine) -> None:
    container = engine.containers.create(spec("cat", interactive=True))
    with engine.containers.start_attached(container.id, stdin=True) as session:
        session.write(b"hello\n")
        assert session.read(60) == ("stdout", b"hello\n")
        session.close_stdin()
        assert session.read(60) is None
        assert session.exit_code == 0


def test_a_lot_of_output_arrives_whole(engine: Engine) -> None:
    container = engine.containers.create(spec("sh", "-c", "seq 1 20000"))
    received = b""
    with engine.containers.start_attached(container.id) as session:
        while found := session.read(60):
            received += found[1]
    assert received == "".join(f"{number}\n" for number in range(1, 20001)).encode()
    assert output(engine, container.id).encode() == received


def test_exec_has_a_terminal_of_the_size_that_was_asked_for(engine: Engine) -> None:
    container = engine.containers.run(spec("sleep", "1000"))
    session = engine.containers.exec(container.id, ExecSpec(("sh", "-c", "tty; stty size"), tty=True), size=(33, 77))
    assert session is not None
    text = b""
    while found := session.read(60):
        text += found[1]
    assert text == b"/dev/pts/0\r\n33 77\r\n"
    assert session.exit_code == 0


def test_exec_takes_user_workdir_and_environment(engine: Engine) -> None:
    container = engine.containers.run(spec("sleep", "1000"))
    command = ("sh", "-c", "id -u; id -g; pwd; echo $GREETING")
    session = engine.containers.exec(
        container.id, ExecSpec(command, env=("GREETING=hi",), user="nobody", workdir="/made/new")
    )
    assert session is not None
    text = b""
    while found := session.read(60):
        text += found[1]
    assert text.decode().split() == ["65534", "65534", "/made/new", "hi"]


@pytest.mark.parametrize(("command", "code"), [("nothing-here", 127), ("/etc/passwd", 126)])
def test_exec_says_why_it_cannot_start(engine: Engine, command: str, code: int) -> None:
    container = engine.containers.run(spec("sleep", "1000"))
    with pytest.raises(StartFailed) as caught:
        engine.containers.exec(container.id, ExecSpec((command,)))
    assert caught.value.exit_code == code


def test_a_short_exec_always_tells_its_exit_code(engine: Engine) -> None:
    container = engine.containers.run(spec("sleep", "1000"))
    for _ in range(20):
        session = engine.containers.exec(container.id, ExecSpec(("sh", "-c", "exit 3")))
        assert session is not None
        assert session.read(60) is None
        assert session.exit_code == 3


def test_exec_in_a_stopped_container_is_refused(engine: Engine) -> None:
    container = engine.containers.create(spec("true"))
    with pytest.raises(Conflict, match="not running"):
        engine.containers.exec(container.id, ExecSpec(("true",)))


def test_attach_shows_what_comes_and_its_end(engine: Engine) -> None:
    container = engine.containers.run(spec("sh", "-c", "read line; echo got $line", interactive=True))
    with engine.containers.attach(container.id) as session:
        session.write(b"ping\n")
        assert session.read(60) == ("stdout", b"got ping\n")
        assert session.read(60) is None
        assert session.exit_code == 0


def test_a_terminal_can_be_resized(engine: Engine) -> None:
    container = engine.containers.create(spec("sh", "-c", "stty size; read x; stty size", tty=True, interactive=True))
    with engine.containers.start_attached(container.id, size=(20, 70), stdin=True) as session:
        text = b""
        while b"20 70" not in text:
            found = session.read(60)
            assert found is not None
            text += found[1]
        session.resize(40, 120)
        session.write(b"\n")
        while found := session.read(60):
            text += found[1]
    assert b"40 120" in text


def test_containers_go_on_when_the_engine_is_killed(engine: Engine) -> None:
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from engine.api import Engine
from engine.model.container import ContainerSpec
engine = Engine(Path({str(engine.root)!r}))
engine.containers.run(ContainerSpec({IMAGE!r}, name="survivor", network="none",
    command=("sh", "-c", "while :; do date; sleep 0.1; done")))
print("up", flush=True)
time.sleep(1000)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with Engine(engine.root) as other:
        assert other.containers.get("survivor").is_running
        before = len(output(other, "survivor"))
        until(lambda: len(output(other, "survivor")) > before)
        assert other.containers.stop("survivor", timeout=0).exit_code == 137


def test_a_container_whose_monitor_was_killed_can_be_stopped_and_started(engine: Engine) -> None:
    container = engine.containers.run(spec("sleep", "1000"))
    state = engine._registry.state(container.id)
    assert state is not None
    os.kill(state.monitor_pid, signal.SIGKILL)
    until(lambda: not state.has_monitor)
    assert engine.containers.get(container.id).is_running
    stopped = engine.containers.stop(container.id, timeout=0)
    assert (stopped.status, stopped.exit_code) == (Status.EXITED, 255)
    assert "monitor" in stopped.error
    assert engine.containers.start(container.id).is_running


def test_many_starts_at_once(engine: Engine) -> None:
    errors: list[Exception] = []

    def start(number: int) -> None:
        try:
            for turn in range(4):
                engine.containers.run(spec("sleep", "1000", name=f"c{number}-{turn}", network="bridge"))
        except Exception as error:  # noqa: BLE001 - collected
            errors.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    running = engine.containers.list(all=False)
    assert len(running) == 16
    assert len({container.endpoints[0].address for container in running}) == 16


def test_events_reach_another_process(engine: Engine) -> None:
    stop = threading.Event()
    seen: list[str] = []
    before = engine.events.list()[-1].cursor
    with Engine(engine.root) as other:

        def watch() -> None:
            for event in other.events.follow(cursor=before, stop=stop):
                seen.append(event.action)  # noqa: PERF401 - others look at it meanwhile

        thread = threading.Thread(target=watch)
        thread.start()
        finish(engine, spec("true"))
        until(lambda: {"create", "start", "die"} <= set(seen))
        stop.set()
        thread.join()


def test_volumes_keep_their_files_and_binds_show_the_hosts(engine: Engine, root: Path) -> None:
    shared = root / "shared"
    shared.mkdir()
    shared.joinpath("from-host").write_text("hello")
    mounts = (
        Mount("volume", "/data", "kept"),
        Mount("bind", "/host", str(shared)),
        Mount("tmpfs", "/scratch", options=("size=1m",)),
    )
    script = "cat /host/from-host; echo kept >/data/file; echo x >/host/from-container; touch /scratch/a; df -k /scratch | tail -1"
    code, text = finish(engine, spec("sh", "-c", script, mounts=mounts))
    assert code == 0
    assert text.startswith("hello")
    assert "1024" in text
    assert shared.joinpath("from-container").read_text() == "x\n"
    assert finish(engine, spec("cat", "/data/file", mounts=mounts[:1]))[1] == "kept\n"
    with pytest.raises(Conflict):
        engine.volumes.remove("kept")


def test_read_only_mounts_refuse_writes(engine: Engine, root: Path) -> None:
    mounts = (Mount("bind", "/host", str(root), read_only=True),)
    code, _ = finish(
        engine,
        spec("sh", "-c", "touch /host/x && exit 9; touch /rooted && exit 8; exit 0", mounts=mounts, read_only=True),
    )
    assert code == 0


def test_anonymous_volumes_go_with_rm_v(engine: Engine) -> None:
    container = engine.containers.create(spec("true", mounts=(Mount("volume", "/data"),)))
    assert len(engine.volumes.list()) == 1
    engine.containers.remove(container.id, volumes=True)
    assert engine.volumes.list() == ()


@pytest.mark.parametrize(
    "wrong",
    [
        spec("true", name="-bad"),
        spec("true", cap_add=("NO_SUCH",)),
        spec("true", stop_signal="NOPE"),
        spec("true", mounts=(Mount("bind", "/x", "/does/not/exist"),)),
    ],
)
def test_wrong_specifications_are_refused_and_leave_nothing(engine: Engine, wrong: ContainerSpec) -> None:
    with pytest.raises(InvalidArgument):
        engine.containers.create(wrong)
    assert engine.containers.list() == ()
    assert list(engine.root.joinpath("names").iterdir()) == []
    assert list(engine.root.joinpath("trash").iterdir()) == []


def test_top_shows_both_pids_and_the_containers_names(engine: Engine) -> None:
    container = engine.containers.run(spec("sh", "-c", "sleep 1000 & wait", user="nobody"))
    until(lambda: [process.command for process in engine.containers.top(container.id)][1:] == ["sleep 1000"])
    first, second = engine.containers.top(container.id)
    assert (first.container_pid, first.user) == (1, "nobody")
    assert second.parent_pid == first.pid
