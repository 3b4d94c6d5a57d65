"""Hooks: programs that the config names for moments of a container's life (runtime-spec config.md, "POSIX hooks")."""

from __future__ import annotations

import os
import select

from engine.linux.light import json, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]


class HookFailed(Exception):
    """A hook could not run or did not succeed; str() names it."""


def of_kind(config: Document, kind: str) -> list[Document]:
    """Return the hooks of one kind, such as "prestart"."""
    return list((config.get("hooks") or {}).get(kind) or ())


def run_hooks(config: Document, kind: str, state: Document) -> None:
    """Run the hooks of one kind in their order, each with the container's state on its stdin.

    Raises:
        HookFailed: One failed; those after it are not run.
    """
    for number, hook in enumerate(of_kind(config, kind)):
        _run(hook, f"{kind} hook {number} ({hook.get('path')})", json.dumps(state).encode(), _environment(hook, kind))


def run_all_hooks(config: Document, kind: str, state: Document) -> list[str]:
    """Run the hooks of one kind, those after a failed one too; return a sentence about each that failed."""
    failures = []
    for hook in of_kind(config, kind):
        try:
            run_hooks({"hooks": {kind: [hook]}}, kind, state)
        except HookFailed as error:
            failures.append(str(error))
    return failures


def _environment(hook: Document, kind: str) -> dict[str, str]:
    """Return the hook's variables; without any it has the runtime's own, which are for nobody in the container."""
    if hook.get("env") is None:
        return {} if kind == "startContainer" else dict(os.environ)
    return dict(item.split("=", 1) for item in hook["env"] if "=" in item)


def _run(hook: Document, name: str, state: bytes, environment: dict[str, str]) -> None:
    stdin, feed = os.pipe2(os.O_CLOEXEC)
    output, theirs = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become(hook, stdin, theirs, environment)
    os.close(stdin)
    os.close(theirs)
    try:
        said = _follow(pid, feed, output, state, hook.get("timeout"))
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise HookFailed(f"{name} did not end within {hook['timeout']} s") from None
    finally:
        os.close(output)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        text = said.decode(errors="replace").strip()
        how = f"ended with exit code {status}" if status > 0 else f"was killed by signal {-status}"
        raise HookFailed(f"{name} {how}{': ' + text if text else ''}")


def _follow(pid: int, feed: int, output: int, state: bytes, timeout: object) -> bytes:
    """Feed the state, read what is said, and return when the program has ended."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(output, select.POLLIN)
    said = b""
    previous = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        try:
            os.write(feed, state)
        except BrokenPipeError:
            pass
        os.close(feed)
        while True:
            ready = poll.poll(float(timeout) * 1000 if isinstance(timeout, int | float) and timeout > 0 else None)
            if not ready:
                raise TimeoutError
            fds = [fd for fd, _ in ready]
            if output in fds:
                part = os.read(output, 4096)
                said = (said + part)[-4096:]
                if not part:
                    poll.unregister(output)
            elif pidfd in fds:
                return said
    finally:
        signal.signal(signal.SIGPIPE, previous)
        os.close(pidfd)


def _become(hook: Document, stdin: int, output: int, environment: dict[str, str]) -> None:
    try:
        os.dup2(stdin, 0, inheritable=True)
        os.dup2(output, 1, inheritable=True)
        os.dup2(output, 2, inheritable=True)
        for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        path = str(hook["path"])
        os.execve(path, [str(item) for item in hook.get("args") or [path]], environment)
    except OSError as error:
        os.write(2, (error.strerror or "").encode())
    finally:
        os._exit(127)
