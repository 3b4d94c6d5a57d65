"""`state`, `list` and `ps`: what is known of containers."""

from __future__ import annotations

import json
import os

from engine.linux import files
from engine.sandbox.runtime.fault import Fault
from engine.sandbox.runtime.state import DEFAULT_ROOT, Container, all_containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.sandbox.runtime.arguments import Arguments
    from engine.sandbox.runtime.log import Log

    Document = dict[str, Any]

_PS = "/usr/bin/ps"


def write(text: str) -> None:
    """Write to stdout."""
    files.write_all(1, text.encode())


def run_state(arguments: Arguments, _log: Log) -> int:
    """Write a container's state (runtime-spec runtime.md, "State")."""
    container = Container.named_by(arguments)
    write(json.dumps(_full_state(container), indent=2) + "\n")
    return 0


def _full_state(container: Container) -> Document:
    record = container.record
    return {**container.oci_state(), "rootfs": record.get("rootfs") or "", "created": record.get("created") or "",
        "owner": _user_name(int(record.get("owner") or 0))}  # fmt: skip


def _user_name(uid: int) -> str:
    for line in files.read_file("/etc/passwd").decode(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(uid):
            return fields[0]
    return str(uid)


def run_list(arguments: Arguments, _log: Log) -> int:
    """Write the containers of the root: as a table, as JSON, or only their IDs."""
    containers = all_containers(arguments.text("root", DEFAULT_ROOT))
    form = arguments.text("format", "table")
    if arguments.has("quiet"):
        write("".join(f"{container.container_id}\n" for container in containers))
        return 0
    states = [_full_state(container) for container in containers]
    if form == "json":
        write(json.dumps(states) + "\n")
    elif form == "table":
        fields = ("id", "pid", "status", "bundle", "created", "owner")
        write(
            _table(
                [[field.upper() for field in fields], *([str(state[field]) for field in fields] for state in states)]
            )
        )
    else:
        raise Fault(f"--format is table or json, not {form!r}")
    return 0


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def run_ps(arguments: Arguments, _log: Log) -> int:
    """Write the container's processes: their pids as JSON, or what the host's ps says of them."""
    container = Container.named_by(arguments)
    pids = container.group.all_pids()
    form = arguments.text("format", "table")
    if form == "json":
        write(json.dumps(pids) + "\n")
        return 0
    if form != "table":
        raise Fault(f"--format is table or json, not {form!r}")
    lines = _run_ps(arguments.operands[1:] or ["-ef"])
    heading = lines[0].split()
    if "PID" not in heading:
        raise Fault("ps shows no column PID with these options")
    column = heading.index("PID")
    wanted = {str(pid) for pid in pids}
    shown = [line for line in lines[1:] if len(line.split()) > column and line.split()[column] in wanted]
    write("\n".join([lines[0], *shown]) + "\n")
    return 0


def _run_ps(options: list[str]) -> list[str]:
    output, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(_PS, ["ps", *options], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 1)])
    except FileNotFoundError:
        raise Fault(f"{_PS} is not installed; --format json works without it") from None
    finally:
        os.close(theirs)
    said = b""
    while part := os.read(output, 1 << 16):
        said += part
    os.close(output)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or not said:
        raise Fault(f"ps {' '.join(options)} failed")
    return said.decode(errors="replace").splitlines()
