"""Lists: ps, images, networks, stats."""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import NotFound
from engine.model.container import Container
from engine.model.status import Status
from tuicon.cli import output
from tuicon.cli.failure import Usage
from tuicon.model import units
from tuicon.model.ports import ports_text

if TYPE_CHECKING:
    from engine.api import Engine
    from engine.model.image import Image
    from engine.model.usage import Usage as ResourceUsage

Item = TypeVar("Item")
_COMMAND_WIDTH = 20
_STATS = ("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS")
_STATS_KEYS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")


def status_text(container: Container, now: datetime) -> str:
    """Return docker's status column: "Up 5 minutes", "Exited (0) 3 hours ago"."""
    if container.status is Status.CREATED:
        return "Created"
    if container.status.is_alive and container.status is not Status.RESTARTING and container.started_at:
        return f"Up {units.ago(container.started_at, now)}{_condition(container)}"
    ended = units.ago(container.finished_at, now) if container.finished_at else "some time"
    how = "Restarting" if container.status is Status.RESTARTING else "Exited"
    return f"{how} ({container.exit_code if container.exit_code is not None else 255}) {ended} ago"


def _condition(container: Container) -> str:
    if container.status is Status.PAUSED:
        return " (Paused)"
    if container.health is None:
        return ""
    return " (health: starting)" if container.health.status == "starting" else f" ({container.health.status})"


def filtered(items: Iterable[Item], filters: list[str], tests: dict[str, Callable[[Item, str], bool]]) -> list[Item]:
    """Return the items that fit: filters of one key are alternatives, keys and labels add up, as docker has it.

    Raises:
        Usage: A filter is malformed or unknown.
    """
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals or key not in tests:
            raise Usage(f"unknown filter {text!r}: known are {', '.join(sorted(tests))}")
        wanted.setdefault(key, []).append(value)
    return [
        item
        for item in items
        if all(
            (all if key == "label" else any)(tests[key](item, value) for value in values)
            for key, values in wanted.items()
        )
    ]


def _has_label(labels: dict[str, str], wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)


def _networks_of(container: Container) -> tuple[str, ...]:
    return tuple(dict.fromkeys((container.spec.network, *(item.network for item in container.spec.attachments))))


def _has_port(container: Container, wanted: str) -> bool:
    """Return whether a container publishes one of its ports: "80", "80/udp", "80-90"."""
    ports, _, protocol = wanted.partition("/")
    first, _, last = ports.partition("-")
    if not (first.isdigit() and (last or first).isdigit()):
        raise Usage(f"invalid port {wanted!r} in a filter: expected PORT[-PORT][/PROTOCOL]")
    return any(
        int(first) <= port.port <= int(last or first) and port.protocol == (protocol or "tcp")
        for port in container.ports
    )


_CONTAINER_TESTS: dict[str, Callable[[Container, str], bool]] = {
    "name": lambda container, value: value in container.name,
    "id": lambda container, value: container.id.startswith(value),
    "status": lambda container, value: container.status == value,
    "label": lambda container, value: _has_label(container.spec.labels, value),
    "ancestor": lambda container, value: (
        value in (container.image, container.image_id) or container.image_id.removeprefix("sha256:").startswith(value)
    ),
    "exited": lambda container, value: container.status is Status.EXITED and str(container.exit_code) == value,
    "health": lambda container, value: (container.health.status if container.health else "none") == value,
    "network": lambda container, value: value in _networks_of(container),
    "publish": _has_port,
    "volume": lambda container, value: any(value in (mount.source, mount.target) for mount in container.spec.mounts),
}


