"""`kill` and `delete`: the end of a container, and what is left of it."""

from __future__ import annotations

import os
import time

from engine.linux import procfs
from engine.linux.light import signal
from engine.sandbox import hooks
from engine.sandbox.runtime.fault import Fault
from engine.sandbox.runtime.state import DEFAULT_ROOT, Container, all_containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.sandbox.runtime.arguments import Arguments
    from engine.sandbox.runtime.log import Log

_PATIENCE = 10.0


def run_kill(arguments: Arguments, _log: Log) -> int:
    """Send a signal to the first process, or with --all to all of the container."""
    number = signal_number(
        arguments.text("signal") or (arguments.operands[1] if len(arguments.operands) > 1 else "TERM")
    )
    container = Container.named_by(arguments)
    with container.lock():
        container.load()
        status = container.status()
        if arguments.has("all"):
            _signal_all(container, number)
        elif status not in ("created", "running", "paused"):
            raise Fault(f"cannot kill container {container.container_id}: the container is not running, it is {status}")
        else:
            _signal_first(container, number)
    return 0


def _signal_first(container: Container, number: int) -> None:
    pidfd = procfs.open_process(container.pid, int(container.record["pid_start"]))
    try:
        signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)
    if number == signal.SIGKILL and container.group.is_frozen():
        container.group.thaw()  # on v1 a frozen process dies only when it is thawed


def _signal_all(container: Container, number: int) -> None:
    if number == signal.SIGKILL:
        container.group.kill()
        return
    for pid in container.group.all_pids():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def signal_number(text: str) -> int:
    """Return the number of a signal given as 15, TERM or SIGTERM.

    Raises:
        Fault: There is none.
    """
    if text.isdigit() and int(text) in range(1, signal.NSIG):
        return int(text)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    found = getattr(signal, name, None) if not name.startswith("SIG_") else None
    base, sign, offset = name.partition("+")
    if base in ("SIGRTMIN", "SIGRTMAX-") and sign and offset.isdigit():
        found = int(signal.SIGRTMIN) + int(offset)
    if not isinstance(found, int):
        raise Fault(f"there is no signal {text!r}")
    return int(found)


def run_delete(arguments: Arguments, log: Log) -> int:
    """Remove a container that has ended; with --force kill it first, and be content when there is none.

    With --regex remove all whose IDs begin as the expression says.
    """
    root = arguments.text("root", DEFAULT_ROOT)
    if not arguments.has("regex"):
        _delete(Container(root, arguments.container_id), log, is_forced=arguments.has("force"))
        return 0
    import re

    for container in all_containers(root):
        if re.match(arguments.container_id, container.container_id):
            _delete(container, log, is_forced=arguments.has("force"))
    return 0


def _delete(container: Container, log: Log, *, is_forced: bool) -> None:
    if is_forced and not os.path.isdir(container.directory):
        return
    with container.lock():
        container.load()
        status = container.status()
        if not is_forced and status not in ("stopped", "creating"):
            raise Fault(f"cannot delete container {container.container_id}: it is {status}, not stopped")
        destroy(container, log)


def destroy(container: Container, log: Log) -> None:
    """End what runs, remove the cgroup and the record, and run the poststop hooks."""
    if not container.record:
        container.discard()
        return
    pid = container.pid
    if pid:
        os.kill(pid, signal.SIGKILL)
    group = container.group
    group.kill()
    _wait_gone(container)
    group.remove()
    state = {**container.oci_state("stopped"), "pid": 0}
    for failure in hooks.run_all_hooks(container.config, "poststop", state):
        log.say("warning", failure)
    container.discard()


def _wait_gone(container: Container) -> None:
    deadline = time.monotonic() + _PATIENCE
    while container.pid:
        if time.monotonic() > deadline:
            raise Fault(f"the first process of container {container.container_id} does not end")
        time.sleep(0.001)
