"""Names of containers: docker's grammar, and made-up ones."""

from __future__ import annotations

import random
import re

from engine.errors import InvalidArgument

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
_FIRST = """
amber brisk calm clear cobalt crisp deft eager fleet gentle golden hardy jolly keen lively lucid mellow
nimble patient plucky quiet rapid silver spry steady sunny swift tidy vivid warm witty zesty
""".split()
_SECOND = """
anchor badger beacon birch cedar comet condor coral falcon fern finch fjord gecko harbor heron ibis jetty
kelp lark lynx maple marlin otter pebble pike puffin reef robin seal skiff sparrow tern thistle walrus
willow wren
""".split()


def check(name: str) -> None:
    """Check a name.

    Raises:
        InvalidArgument: It is malformed.
    """
    if not _NAME.fullmatch(name):
        text = (
            f"invalid container name {name!r}: at least two of letters, digits, _ . -, starting with a letter or digit"
        )
        raise InvalidArgument(text)


def made_up() -> str:
    """Return a name that is easy to say."""
    return f"{random.choice(_FIRST)}_{random.choice(_SECOND)}"  # noqa: S311 - no secret
