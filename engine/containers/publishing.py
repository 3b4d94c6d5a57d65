"""To which of a container's networks its published ports lead, and having its monitor follow when that changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.containers import session
from engine.containers.records import State
from engine.errors import Conflict
from engine.networks.firewall import Firewall

_ANSWERS_WITHIN = 60.0
ATTACH = "attach.sock"


def lead(endpoints: list[dict[str, Any]], firewall: Firewall) -> dict[str, Any] | None:
    """Have published ports lead to the first endpoint with a way out through the host; return it when none had them."""
    if any(endpoint.get("reflects") for endpoint in endpoints):
        return None
    chosen = next((endpoint for endpoint in endpoints if endpoint["bridge"] and endpoint["gateway"]), None)
    if chosen:
        chosen["reflects"] = True
        firewall.route_loopback(chosen["bridge"])
    return chosen


def follow(running: Path, state: State) -> None:
    """Have a container's monitor publish its ports where networking.json says by now; its next run looks by itself.

    Raises:
        Conflict: The monitor is not there, or a port cannot be had.
    """
    with session.connect(running / ATTACH) as channel:
        answer = channel.ask_to_follow(lambda: state.is_alive, _ANSWERS_WITHIN)
    if answer and (error := json.loads(answer)["error"]):
        raise Conflict(error)
