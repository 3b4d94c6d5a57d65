"""Verbs on images."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.model.image import ImageSettings
from tuicon.cli.failure import Usage, complain

if TYPE_CHECKING:
    from engine.api import Engine


def load(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon load."""
    from engine.api import familiar_reference

    if arguments.input is None and sys.stdin.isatty():
        raise Usage("load: give an archive with -i, or on stdin")
    for image in engine.images.load(arguments.input or sys.stdin.buffer):
        if arguments.quiet:
            continue
        for reference in image.references:
            print(f"Loaded image: {':'.join(familiar_reference(reference))}")
        if not image.references:
            print(f"Loaded image ID: {image.id}")
    return 0


def import_(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon import."""
    source = sys.stdin.buffer if arguments.source == "-" else Path(arguments.source)
    image = engine.images.import_rootfs(source, arguments.reference, settings=_settings(arguments.change))
    print(image.id)
    return 0


def _settings(changes: list[str]) -> ImageSettings:
    settings = ImageSettings()
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        rest = rest.strip()
        match word.upper():
            case "CMD":
                settings = replace(settings, command=_command(rest))
            case "ENTRYPOINT":
                settings = replace(settings, entrypoint=_command(rest))
            case "ENV":
                name, equals, value = rest.partition("=")
                item = f"{name}={value}" if equals else "=".join(rest.split(" ", 1))
                settings = replace(settings, env=(*settings.env, item))
            case "USER":
                settings = replace(settings, user=rest)
            case "WORKDIR":
                settings = replace(settings, workdir=rest)
            case "LABEL":
                name, _, value = rest.partition("=")
                settings = replace(settings, labels={**settings.labels, name: value.strip('"')})
            case _:
                raise Usage(f"unsupported change {change!r}: CMD, ENTRYPOINT, ENV, USER, WORKDIR and LABEL are known")
    return settings


def _command(text: str) -> tuple[str, ...]:
    """Return the exec form, or the shell form wrapped in a shell."""
    if text.startswith("["):
        try:
            return tuple(str(item) for item in json.loads(text))
        except ValueError as error:
            raise Usage(f"malformed command {text!r}: {error}") from error
    return ("/bin/sh", "-c", text) if shlex.split(text) else ()


def rmi(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon rmi."""
    failed = 0
    for ref in arguments.images:
        try:
            for line in engine.images.remove(ref, force=arguments.force):
                print(line)
        except EngineError as error:
            complain(str(error), error.hint)
            failed = 1
    return failed


def tag(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon tag."""
    engine.images.tag(arguments.image, arguments.reference)
    return 0
