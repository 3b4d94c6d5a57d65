"""Where the user's own files are (XDG base directories)."""

from __future__ import annotations

import os
from pathlib import Path


def config_directory() -> Path:
    """Return the directory of the user's settings, themes and keymap."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(base if base.startswith("/") else Path.home() / ".config") / "tuicon"