def ps(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon ps."""
    count = 1 if arguments.latest else arguments.last
    asks_status = any(item.startswith(("status=", "exited=")) for item in arguments.filter)
    found = filtered(
        engine.containers.list(all=arguments.all or count is not None or asks_status),
        arguments.filter,
        _CONTAINER_TESTS,
    )
    found = found[:count] if count is not None else found
    if arguments.quiet:
        for container in found:
            print(container.id if arguments.no_trunc else container.short_id)
        return 0
    if arguments.json:
        output.as_json(found)
        return 0
    now = datetime.now(UTC)
    records = [_container_record(container, now, whole=arguments.no_trunc) for container in found]
    asks_size = arguments.size or ".Size" in (arguments.format or "")
    for container, record in zip(found, records, strict=True) if asks_size else ():
        record["Size"] = _size_text(engine, container)
    if arguments.format:
        output.formatted(arguments.format, records)
        return 0
    keys = ("ID", "Image", "Command", "CreatedAgo", "Status", "Ports", "Names") + ("Size",) * arguments.size
    titles = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES") + ("SIZE",) * arguments.size
    output.table(titles, [[record[key] for key in keys] for record in records])
    return 0


def _size_text(engine: Engine, container: Container) -> str:
    try:
        own, whole = engine.containers.sizes(container.id)
    except NotFound:
        return ""
    return f"{units.size(own)} (virtual {units.size(whole)})"


def _container_record(container: Container, now: datetime, *, whole: bool) -> dict[str, Any]:
    command = " ".join(container.command)
    if not whole and len(command) > _COMMAND_WIDTH:
        command = command[: _COMMAND_WIDTH - 1] + "…"
    return {
        "ID": container.id if whole else container.short_id,
        "Image": container.image,
        "Command": f'"{command}"',
        "CreatedAt": str(container.created_at),
        "CreatedAgo": f"{units.ago(container.created_at, now)} ago",
        "RunningFor": f"{units.ago(container.created_at, now)} ago",
        "Status": status_text(container, now),
        "State": str(container.status),
        "Names": container.name,
        "Labels": ",".join(f"{name}={value}" for name, value in container.spec.labels.items()),
        "Networks": ",".join(_networks_of(container)),
        "Mounts": ",".join(mount.source or mount.target for mount in container.spec.mounts),
        "Ports": ports_text(container.ports),
        "Size": "",
    }


def _digest_of(image: Image, reference: str) -> str:
    """Return the digest that an image has in the registry of a reference, else that of its manifest."""
    repository = reference.rpartition(":")[0]
    known = (name.rpartition("@") for name in image.repo_digests)
    return next((digest for name, _, digest in known if name == repository), image.digest)


def _check(engine: Engine, arguments: argparse.Namespace, records: list[dict[str, Any]]) -> int:
    """Print for each image whether its registry has a newer one."""
    from engine.errors import EngineError

    rows: list[dict[str, str]] = []
    for record in records:
        if record["Tag"] == "<none>":
            continue
        reference = f"{record['Repository']}:{record['Tag']}"
        try:
            update = engine.registries.check(reference)
            state = "newer image exists" if update.is_available else "up to date" if update.remote else "not there"
        except EngineError as error:
            state = str(error)
        rows.append({"Reference": reference, "ID": record["ID"], "Update": state})
    if arguments.json:
        output.as_json(rows)
    elif arguments.format:
        output.formatted(arguments.format, rows)
    else:
        output.table(("REFERENCE", "IMAGE ID", "UPDATE"), [list(row.values()) for row in rows])
    return 0


def images(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon images."""
    from engine.api import familiar_reference

    now = datetime.now(UTC)
    records: list[dict[str, Any]] = []
    for image in engine.images.list():
        for reference in image.references or ("",):
            name, tag = familiar_reference(reference) if reference else ("<none>", "<none>")
            created = f"{units.ago(image.created_at, now)} ago" if image.created_at else "N/A"
            records.append({
                "Repository": name, "Tag": tag, "ID": image.id if arguments.no_trunc else image.short_id,
                "CreatedSince": created, "CreatedAt": str(image.created_at or ""), "Size": units.size(image.size),
                "Digest": _digest_of(image, reference) or "<none>", "Labels": image.settings.labels,
            })  # fmt: skip
    tests: dict[str, Callable[[dict[str, Any], str], bool]] = {
        "reference": lambda record, value: (
            fnmatch.fnmatch(record["Repository"], value)
            or fnmatch.fnmatch(f"{record['Repository']}:{record['Tag']}", value)
        ),
        "dangling": lambda record, value: (record["Repository"] == "<none>") == (value == "true"),
        "label": lambda record, value: _has_label(record["Labels"], value),
    }
    wanted = [*arguments.filter, *([f"reference={arguments.reference}"] if arguments.reference else [])]
    found = filtered(records, wanted, tests)
    if arguments.check:
        return _check(engine, arguments, found)
    if arguments.quiet:
        for image_id in dict.fromkeys(record["ID"] for record in found):
            print(image_id)
    elif arguments.json:
        output.as_json(found)
    elif arguments.format:
        output.formatted(arguments.format, found)
    else:
        titles = {"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID",
            "CreatedSince": "CREATED", "Size": "SIZE"}  # fmt: skip
        if not arguments.digests:
            del titles["Digest"]
        output.table(tuple(titles.values()), [[record[key] for key in titles] for record in found])
    return 0


def networks(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network ls."""
    records = [
        {"ID": network.id if arguments.no_trunc else network.id[:12], "Name": network.name, "Driver": network.driver,
            "Scope": "local", "Subnet": network.subnet, "Labels": network.labels, "Subnet6": network.subnet6,
            "IPv6": bool(network.subnet6), "Subnets": " ".join(filter(None, (network.subnet, network.subnet6)))}
        for network in engine.networks.list()
    ]  # fmt: skip
    show(arguments, records, ("ID", "Name", "Driver", "Subnets"), ("NETWORK ID", "NAME", "DRIVER", "SUBNET"), "ID")
    return 0


def show(
    arguments: argparse.Namespace,
    records: list[dict[str, Any]],
    keys: tuple[str, ...],
    titles: tuple[str, ...],
    quiet: str,
    more_tests: dict[str, Callable[[dict[str, Any], str], bool]] | None = None,
) -> None:
    """Print records as a list of objects: the filters that all kinds have, and -q, --json and --format.

    Args:
        arguments: What `parser` made of the flags of a list.
        records: The objects, each with a "Name", and "Driver" and "Labels" where there are such.
        keys: The columns of the table.
        titles: Their titles.
        quiet: The key that -q prints.
        more_tests: More filters.
    """
    tests: dict[str, Callable[[dict[str, Any], str], bool]] = {
        "name": lambda record, value: value in record["Name"],
        "driver": lambda record, value: record["Driver"] == value,
        "label": lambda record, value: _has_label(record["Labels"], value),
        **(more_tests or {}),
    }
    found = filtered(records, arguments.filter, tests)
    if arguments.quiet:
        for record in found:
            print(record[quiet])
    elif arguments.json:
        output.as_json(found)
    elif arguments.format:
        output.formatted(arguments.format, found)
    else:
        output.table(titles, [[record[key] for key in keys] for record in found])


def stats(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon stats."""
    if arguments.since:
        from tuicon.cli import history

        return history.show(engine, arguments)
    wanted = {engine.containers.get(ref).id for ref in arguments.containers}
    sampler = engine.containers.sampler()
    streams = not arguments.no_stream
    sampler.sample()
    in_place = streams and sys.stdout.isatty() and not (arguments.json or arguments.format)
    try:
        while True:
            time.sleep(1)
            _print_stats(arguments, _stats_records(engine, arguments, sampler.sample(), wanted), in_place=in_place)
            if not streams:
                return 0
    finally:
        sampler.close()


def _stats_records(
    engine: Engine, arguments: argparse.Namespace, usages: dict[str, ResourceUsage], wanted: set[str]
) -> list[dict[str, Any]]:
    found = []
    for container in engine.containers.list(all=arguments.all or bool(wanted)):
        if wanted and container.id not in wanted:
            continue
        usage = usages.get(container.id)
        cells = _stats_cells(usage)
        short = container.id if arguments.no_trunc else container.short_id
        found.append(dict(zip(_STATS_KEYS, (short, container.name, *cells), strict=True)) | {"usage": usage})
    return found


def _stats_cells(usage: ResourceUsage | None) -> tuple[str, ...]:
    if usage is None:
        return ("0.00%", "0B / 0B", "0.00%", "0B / 0B", "0B / 0B", "0")
    counters = usage.counters
    limit = units.size(counters.memory_limit_bytes) if counters.memory_limit_bytes else "none"
    return (
        f"{usage.cpu_percent:.2f}%",
        f"{units.size(counters.memory_bytes)} / {limit}",
        f"{usage.memory_percent:.2f}%",
        f"{units.size(counters.rx_bytes)} / {units.size(counters.tx_bytes)}",
        f"{units.size(counters.read_bytes)} / {units.size(counters.write_bytes)}",
        str(counters.pids),
    )


def _print_stats(arguments: argparse.Namespace, records: list[dict[str, Any]], *, in_place: bool) -> None:
    if in_place:
        sys.stdout.write("\x1b[H\x1b[J")
    if arguments.json:
        output.json_line(records)
    elif arguments.format:
        output.formatted(arguments.format, records)
    else:
        output.table(_STATS, [[record[key] for key in _STATS_KEYS] for record in records])
    sys.stdout.flush()
