"""Verbs on volumes, events, the host and the whole."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import NotFound
from tuicon.cli import output
from tuicon.cli.containers import confirm, moment
from tuicon.cli.failure import Usage, complain
from tuicon.cli.listing import filtered
from tuicon.cli.words import pairs
from tuicon.model import units

if TYPE_CHECKING:
    from engine.api import Engine
    from engine.model.event import Event
    from engine.model.finding import Booted


def inspect(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon inspect, of any kind of object."""
    kinds: dict[str, Callable[[str], dict[str, Any]]] = {
        "container": engine.containers.inspect,
        "image": engine.images.inspect,
        "network": engine.networks.inspect,
        "volume": engine.volumes.inspect,
    }
    group = arguments.verb.split(" ")[0]
    wanted = arguments.type or (group if group in kinds else None)
    found, failed = [], 0
    for name in arguments.names:
        try:
            found.append(_inspect_one({wanted: kinds[wanted]} if wanted else kinds, name))
        except NotFound as error:
            complain(str(error))
            failed = 1
    if arguments.format:
        output.formatted(arguments.format, found)
    else:
        output.as_json(found)
    return failed


def _inspect_one(kinds: dict[str, Callable[[str], dict[str, Any]]], name: str) -> dict[str, Any]:
    for look in kinds.values():
        try:
            return look(name)
        except NotFound:
            continue
    raise NotFound(next(iter(kinds)) if len(kinds) == 1 else "object", name)


