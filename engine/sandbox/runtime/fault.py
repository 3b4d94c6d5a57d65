"""The one error of the command: what was asked for cannot be done."""

from __future__ import annotations


class Fault(Exception):
    """The command fails; str() is one sentence that names the field, the path or the container.

    Attributes:
        exit_code: What the command ends with.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
