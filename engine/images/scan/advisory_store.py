"""The databases of advisories of a state root, for those outside this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.images.scan import database, ignore
from engine.model.packages import Database, IgnoreRule
from engine.store.paths import Paths


class AdvisoryStore:
    """Imports, lists and removes databases; all of it works without a network."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def import_from(self, source: Path, name: str = "", *, progress: Callable[[int], None] | None = None) -> Database:
        """Import a dump in the OSV format: a zip, a directory or a JSON file; it replaces the one of its name.

        Raises:
            InvalidArgument: There is no such file, it is damaged, or has no advisory; nothing is kept.
        """
        return database.import_database(self._paths, source, name, progress)

    def list(self) -> tuple[Database, ...]:
        """Return the databases, by name."""
        return database.databases(self._paths)

    def remove(self, name: str) -> None:
        """Remove a database.

        Raises:
            InvalidArgument: There is none of this name.
        """
        database.remove(self._paths, name)

    def ignore_rules(self, path: Path) -> tuple[IgnoreRule, ...]:
        """Return the rules of an ignore file.

        Raises:
            InvalidArgument: It cannot be read or is malformed.
        """
        return ignore.read(path)
