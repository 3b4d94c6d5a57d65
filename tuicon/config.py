"""The user's settings: config.toml in the XDG directory; a bad value is said, never fatal."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

_DEFAULT_THEME = "tuicon-dark"


@dataclass(frozen=True, slots=True)
class Config:
    """Settings.

    Attributes:
        theme: A theme's name.
        keys: From a command's id to its keys, comma separated.
        problems: What was wrong, a sentence each.
    """

    theme: str = _DEFAULT_THEME
    keys: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def load(directory: Path, known_commands: set[str]) -> Config:
    """Read config.toml; a missing file gives the defaults."""
    path = directory / "config.toml"
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError) as error:
        return Config(problems=(f"{path} cannot be used: {error}",))
    problems = []
    keys: dict[str, str] = {}
    for command, wanted in content.get("keys", {}).items():
        if command not in known_commands:
            problems.append(f"{path}: there is no command {command!r}")
        elif not isinstance(wanted, str):
            problems.append(f"{path}: the keys of {command} must be text such as 's' or 'ctrl+s,f5'")
        else:
            keys[command] = wanted
    doubles = _doubles(keys)
    problems.extend(f"{path}: the key {key!r} is given to {' and '.join(names)}" for key, names in doubles.items())
    theme = content.get("theme", _DEFAULT_THEME)
    return Config(str(theme), {} if doubles else keys, tuple(problems))


def _doubles(keys: dict[str, str]) -> dict[str, list[str]]:
    owners: dict[str, list[str]] = {}
    for command, text in keys.items():
        for key in text.split(","):
            owners.setdefault(key.strip(), []).append(command)
    return {key: names for key, names in owners.items() if len(names) > 1}
