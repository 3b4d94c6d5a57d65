"""Themes from TOML files: one colour is enough, the rest is derived; a bad file is said, never fatal."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

from textual.color import Color, ColorParseError
from textual.theme import Theme

_COLORS = (
    "primary",
    "secondary",
    "warning",
    "error",
    "success",
    "accent",
    "foreground",
    "background",
    "surface",
    "panel",
)
_KNOWN = {"dark", "variables", *_COLORS}


def directories() -> tuple[Path, ...]:
    """Return where themes are: in a checkout beside the package, in an installation inside it."""
    package = Path(__file__).resolve().parent
    return tuple(path for path in (package / "themes", package.parent / "themes") if path.is_dir())[:1]


def load(paths: tuple[Path, ...]) -> tuple[tuple[Theme, ...], tuple[str, ...]]:
    """Return the themes in directories, and a sentence for each file that cannot be used."""
    themes, problems = [], []
    for path in (file for directory in paths if directory.is_dir() for file in sorted(directory.glob("*.toml"))):
        try:
            themes.append(parse(f"tuicon-{path.stem}", path.read_text()))
        except (OSError, ValueError) as error:
            problems.append(f"theme {path.name} cannot be used: {error}")
    return tuple(themes), tuple(problems)


def parse(name: str, text: str) -> Theme:
    """Return a theme.

    Raises:
        ValueError: It is no TOML, lacks the primary colour, or has a malformed or unknown value.
    """
    content = tomllib.loads(text)
    unknown = set(content) - _KNOWN
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}")
    if "primary" not in content:
        raise ValueError("the primary colour is missing")
    for key in _COLORS:
        try:
            Color.parse(str(content.get(key, "#000000")))
        except ColorParseError:
            raise ValueError(f"{key} is no colour: {content[key]!r}") from None
    known = {field.name for field in fields(Theme)}
    values = {key: content[key] for key in (*_COLORS, "dark") if key in content and key in known}
    theme = Theme(name=name, **values)
    theme.variables = {"muted": _muted(theme), **content.get("variables", {})}
    return theme


def _muted(theme: Theme) -> str:
    """Return the colour of what matters less: between text and background, as one that needs no blending."""
    colors = theme.to_color_system().generate()
    return Color.parse(colors["background"]).blend(Color.parse(colors["foreground"]), 0.66).hex
