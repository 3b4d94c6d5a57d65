"""Verbs on containers."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, EngineError, NotFound
from engine.model.container import ContainerSpec, ExecSpec, LogOptions, Mount
from tuicon.cli import limits as limit_flags
from tuicon.cli import output
from tuicon.cli.failure import Exit, Usage, complain
from tuicon.model.units import parse_moment, parse_size
from tuicon.terminal import Bridge, parse_detach_keys, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.api import Engine
    from tuicon.backend import Session

_DEMO = "tuicon/demo"
_PROXIED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def spec_of(arguments: argparse.Namespace) -> ContainerSpec:
    """Return the specification that the flags of run and create ask for.

    Raises:
        Usage: A flag's value is malformed.
    """
    return ContainerSpec(
        image=arguments.image,
        name=arguments.name,
        command=tuple(arguments.command) or None,
        entrypoint=() if arguments.entrypoint is None else (arguments.entrypoint,),
        env=environment(arguments),
        user=arguments.user,
        workdir=arguments.workdir,
        hostname=arguments.hostname,
        domainname=arguments.domainname,
        tty=arguments.tty,
        interactive=arguments.interactive,
        labels=pairs(arguments.label),
        network=arguments.network,
        dns=tuple(arguments.dns),
        dns_search=tuple(arguments.dns_search),
        extra_hosts=tuple(arguments.add_host),
        mounts=mounts_of(arguments),
        limits=limit_flags.of_arguments(arguments),
        cap_add=tuple(arguments.cap_add),
        cap_drop=tuple(arguments.cap_drop),
        privileged=arguments.privileged,
        read_only=arguments.read_only,
        no_new_privileges=_no_new_privileges(arguments.security_opt),
        shm_size=parse_size(arguments.shm_size),
        stop_signal=arguments.stop_signal,
        stop_timeout=arguments.stop_timeout,
        auto_remove=arguments.rm,
        log=_log_options(arguments),
    )


def environment(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return NAME=VALUE items of --env-file and -e; a bare NAME takes our own value."""
    items: list[str] = []
    for name in arguments.env_file:
        try:
            lines = Path(name).read_text().splitlines()
        except OSError as error:
            raise Usage(f"cannot read the env file {name}: {error.strerror}") from error
        items.extend(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    items.extend(arguments.env)
    return tuple(
        item if "=" in item else f"{item}={os.environ[item]}" for item in items if "=" in item or item in os.environ
    )


def pairs(items: list[str]) -> dict[str, str]:
    """Return NAME=VALUE items as a dictionary."""
    return {name: value for name, _, value in (item.partition("=") for item in items)}


def mounts_of(arguments: argparse.Namespace) -> tuple[Mount, ...]:
    """Return the mounts of -v, --mount and --tmpfs."""
    if not (arguments.volume or arguments.mount or arguments.tmpfs):
        return ()
    from engine.api import parse_mount, parse_tmpfs, parse_volume

    return (
        *(parse_volume(text) for text in arguments.volume),
        *(parse_mount(text) for text in arguments.mount),
        *(parse_tmpfs(text) for text in arguments.tmpfs),
    )


def _no_new_privileges(options: list[str]) -> bool:
    value = True
    for option in options:
        name, _, given = option.replace(":", "=", 1).partition("=")
        if name != "no-new-privileges" or given not in ("", "true", "false"):
            raise Usage(f"unsupported security option {option!r}: only no-new-privileges[=true|false]")
        value = given != "false"
    return value


def _log_options(arguments: argparse.Namespace) -> LogOptions:
    options = pairs(arguments.log_opt)
    unknown = set(options) - {"max-size", "max-file"}
    if unknown:
        raise Usage(f"unknown log option {min(unknown)!r}: max-size and max-file are known")
    count = options.get("max-file", "1")
    if not count.isdigit() or int(count) < 1:
        raise Usage(f"invalid log option max-file={count!r}: a number of at least 1")
    max_size = parse_size(options["max-size"]) if "max-size" in options else None
    return LogOptions(arguments.log_driver, max_size, int(count))


def create(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon create."""
    spec = spec_of(arguments)
    _have_image(engine, spec.image, arguments.pull)
    container = engine.containers.create(spec)
    _write_cidfile(arguments.cidfile, container.id)
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


def _write_cidfile(name: str | None, container_id: str) -> None:
    if name:
        try:
            with open(name, "x", encoding="ascii") as file:
                file.write(container_id)
        except OSError as error:
            raise Usage(f"cannot write the id to {name}: {error.strerror}") from error


def run(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon run."""
    engine.warm()
    spec = spec_of(arguments)
    _check_tty(arguments, wants_stdin=arguments.interactive)
    if arguments.cidfile and os.path.exists(arguments.cidfile):  # noqa: PTH110 - pathlib is not loaded yet
        raise Usage(f"the id file exists already: {arguments.cidfile}")
    _have_image(engine, spec.image, arguments.pull)
    if arguments.detach:
        container = engine.containers.run(spec)
        _write_cidfile(arguments.cidfile, container.id)
        print(container.id)
        return 0
    created = engine.containers.create(spec)
    _write_cidfile(arguments.cidfile, created.id)
    try:
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
    keys = parse_detach_keys(arguments.detach_keys)
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
    spec = ExecSpec(
        tuple(arguments.command), environment(arguments), arguments.user, arguments.workdir, arguments.tty,
        arguments.interactive, arguments.detach, arguments.privileged,
    )  # fmt: skip
    session = engine.containers.exec(arguments.container, spec, size=size())
    if session is None:
        return 0
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
            output.json_line(entry)
            continue
        stamp = entry.time.isoformat().replace("+00:00", "Z") + " " if arguments.timestamps else ""
        stream = sys.stderr if entry.stream == "stderr" else sys.stdout
        stream.write(stamp + entry.text)
        if arguments.follow:
            stream.flush()
    return 0


def top(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon top."""
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
    if limit_flags.is_empty(arguments):
        raise Usage("update: no limit is named")
    change = limit_flags.change_of(arguments)
    return each(arguments.containers, lambda ref: engine.containers.update(ref, change))
