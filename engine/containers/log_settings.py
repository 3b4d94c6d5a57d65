"""What a container's monitor must know to keep its output: docker's log options, resolved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from engine.containers import journals
from engine.containers.records import Record
from engine.errors import InvalidArgument
from engine.model.image import Image
from engine.oci import runtime_config

_FIELD = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_SHORT = 12


def settings_of(record: Record, image: Image, path: Path) -> dict[str, Any]:
    """Return "log" of monitor.json.

    Raises:
        NotSupported: The journal is asked for, and is not there.
    """
    log = record.spec.log
    tag = tag_of(log.tag or "{{.ID}}", record)
    attributes = attributes_of(record, image)
    if log.driver == "json-file" and log.tag:
        attributes["tag"] = tag
    if log.driver == "journald":
        journals.check()
        return {"driver": log.driver, "socket": journals.SOCKET, "fields": journals.fields_of(record, tag, attributes)}
    return {"path": str(path), "driver": log.driver, "max_size": log.max_size, "max_file": log.max_file,
        "attributes": attributes}  # fmt: skip


def attributes_of(record: Record, image: Image) -> dict[str, str]:
    """Return the labels and variables, the image's among them, that are kept with each entry."""
    spec = record.spec
    labels = {**image.settings.labels, **spec.labels}
    items = runtime_config.environment_of(spec, image.settings, spec.hostname)
    variables = dict(item.split("=", 1) for item in items)
    found = {name: labels[name] for name in spec.log.labels if name in labels}
    return found | {name: variables[name] for name in spec.log.env if name in variables}


def tag_of(template: str, record: Record) -> str:
    """Return a tag: docker's template with what is known of the container.

    Raises:
        InvalidArgument: It names something that is not known.
    """
    image_id = record.image_id.partition(":")[2]
    fields = {".ID": record.id[:_SHORT], ".FullID": record.id, ".Name": record.name, ".ImageID": image_id[:_SHORT],
        ".ImageFullID": record.image_id, ".ImageName": record.image, ".DaemonName": "tuicon"}  # fmt: skip

    def value(match: re.Match[str]) -> str:
        if match[1] not in fields:
            raise InvalidArgument(f"unknown field {match[0]} in the log tag: known are {', '.join(fields)}")
        return fields[match[1]]

    return _FIELD.sub(value, template)
