"""What a launcher or a monitor answers, as a document or as an error."""

from __future__ import annotations

from engine.errors import CommandNotExecutable, CommandNotFound, LauncherLost, StartFailed
from engine.linux.light import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FAILURES: dict[str, type[StartFailed]] = {"not-found": CommandNotFound, "not-executable": CommandNotExecutable}


def checked(data: bytes, container_id: str | None = None) -> dict[str, Any]:
    """Return an answer.

    Raises:
        StartFailed: It says that something failed.
        LauncherLost: There is none.
    """
    if not data:
        raise LauncherLost("the container's monitor died before it answered")
    answer: dict[str, Any] = json.loads(data)
    if not answer["ok"]:
        failure = _FAILURES.get(answer["kind"], StartFailed)
        raise failure(answer["message"], errno=answer["errno"], container_id=container_id or "")
    return answer
