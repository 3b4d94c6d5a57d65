"""Verbs on containers."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager

from engine.errors import Conflict, EngineError, NotFound
from tuicon.cli.failure import Exit, Usage, complain
from tuicon.cli.words import environment
from tuicon.terminal import DEFAULT_DETACH_KEYS, Bridge, parse_detach_keys, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from typing import Any

    from engine.api import Engine
    from tuicon.backend import Session

_DEMO = "tuicon/demo"
_PROXIED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def create(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon create."""
    from tuicon.cli.spec import spec_of

    spec = spec_of(arguments)
    with _cidfile(arguments.cidfile) as write_id:
        _have_image(engine, spec.image, arguments.pull)
        container = engine.containers.create(spec)
        write_id(container.id)
    print(container.id)
    return 0


def _have_image(engine: Engine, reference: str, policy: str) -> None:
    """Make the demo image, or pull another, when it is wanted and missing."""
    is_demo = reference in (_DEMO, f"{_DEMO}:latest")
    try:
        engine.images.get(reference)
        if policy != "always" or is_demo:
            return
    except NotFound:
        if policy == "never":
            raise
    if is_demo:
        engine.images.build_demo()
        return
    from tuicon.cli.registries import pull_quietly

    pull_quietly(engine, reference)


@contextmanager
def _cidfile(name: str | None) -> Iterator[Callable[[str], None]]:
    """Take the file that an id will be written to before anything is made; it is removed when no id comes.

    Raises:
        Usage: It exists already, or cannot be written.
    """
    if not name:
        yield lambda _: None
        return
    try:
        file = open(name, "x", encoding="ascii")  # noqa: SIM115 - closed below
    except FileExistsError:
        raise Usage(f"the id file exists already: {name}") from None
    except OSError as error:
        raise Usage(f"cannot write the id to {name}: {error.strerror}") from error
    written: list[str] = []

    def write(container_id: str) -> None:
        file.write(container_id)
        file.flush()
        written.append(container_id)

    try:
        yield write
    finally:
        file.close()
        if not written:
            os.unlink(name)  # noqa: PTH108 - pathlib is not loaded yet


