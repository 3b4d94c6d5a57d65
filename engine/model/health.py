"""Health: how it is checked whether a container does its work, and what the checks said."""

from __future__ import annotations

from datetime import datetime

from engine.model.value import Value


class HealthCheck(Value, frozen=True):
    """A command that says whether a container does its work (image-spec and docker's HEALTHCHECK).

    Attributes:
        test: ("CMD", program, argument…), ("CMD-SHELL", line) or ("NONE",); () takes the image's.
        interval: Seconds between two checks; 0 takes the image's or 30.
        timeout: Seconds a check may take; 0 takes the image's or 30.
        retries: Failures in a row that make it unhealthy; 0 takes the image's or 3.
        start_period: Seconds at the start in which failures do not count.
        start_interval: Seconds between two checks in the start period; 0 takes the image's or 5.
    """

    test: tuple[str, ...] = ()
    interval: float = 0.0
    timeout: float = 0.0
    retries: int = 0
    start_period: float = 0.0
    start_interval: float = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether there is something to check."""
        return self.test[:1] in (("CMD",), ("CMD-SHELL",)) and len(self.test) > 1

    def completed_by(self, image: HealthCheck) -> HealthCheck:
        """Return this check with the image's values for what it does not say; an image's that is none is ignored."""
        names = ("test", "interval", "timeout", "retries", "start_period", "start_interval")
        if not image.is_wanted:
            return self
        return HealthCheck(**{name: getattr(self, name) or getattr(image, name) for name in names})


class HealthResult(Value, frozen=True):
    """What one check said.

    Attributes:
        exit_code: 0 is healthy; -1 when it took too long or could not run.
        output: The first 4096 bytes that it wrote.
    """

    started_at: datetime
    finished_at: datetime
    exit_code: int
    output: str = ""


class Health(Value, frozen=True):
    """Where a container stands.

    Attributes:
        status: "starting", "healthy" or "unhealthy".
        failing_streak: Failures in a row.
        log: The last five results, oldest first.
    """

    status: str
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()
