"""Attacks on the processes that enter a container: their program, their descriptors, their lives."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import StartFailed
from engine.linux import procfs, syscalls
from engine.model.container import Mount
from tests.attacks.world import PYTHON, attacker, entry, executed, finish, hostile_image, python, spec
from tests.kernel.test_lifecycle import output, until

# Changing a file's times needs what overwriting it needs of the mount, and harms nobody when it works.
_OVERWRITE = """#!/proc/self/exe
import os
program = os.open("/proc/self/exe", os.O_PATH)
print("program", os.fstat(program).st_ino, flush=True)
os.set_inheritable(program, True)
os.execv("/bin/sh", ["sh", "-c", f"touch /proc/self/fd/{program} && echo OVERWRITTEN; (: >>/proc/self/fd/{program}) && echo OPENED"])
"""
_HUNT = """
own = os.stat("/proc/self/exe")
print("hunting", flush=True)
while not os.path.exists("/stop"):
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            program = os.open(f"/proc/{name}/exe", os.O_PATH)
        except OSError:
            continue
        try:
            if os.path.samestat(os.fstat(program), own):
                print("CAUGHT", flush=True)
                os.utime(f"/proc/self/fd/{program}")
                print("OVERWRITTEN", flush=True)
        except OSError:
            pass
        os.close(program)
"""


@pytest.mark.parametrize("way", ["run", "exec"])
def test_a_script_that_is_interpreted_by_the_runtime_cannot_overwrite_it(engine: Engine, way: str) -> None:
    """CVE-2019-5736: the command is a script whose interpreter is /proc/self/exe."""
    image = hostile_image(engine, entry("evil", content=_OVERWRITE.encode(), mode=0o755))
    before = os.stat(PYTHON).st_mtime_ns
    if way == "run":
        text = finish(engine, spec("/evil", image=image, mounts=python()))[1]
    else:
        container = engine.containers.run(spec("sleep", "1000", image=image, mounts=python()))
        text = executed(engine, container.id, "/evil")[1]
    assert f"program {os.stat(PYTHON).st_ino}\n" in text, "it did not run as the runtime's program: nothing was tried"
    assert "OVERWRITTEN" not in text
    assert "OPENED" not in text
    assert "Read-only file system" in text
    assert os.stat(PYTHON).st_mtime_ns == before


@pytest.mark.parametrize("capability", [(), ("SYS_PTRACE",)])
def test_the_program_of_an_entering_process_cannot_be_caught_or_overwritten(
    engine: Engine, capability: tuple[str, ...]
) -> None:
    """CVE-2019-5736 from the side: somebody inside waits at /proc/PID/exe while exec enters."""
    before = os.stat(PYTHON).st_mtime_ns
    container = engine.containers.run(attacker(_HUNT, cap_add=capability))
    until(lambda: "hunting" in output(engine, container.id))
    for _ in range(10):
        assert executed(engine, container.id, "true")[0] == 0
    executed(engine, container.id, "touch", "/stop")
    engine.containers.wait(container.id, timeout=300)
    text = output(engine, container.id)
    assert "OVERWRITTEN" not in text
    if not capability:
        assert "CAUGHT" not in text
    assert os.stat(PYTHON).st_mtime_ns == before


@pytest.fixture
def leaky() -> Iterator[int]:
    """A descriptor of the host's root that this process forgot to close on exec."""
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(fd, True)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("tty", [False, True])
def test_no_descriptor_of_the_host_comes_in(engine: Engine, leaky: int, tty: bool) -> None:
    """CVE-2016-9962 and CVE-2024-21626: what the engine's process leaks must not reach the command."""
    script = "cd /proc/$$/fd && for fd in *; do readlink $fd; done"
    _, ran = finish(engine, spec("sh", "-c", script, tty=tty))
    container = engine.containers.run(spec("sleep", "1000", tty=tty))
    _, entered = executed(engine, container.id, "sh", "-c", script, tty=tty)
    for text in (ran, entered):
        assert len(text.split()) == 3
        assert all(link.startswith(("/dev/pts/",) if tty else ("/dev/null", "pipe:")) for link in text.split()), text


@pytest.mark.parametrize("way", ["run", "exec"])
def test_a_working_directory_cannot_be_somebody_elses_descriptor(engine: Engine, leaky: int, way: str) -> None:
    """CVE-2024-21626: WORKDIR /proc/self/fd/N."""
    container = engine.containers.run(spec("sleep", "1000"))

    def attack(workdir: str) -> None:
        if way == "run":
            engine.containers.run(spec("ls", workdir=workdir))
        else:
            executed(engine, container.id, "ls", workdir=workdir)

    for fd in range(3, 16):
        with pytest.raises(StartFailed, match="working directory"):
            attack(f"/proc/self/fd/{fd}{'/../..' * (fd % 2)}")