def run(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon run."""
    from tuicon.cli.spec import spec_of

    spec = spec_of(arguments)
    _check_tty(arguments, wants_stdin=arguments.interactive)
    with _cidfile(arguments.cidfile) as write_id:
        _have_image(engine, spec.image, arguments.pull)
        created = engine.containers.create(spec)
        write_id(created.id)
    try:
        if arguments.detach:
            engine.containers.start(created.id)
            print(created.id)
            return 0
        session = engine.containers.start_attached(created.id, size=size(), stdin=arguments.interactive)
    except EngineError:
        if spec.auto_remove:
            engine.containers.remove(created.id, force=True, volumes=True)
        raise
    return _bridge(engine, created.id, session, arguments, has_tty=spec.tty, wants_stdin=arguments.interactive)


def _check_tty(arguments: argparse.Namespace, *, wants_stdin: bool) -> None:
    if arguments.tty and wants_stdin and not arguments.detach and not sys.stdin.isatty():
        raise Usage("the input device is not a TTY: leave out -t, or run it in a terminal")


def _bridge(
    engine: Engine, ref: str, session: Session, arguments: argparse.Namespace, *, has_tty: bool, wants_stdin: bool
) -> int:
    """Connect a session to the terminal; return the exit code."""
    keys = parse_detach_keys(DEFAULT_DETACH_KEYS if arguments.detach_keys is None else arguments.detach_keys)
    proxies = not has_tty and getattr(arguments, "sig_proxy", "false") == "true"
    handlers = _proxy_signals(engine, ref) if proxies else {}
    try:
        with session:
            code = Bridge(session, has_tty=has_tty, wants_stdin=wants_stdin, detach_keys=keys).run()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return 0 if code is None else code


def _proxy_signals(engine: Engine, ref: str) -> dict[signal.Signals, Any]:
    def forward(number: int, _frame: object) -> None:
        try:
            engine.containers.kill(ref, str(number))
        except EngineError:
            return  # it has just ended

    return {number: signal.signal(number, forward) for number in _PROXIED}


def start(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon start."""
    if arguments.attach or arguments.interactive:
        if len(arguments.containers) > 1:
            raise Usage("only one container can be attached to")
        ref = arguments.containers[0]
        container = engine.containers.get(ref)
        if container.status.is_alive:
            session = engine.containers.attach(ref)
        else:
            session = engine.containers.start_attached(ref, size=size(), stdin=arguments.interactive)
        return _bridge(
            engine, container.id, session, arguments, has_tty=container.spec.tty, wants_stdin=arguments.interactive
        )
    return each(arguments.containers, engine.containers.start)


def each(refs: list[str], action: Callable[[str], object]) -> int:
    """Do something with each object, print each name that it worked for; return 1 when one failed."""
    failed = 0
    for ref in refs:
        try:
            action(ref)
        except (EngineError, OSError) as error:
            complain(str(error), getattr(error, "hint", ""))
            failed = 1
        else:
            print(ref)
    return failed


def stop(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon stop."""
    return each(
        arguments.containers,
        lambda ref: engine.containers.stop(ref, timeout=arguments.timeout, signal=arguments.signal),
    )


def restart(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon restart."""
    return each(arguments.containers, lambda ref: engine.containers.restart(ref, timeout=arguments.timeout))


def kill(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon kill."""
    return each(arguments.containers, lambda ref: engine.containers.kill(ref, arguments.signal))


def pause(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon pause."""
    return each(arguments.containers, engine.containers.pause)


def unpause(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon unpause."""
    return each(arguments.containers, engine.containers.unpause)


def rename(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon rename."""
    engine.containers.rename(arguments.container, arguments.name)
    return 0


def wait(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon wait."""
    for ref in arguments.containers:
        print(engine.containers.wait(ref))
    return 0


def rm(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon rm."""

    def remove(ref: str) -> None:
        try:
            engine.containers.remove(ref, force=arguments.force, volumes=arguments.volumes)
        except NotFound:
            if not arguments.force:
                raise

    return each(arguments.containers, remove)


def prune(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon container prune."""
    confirm("This removes all containers that do not run.", arguments.force)
    for container_id in engine.containers.prune():
        print(container_id)
    return 0


def confirm(question: str, is_sure: bool) -> None:
    """Ask on the terminal before something is removed.

    Raises:
        Exit: The answer was not yes.
    """
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise Usage("nobody can be asked without a terminal: use --force")
    if input(f"{question} Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Exit(1)


def exec_(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon exec."""
    if not arguments.command:
        raise Usage("exec: the command is missing")
    _check_tty(arguments, wants_stdin=arguments.interactive)
    asked = {
        "command": tuple(arguments.command), "env": environment(arguments), "user": arguments.user,
        "workdir": arguments.workdir, "tty": arguments.tty, "interactive": arguments.interactive,
        "privileged": arguments.privileged,
    }  # fmt: skip
    if arguments.detach:
        from engine.model.container import ExecSpec

        engine.containers.exec(arguments.container, ExecSpec(**asked, detach=True))
        return 0
    session = engine.execute(arguments.container, asked, size())
    return _bridge(
        engine, arguments.container, session, arguments, has_tty=arguments.tty, wants_stdin=arguments.interactive
    )


def attach(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon attach."""
    container = engine.containers.get(arguments.container)
    if container.status == "paused":
        raise Conflict(f"container {container.name} is paused", hint="unpause it first")
    wants_stdin = not arguments.no_stdin and container.spec.interactive
    session = engine.containers.attach(container.id)
    return _bridge(engine, container.id, session, arguments, has_tty=container.spec.tty, wants_stdin=wants_stdin)


def moment(text: str | None) -> datetime | None:
    """Parse --since and --until."""
    from datetime import UTC, datetime

    from tuicon.model.units import parse_moment

    return parse_moment(text, datetime.now(UTC)) if text else None


def logs(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon logs."""
    if arguments.tail != "all" and not arguments.tail.isdigit():
        raise Usage(f"invalid value for --tail: {arguments.tail!r}: a number, or all")
    tail = None if arguments.tail == "all" else int(arguments.tail)
    entries = engine.containers.logs(
        arguments.container,
        follow=arguments.follow,
        since=moment(arguments.since),
        until=moment(arguments.until),
        tail=tail,
    )
    for entry in entries:
        if arguments.json:
            from tuicon.cli import output

            output.json_line(entry)
            continue
        stamp = entry.time.isoformat().replace("+00:00", "Z") + " " if arguments.timestamps else ""
        stream = sys.stderr if entry.stream == "stderr" else sys.stdout
        stream.write(stamp + (_details(entry.attributes) if arguments.details else "") + entry.text)
        if arguments.follow:
            stream.flush()
    return 0


def _details(attributes: dict[str, str]) -> str:
    from urllib.parse import quote_plus

    return ",".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in sorted(attributes.items())) + " "


def top(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon top."""
    from tuicon.cli import output

    found = engine.containers.top(arguments.container)
    if arguments.json:
        output.as_json(found)
        return 0
    rows = []
    for process in found:
        minutes, seconds = divmod(int(process.cpu_seconds), 60)
        started = process.started_at.astimezone().strftime("%H:%M")
        cells = (process.user, str(process.pid), str(process.container_pid), str(process.parent_pid), process.state)
        rows.append((*cells, started, f"{minutes:02d}:{seconds:02d}", process.command))
    output.table(("USER", "PID", "CPID", "PPID", "STAT", "STIME", "TIME", "CMD"), rows)
    return 0


def update(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon update."""
    from engine.model.health import HealthCheck
    from tuicon.cli import tuning
    from tuicon.cli.health import check_of
    from tuicon.cli.spec import parse_restart
    from tuicon.model import limit_flags

    if tuning.is_asked(arguments):
        return tuning.update(engine, arguments)
    policy = parse_restart(arguments.restart) if arguments.restart is not None else None
    health = check_of(arguments)
    has_limits = not limit_flags.is_empty(arguments)
    if not has_limits and policy is None and health == HealthCheck():
        raise Usage("update: neither a limit nor a restart policy nor a health check is named")
    change = limit_flags.change_of(arguments)

    def update_one(ref: str) -> None:
        if has_limits:
            engine.containers.update(ref, change)
        if policy is not None:
            engine.containers.set_restart(ref, policy)
        if health != HealthCheck():
            engine.containers.set_health(ref, health)

    return each(arguments.containers, update_one)