def volume_create(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon volume create."""
    made = engine.volumes.create(
        arguments.name, labels=pairs(arguments.label), driver=arguments.driver, options=pairs(arguments.opt)
    )
    print(made.name)
    return 0


def events(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon events."""
    tests: dict[str, Callable[[Event, str], bool]] = {
        "container": lambda event, value: (
            event.type == "container" and (event.name == value or event.id.startswith(value))
        ),
        "event": lambda event, value: value in (event.action, event.action.partition(": ")[0]),
        "image": lambda event, value: value in (event.attributes.get("image"), event.name),
        "type": lambda event, value: event.type == value,
    }
    filtered([], arguments.filter, tests)
    for event in engine.events.follow(since=moment(arguments.since), until=moment(arguments.until)):
        if not filtered([event], arguments.filter, tests):
            continue
        if arguments.json or arguments.format == "json":
            output.json_line(event)
        elif arguments.format:
            actor = {"ID": event.id, "Attributes": {"name": event.name, **event.attributes}}
            output.formatted(
                arguments.format, [{"Type": event.type, "Action": event.action, "Actor": actor, "ID": event.id}]
            )
            sys.stdout.flush()
        else:
            details = ", ".join(f"{name}={value}" for name, value in {**event.attributes, "name": event.name}.items())
            stamp = event.time.astimezone().isoformat(timespec="microseconds")
            print(f"{stamp} {event.type} {event.action} {event.id} ({details})", flush=True)
    return 0


def version(_engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon version."""
    import platform
    from importlib.metadata import version as installed

    found = {
        "Version": installed("tuicon"), "Python": platform.python_version(), "Kernel": platform.release(),
        "Arch": platform.machine(), "OCI runtime specification": "1.2.0",
    }  # fmt: skip
    if arguments.json:
        output.as_json(found)
    else:
        for name, value in found.items():
            print(f"{name + ':':<28}{value}")
    return 0


def info(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon info."""
    found = engine.system.info()
    if arguments.json:
        output.as_json(found)
        return 0
    rows = {
        "Containers": str(found.containers_running + found.containers_paused + found.containers_stopped),
        " Running": str(found.containers_running), " Paused": str(found.containers_paused),
        " Stopped": str(found.containers_stopped), "Images": str(found.images), "Storage Driver": found.storage_driver,
        "Cgroup Version": found.cgroup_version, "Cgroup Controllers": " ".join(found.controllers),
        "Kernel Version": found.kernel, "Architecture": found.architecture, "CPUs": str(found.cpus),
        "Total Memory": units.size(found.memory_bytes), "Name": found.hostname, "Root Dir": found.root,
        "Run Root Dir": found.run_root,
    }  # fmt: skip
    for name, value in rows.items():
        print(f"{name}: {value}")
    for warning in found.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    return 0


def reset(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon system reset."""
    confirm(f"This removes all containers, images, networks and volumes in {engine.root}.", arguments.force)
    engine.system.reset()
    return 0


def check(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon system check: 0 when nothing is wrong or all is mended, 1 when something is left."""
    checked = engine.system.check(repair=arguments.repair, deep=arguments.deep)
    if arguments.json:
        output.as_json(checked)
        return bool(checked.left)
    for finding in checked.found:
        is_mended = arguments.repair and finding not in checked.left
        then = "" if not finding.repair else f" - {'done' if is_mended else 'repair'}: {finding.repair}"
        print(f"{finding.kind}: {finding.sentence}{f' ({units.size(finding.size)})' if finding.size else ''}{then}")
    for error in checked.errors:
        complain(error)
    if not checked.found:
        print("nothing is wrong")
    elif not arguments.repair and any(finding.repair for finding in checked.found):
        print("mend it with: tuicon system check --repair")
    return bool(checked.left)


def boot(engine: Engine, _arguments: argparse.Namespace) -> int:
    """Tuicon system boot."""
    return _report(engine.system.boot())


def shutdown(engine: Engine, _arguments: argparse.Namespace) -> int:
    """Tuicon system shutdown."""
    return _report(engine.system.shutdown())


def _report(done: tuple[Booted, ...]) -> int:
    for container in done:
        if container.error:
            complain(f"{container.name}: {container.error}")
        else:
            print(container.name)
    return int(any(container.error for container in done))


def unit(engine: Engine, _arguments: argparse.Namespace) -> int:
    """Tuicon system unit."""
    program = Path(sys.argv[0]).absolute()
    if program.name != "tuicon":  # it was started as a module
        program = Path(sys.executable).with_name("tuicon")
    print(engine.system.unit(str(program)), end="")
    return 0


def disk_usage(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon system df."""
    found = engine.system.disk_usage()
    if arguments.json:
        output.as_json(found)
        return 0
    rows = [
        (line.kind, str(line.count), str(line.active), units.size(line.size),
         f"{units.size(line.reclaimable)} ({100 * line.reclaimable // (line.size or 1)}%)")
        for line in found
    ]  # fmt: skip
    output.table(("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"), rows)
    return 0


def demo(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon demo."""
    if arguments.action == "image":
        print(engine.images.build_demo().id)
    elif arguments.action == "up":
        for container in engine.system.demo_up():
            print(container.name)
    else:
        engine.system.demo_down()
    return 0


def completion(_engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon completion."""
    import shtab

    from tuicon.cli import parser

    built = parser.build()
    script: str = shtab.complete(built, shell=arguments.shell, preamble=_PREAMBLE)
    print(script)
    return 0


_PREAMBLE = {
    "bash": "\n".join(
        f'_tuicon_{kind}() {{ compgen -W "$(tuicon __complete {kind} 2>/dev/null)" -- "$1"; }}'
        for kind in ("containers", "images")
    ),
    "zsh": "\n".join(
        f"_tuicon_{kind}() {{ compadd -- $(tuicon __complete {kind} 2>/dev/null); }}"
        for kind in ("containers", "images")
    ),
}
"""Shell functions that ask tuicon for names."""


def complete(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon __complete: names for the completion script."""
    if arguments.kind == "containers":
        names = [container.name for container in engine.containers.list()]
    elif arguments.kind == "images":
        from engine.api import familiar_reference

        names = [":".join(familiar_reference(name)) for image in engine.images.list() for name in image.references]
    elif arguments.kind == "networks":
        names = [network.name for network in engine.networks.list()]
    elif arguments.kind == "volumes":
        names = [volume.name for volume in engine.volumes.list()]
    else:
        raise Usage(f"unknown kind {arguments.kind}")
    print("\n".join(names))
    return 0