def test_a_working_directory_that_is_a_link_to_a_descriptor_is_refused(engine: Engine) -> None:
    """The same, hidden in the image."""
    links = (entry(f"w{fd}", b"2", link=f"/proc/self/fd/{fd}") for fd in (7, 8))
    image = hostile_image(engine, *links)
    for fd in (7, 8):
        with pytest.raises(StartFailed, match="working directory"):
            engine.containers.run(spec("ls", image=image, workdir=f"/w{fd}"))


def test_monitor_and_launcher_are_out_of_reach(engine: Engine) -> None:
    """A container does not see the processes that hold it, so it can neither kill nor trace them."""
    container = engine.containers.run(spec("sleep", "1000", cap_add=("SYS_PTRACE", "KILL")))
    state = engine._registry.state(container.id)
    assert state is not None
    launcher = procfs.stat_of(state.monitor_pid).parent
    for pid in (state.monitor_pid, launcher, os.getpid(), state.pid):
        if pid <= 100:
            continue  # too likely to be a pid inside, too
        code, text = executed(engine, container.id, "sh", "-c", f"kill -9 {pid} 2>&1; ls /proc/{pid} 2>&1")
        assert code != 0
        assert "No such process" in text
    assert state.has_monitor
    assert engine.containers.get(container.id).is_running


def test_killing_everything_that_enters_harms_only_the_command(engine: Engine) -> None:
    """A container that kills all others in its pid namespace, without pause, while exec enters."""
    code = "import signal\nprint('ready', flush=True)\nwhile True:\n  try: os.kill(-1, 9)\n  except OSError: pass"
    container = engine.containers.run(attacker(code))
    until(lambda: "ready" in output(engine, container.id))
    for _ in range(10):
        try:
            assert executed(engine, container.id, "true")[0] in (0, 137)
        except StartFailed:
            continue
    assert engine.containers.get(container.id).is_running
    engine.containers.remove(container.id, force=True)


@pytest.fixture
def secret_key() -> Iterator[str]:
    """A key in the session keyring that this process and its launcher have."""
    keyctl, add_key = (250, 248) if os.uname().machine == "x86_64" else (219, 217)
    call = syscalls.libc.syscall
    assert call(keyctl, 1, b"tuicon-attack") > 0  # KEYCTL_JOIN_SESSION_KEYRING
    key = call(add_key, b"user", b"tuicon-secret", b"secret", ctypes.c_size_t(6), -3)
    assert key > 0
    call(keyctl, 5, key, 0x3F3F3F3F)  # KEYCTL_SETPERM: whoever possesses it, its user, its group, all
    assert call(keyctl, 10, -3, b"user", b"tuicon-secret", 0) == key  # the attack works out here
    yield "tuicon-secret"
    call(keyctl, 21, key)  # KEYCTL_INVALIDATE


def test_the_hosts_session_keyring_is_not_inherited(engine: Engine, secret_key: str) -> None:
    code = f"print('key', libc.syscall({250 if os.uname().machine == 'x86_64' else 219}, 10, -3, b'user', b'{secret_key}', 0))"
    assert finish(engine, attacker(code))[1] == "key -1\n"
    container = engine.containers.run(spec("sleep", "1000", mounts=python()))
    prelude = "import ctypes; libc = ctypes.CDLL(None)\n"
    assert executed(engine, container.id, PYTHON, "-I", "-S", "-c", prelude + code)[1] == "key -1\n"


def test_a_command_leads_a_session_of_its_own(engine: Engine) -> None:
    """TIOCSTI: a command in the caller's session could type into the caller's terminal."""
    code = "print(os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid())\ntry: os.open('/dev/tty', os.O_RDWR)\nexcept OSError as error: print(error.errno == errno.ENXIO)"
    assert finish(engine, attacker(code))[1].split() == ["True", "True", "True"]
    container = engine.containers.run(spec("sleep", "1000", mounts=python()))
    prelude = "import os, errno\n"
    assert executed(engine, container.id, PYTHON, "-I", "-S", "-c", prelude + code)[1].split() == ["True"] * 3


def test_a_terminal_is_of_the_containers_own_devpts(engine: Engine, root: Path) -> None:
    """CVE-2025-52565: /dev/pts and /dev/console are the attacker's when the image or a volume brings them."""
    shared = root / "shared"
    shared.mkdir()
    (shared / "ptmx").symlink_to("/dev/null")
    with pytest.raises(StartFailed):
        engine.containers.run(spec("true", tty=True, mounts=(Mount("bind", "/dev/pts", str(shared)),)))
    assert sorted(os.listdir(shared)) == ["ptmx"]
