"""When and how soon a container that has ended is started again; docker's rules."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

SHORTEST, LONGEST = 0.1, 60.0
_SETTLED_AFTER = 10.0


class RestartPolicy:
    """One container's policy, and what it has come to.

    Attributes:
        count: How often the container was started again.
    """

    def __init__(self, settings: Document) -> None:
        self.change(settings)
        self._pause = 0.0
        self.count = 0

    def change(self, settings: Document) -> None:
        """Follow another policy from now on; what was counted stays."""
        self._name = str(settings.get("name") or "no")
        self._attempts = int(settings.get("attempts") or 0)

    def wants(self, exit_code: int) -> bool:
        """Return whether the container is to be started again after it ended with this code."""
        if self._name == "on-failure":
            return exit_code != 0 and (not self._attempts or self.count < self._attempts)
        return self._name in ("always", "unless-stopped")

    def next_pause(self, lasted: float) -> float:
        """Return the seconds to wait before the next start, after a run of so many seconds.

        Each pause is twice the one before; a run that lasted begins anew.
        """
        is_settled = lasted >= _SETTLED_AFTER or not self._pause
        self._pause = SHORTEST if is_settled else min(2 * self._pause, LONGEST)
        return self._pause
