"""What one more command in a container runs as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.linux import capabilities
from engine.model.container import ExecSpec
from engine.store import records


def exec_process(bundle: Path, spec: ExecSpec) -> dict[str, Any]:
    """Return `process` of one more command: the container's, with what is asked for."""
    process: dict[str, Any] = records.load_json(bundle / "config.json")["process"]
    process |= {"terminal": spec.tty, "args": list(spec.command), "env": [*process["env"], *spec.env]}
    if spec.tty and not any(item.startswith("TERM=") for item in process["env"]):
        process["env"].append("TERM=xterm")
    if spec.user is not None:
        process["user"] = {**process["user"], "username": spec.user}
    if spec.workdir:
        process["cwd"] = spec.workdir
    if spec.privileged:
        every = [f"CAP_{name}" for name in capabilities.available()]
        process["capabilities"] = {
            **process["capabilities"],
            **dict.fromkeys(("bounding", "effective", "permitted"), every),
        }
        process["noNewPrivileges"] = False
        if process.get("apparmorProfile"):
            process["apparmorProfile"] = "unconfined"
    return process
