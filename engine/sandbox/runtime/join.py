"""`exec`: one more command in a running container."""

from __future__ import annotations

import os

from engine.linux import capabilities, files
from engine.linux.cgroup.group import Group
from engine.sandbox import security
from engine.sandbox.enter import Entry
from engine.sandbox.process import CannotStart
from engine.sandbox.runtime import foreground, rights, validate
from engine.sandbox.runtime.create import preserved, refusal
from engine.sandbox.runtime.fault import Fault
from engine.sandbox.runtime.state import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.sandbox.runtime.arguments import Arguments
    from engine.sandbox.runtime.log import Log

    Document = dict[str, Any]

_CAPABILITY_SETS = ("bounding", "effective", "permitted")


def run_exec(arguments: Arguments, log: Log) -> int:
    """Run a command in a container and, unless detached, stay with it; return its exit code."""
    container = Container.named_by(arguments)
    with container.lock():
        container.load()
        _check_status(container, arguments)
        config = container.config
        process = _process(arguments, config)
        _check_terminal(arguments, process)
        for warning in rights.drop_ungrantable(process, has_user=validate.has_namespace(config, "user")):
            log.say("warning", warning)
        preserve_fds = preserved(arguments.number("preserve-fds", 0), process)
        entry = Entry(process, security.Security(process, config), preserve_fds=preserve_fds)
        size: Document = process.get("consoleSize") or {}
        wakeup = foreground.listen()
        try:
            entry.start(
                container.pid, int(container.record["pid_start"]), _group(container, arguments), None,
                [int(size["height"]), int(size["width"])] if size else None,
            )  # fmt: skip
        except CannotStart as error:
            raise refusal({"message": str(error), "kind": error.kind}) from error
    for warning in entry.warnings:
        log.say("warning", warning)
    if arguments.has("console-socket"):
        foreground.hand_over(entry.master, arguments.text("console-socket"))
    if arguments.has("pid-file"):
        files.write_atomic(arguments.text("pid-file"), str(entry.pid).encode(), 0o644)
    if arguments.has("detach"):
        return 0
    return foreground.stay(entry.pid, -1 if arguments.has("console-socket") else entry.master, wakeup)


def _check_status(container: Container, arguments: Arguments) -> None:
    status = container.status()
    if status == "paused" and not arguments.has("ignore-paused"):
        raise Fault(f"cannot exec in container {container.container_id}: it is paused")
    if status not in ("created", "running", "paused"):
        raise Fault(f"cannot exec in container {container.container_id}: it is {status}")


def _check_terminal(arguments: Arguments, process: Document) -> None:
    has_socket = arguments.has("console-socket")
    if process.get("terminal") and arguments.has("detach") and not has_socket:
        raise Fault("a terminal needs --console-socket when the runtime does not stay")
    if has_socket and not process.get("terminal"):
        raise Fault("--console-socket needs a terminal")


def _group(container: Container, arguments: Arguments) -> Group:
    group = container.group
    below = arguments.text("cgroup").strip("/")
    if not below:
        return group
    if ".." in below.split("/"):
        raise Fault(f"--cgroup {below}: `..` components are not allowed")
    found = Group.from_paths(group.version, {name: f"{path}/{below}" for name, path in group.paths.items()})
    if group.version == 1:
        found.create()
    for path in found.paths.values():
        if not os.path.isdir(path):
            raise Fault(f"--cgroup {below}: there is no such group in the container's own")
    return found


def _process(arguments: Arguments, config: Document) -> Document:
    if arguments.has("process"):
        found = validate.load_json(arguments.text("process"))
        validate.check_process(found, "process")
        if arguments.has("tty"):
            found["terminal"] = True
        return found
    if len(arguments.operands) < 2:
        raise Fault("there is no command to run: name one, or give --process")
    base: Document = config.get("process") or {}
    process: Document = {
        **base, "args": arguments.operands[1:], "terminal": arguments.has("tty"),
        "env": [*(base.get("env") or ()), *arguments.all("env")],
        "cwd": arguments.text("cwd") or base.get("cwd") or "/",
        "user": _user(arguments, base.get("user") or {}),
    }  # fmt: skip
    process.pop("consoleSize", None)
    for option, field in (("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if arguments.has(option):
            process[field] = arguments.text(option)
    if arguments.has("no-new-privs"):
        process["noNewPrivileges"] = True
    added = [name if name.startswith("CAP_") else f"CAP_{name}" for name in arguments.all("cap")]
    unknown = [name for name in added if name.removeprefix("CAP_") not in capabilities.NAMES]
    if unknown:
        raise Fault(f"--cap: there is no capability {unknown[0]}")
    if added:
        sets: Document = base.get("capabilities") or {}
        process["capabilities"] = {**sets, **{name: [*(sets.get(name) or ()), *added] for name in _CAPABILITY_SETS}}
    validate.check_process(process, "process")
    return process


def _user(arguments: Arguments, base: Document) -> Document:
    user = {**base, "additionalGids": [*(base.get("additionalGids") or ())]}
    for gid in arguments.all("additional-gids"):
        user["additionalGids"].append(int(gid))
    if arguments.has("user"):
        uid, _, gid = arguments.text("user").partition(":")
        if not uid.isdigit() or (gid and not gid.isdigit()):
            raise Fault(f"--user wants UID[:GID]: {arguments.text('user')!r}")
        user = {**user, "uid": int(uid), "gid": int(gid or user.get("gid") or 0)}
        user.pop("username", None)
    return user
