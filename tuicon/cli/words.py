"""Words that several commands' flags are made of: simple flags, lists, NAME=VALUE pairs, files of them."""

from __future__ import annotations

import os

from tuicon.cli.failure import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    Flags: TypeAlias = argparse.ArgumentParser | argparse._ArgumentGroup  # noqa: SLF001 - argparse has no name for it


class Later:
    """A module of flags that is loaded when the first of its functions adds its flags to a parser."""

    def __init__(self, module: str, package: str = "tuicon.cli") -> None:
        self._module = f"{package}.{module}"

    def __getattr__(self, name: str) -> Callable[[argparse.ArgumentParser], None]:
        """Return what adds the flags."""

        def add(parser: argparse.ArgumentParser) -> None:
            from importlib import import_module

            getattr(import_module(self._module), name)(parser)

        return add


def path(text: str) -> Path:
    """Return a path, for argparse."""
    from pathlib import Path

    return Path(text)


def add_flag(parser: Flags, *names: str, help: str) -> None:  # noqa: A002 - argparse's word
    """Add a flag without a value."""
    parser.add_argument(*names, action="store_true", help=help)


def add_list(parser: Flags, *names: str, metavar: str, help: str) -> None:  # noqa: A002 - argparse's word
    """Add a flag that may be given several times."""
    parser.add_argument(*names, action="append", default=[], metavar=metavar, help=help)


def pairs(items: list[str]) -> dict[str, str]:
    """Return NAME=VALUE items as a dictionary."""
    return {name: value for name, _, value in (item.partition("=") for item in items)}


def environment(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return NAME=VALUE items of --env-file and -e; a bare NAME takes our own value.

    Raises:
        Usage: A file cannot be read, or a line is malformed.
    """
    items = [*_lines(arguments.env_file, "env file"), *arguments.env]
    return tuple(
        item if "=" in item else f"{item}={os.environ[item]}" for item in items if "=" in item or item in os.environ
    )


def labels(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the labels of --label-file and --label.

    Raises:
        Usage: A file cannot be read, or a line is malformed.
    """
    return pairs([*_lines(arguments.label_file, "label file"), *arguments.label])


def _lines(names: list[str], what: str) -> list[str]:
    """Return the lines of files in docker's format: no quotes, comments only at the start, values as they stand."""
    found: list[str] = []
    for name in names:
        try:
            with open(name, encoding="utf-8-sig") as file:
                text = file.read()
        except UnicodeDecodeError as error:
            raise Usage(f"the {what} {name} is not UTF-8") from error
        except OSError as error:
            raise Usage(f"cannot read the {what} {name}: {error.strerror}") from error
        for number, line in enumerate(text.split("\n"), 1):
            item = line.removesuffix("\r").lstrip(" \t")
            variable = item.partition("=")[0]
            if not item or item.startswith("#"):
                continue
            if not variable or any(sign.isspace() for sign in variable):
                raise Usage(f"line {number} of the {what} {name} has the malformed name {variable!r}")
            found.append(item)
    return found
