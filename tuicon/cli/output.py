"""Tables, JSON and docker's --format templates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from engine.model.value import Value, names
from tuicon.cli.failure import Usage
from tuicon.model.text import printable

_PLACEHOLDER = re.compile(r"\{\{\s*(.*?)\s*\}\}")


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, as docker does: three spaces between them; a terminal obeys nothing of them."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [
        max(len(title), *(len(row[place]) for row in rows)) if rows else len(title)
        for place, title in enumerate(titles)
    ]
    for row in (titles, *rows):
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return a record as JSON values."""
    fields = names(value) if isinstance(value, Value) else getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {name: plain(getattr(value, name)) for name in fields}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value


def as_json(value: object, *, is_ascii: bool = False) -> None:
    """Print a value as indented JSON; in ASCII when it has names of images' files, which may be anything."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=is_ascii))


def json_line(value: object) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(plain(value), ensure_ascii=False), flush=True)


def formatted(template: str, records: Iterable[dict[str, Any]]) -> None:
    r"""Print records by a template: `json`, `table {{.A}}\\t{{.B}}`, or text with `{{.A.B}}` and `{{json .A}}`.

    Raises:
        Usage: The template uses what is not there.
    """
    found = list(records)
    if template == "json":
        for record in found:
            json_line(record)
        return
    if template.startswith("table "):
        template = template.removeprefix("table ").replace("\\t", "\t")
        fields = template.split("\t")
        titles = [" ".join(name.lstrip(".").upper() for name in _PLACEHOLDER.findall(part)) for part in fields]
        table(titles, [[fill(part, record) for part in fields] for record in found])
        return
    for record in found:
        print(fill(template.replace("\\t", "\t").replace("\\n", "\n"), record))


def fill(template: str, record: dict[str, Any]) -> str:
    """Return a template with its placeholders filled."""

    def value(match: re.Match[str]) -> str:
        expression = match[1]
        wants_json = expression.startswith("json ")
        found = lookup(record, expression.removeprefix("json ").strip())
        if wants_json or isinstance(found, dict | list):
            return json.dumps(plain(found), ensure_ascii=False)
        if isinstance(found, bool):
            return "true" if found else "false"
        return "<no value>" if found is None else str(found)

    return _PLACEHOLDER.sub(value, template)


def lookup(record: Any, path: str) -> Any:  # noqa: ANN401 - JSON
    """Return what ".A.B" names.

    Raises:
        Usage: There is no such field.
    """
    if not path.startswith("."):
        raise Usage(f"unsupported template {path!r}: only {{{{.Field}}}} and {{{{json .Field}}}} are known")
    found = record
    for name in path.strip(".").split(".") if path != "." else ():
        if isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise Usage(f"the template field {path} does not exist")
    return found
