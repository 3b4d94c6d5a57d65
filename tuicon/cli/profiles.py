"""`tuicon profile`: limits of many containers from a TOML file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tuicon.cli import output
from tuicon.cli.failure import Exit, complain
from tuicon.cli.tuning import print_previews
from tuicon.model.profiles import load, matched, parse

if TYPE_CHECKING:
    from engine.api import Engine


def profile(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon profile apply."""
    wanted = parse(load(arguments.file))
    changes = matched(wanted, [container.name for container in engine.containers.list()])
    tuning = engine.containers.tuning
    previews = tuning.preview_all(changes)
    shortage = "" if wanted.may_overcommit else tuning.shortage(previews)
    refused = [preview for preview in previews if preview.refusal and not arguments.force]
    if arguments.dry_run or refused or shortage:
        if arguments.json:
            output.as_json(previews)
        else:
            print_previews(previews)
        if shortage:
            complain(shortage, "say overcommit = true in the profile when that is meant")
        if refused or shortage:
            raise Exit(1)
        return 0
    for done in tuning.update_all(changes, force=arguments.force, how="profile", seconds=arguments.trial or 0.0):
        print(engine.containers.get(done.container_id).name)
    return 0
