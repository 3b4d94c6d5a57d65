"""`tuicon why`: how a container ended, and what is known of the reason."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tuicon.cli import output
from tuicon.model import units
from tuicon.model.causes import account

if TYPE_CHECKING:
    from engine.api import Engine


def why(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon why."""
    at = units.parse_moment(arguments.at, datetime.now(UTC)) if arguments.at else None
    found = engine.containers.causes.why(arguments.container, at)
    if arguments.json:
        output.as_json(found)
        return 0
    for line in account(found):
        print(f"{line.label:<12}  {line.text}".rstrip() if line.label else line.text)
    return 0
