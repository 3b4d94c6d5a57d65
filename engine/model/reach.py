"""How far packets get from a container to something else."""

from __future__ import annotations

from engine.model.value import Value


class ReachStep(Value, frozen=True):
    """One hop of the way, or one thing that could stop packets there.

    Attributes:
        name: "target", "name", "interface", "port" (the host's end of it, on the bridge), "route", "rate", "firewall", "far port",
            "far interface", "neighbour" (who has the next address), "ping" or "tcp".
        is_ok: None when it was not tried, since an earlier step failed or it does not apply.
        detail: A sentence.
        milliseconds: What it took; None when nothing was waited for.
    """

    name: str
    is_ok: bool | None
    detail: str = ""
    milliseconds: float | None = None


class Reach(Value, frozen=True):
    """The way from a container to something else.

    Attributes:
        source: The container's name.
        target: As it was asked for.
        address: The target's address; empty when there is none.
        port: Of the target; 0 for none.
        steps: In the order of the way.
    """

    source: str
    target: str
    address: str
    port: int
    steps: tuple[ReachStep, ...]

    @property
    def is_reached(self) -> bool:
        """Whether the last step, a ping or a connection, came through."""
        return bool(self.steps) and self.steps[-1].is_ok is True

    @property
    def stopped_at(self) -> str:
        """The name of the step that failed; empty when the target is reached."""
        failed = (step.name for step in self.steps if step.is_ok is False)
        return "" if self.is_reached else next(failed, "")
