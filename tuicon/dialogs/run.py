"""A form for a new container."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import ClassVar

from engine.errors import EngineError
from engine.model.container import ContainerSpec
from engine.model.limits import Limits
from engine.model.network import Attachment, PortMapping
from tuicon.dialogs.form import Field, FieldError, Form
from tuicon.model.units import parse_size

Publish = Callable[[str], tuple[PortMapping, ...]]
_ALONE = ("host", "none")


class RunForm(Form[ContainerSpec]):
    """Asks for image, name, command, environment, networks, ports and limits; None when it was called off."""

    KEYS: ClassVar[str] = "enter run   tab next   esc cancel"

    def __init__(self, image: str, networks: tuple[str, ...], publish: Publish) -> None:
        """Make the form.

        Args:
            image: What stands there at first.
            networks: The names that are offered.
            publish: Parses docker's -p.
        """
        super().__init__("Run a container", (
            Field("image", "Image", "pulled when it is not here", image),
            Field("name", "Name", "made up when empty"),
            Field("command", "Command", "the image's own when empty"),
            Field("env", "Environment", "NAME=VALUE …, quoted as in a shell"),
            Field("networks", "Networks", "NAME …, host, none or container:NAME; bridge when empty", words=networks),
            Field("ports", "Ports", "[[ADDRESS:]HOST:]PORT[/PROTOCOL] …, such as 8080:80"),
            Field("cpus", "CPU limit", "cores, such as 0.5; none when empty"),
            Field("memory", "Memory limit", "such as 256m; none when empty"),
            Field("pids", "Process limit", "such as 100; none when empty"),
        ), begins_with="name" if image else "image")  # fmt: skip
        self._publish = publish

    def answer_of(self, values: Mapping[str, str]) -> ContainerSpec:
        """Return the container that is wanted."""
        return spec_of(values, self._publish)


def spec_of(values: Mapping[str, str], publish: Publish) -> ContainerSpec:
    """Return the container that the fields ask for.

    Raises:
        FieldError: With the field that is wrong.
    """
    if not values["image"]:
        raise FieldError("image", "an image is needed")
    command, env = (_words(name, values[name]) for name in ("command", "env"))
    wrong = next((item for item in env if not item.partition("=")[0] or "=" not in item), None)
    if wrong is not None:
        raise FieldError("env", f"{wrong} is no NAME=VALUE")
    network, *more = values["networks"].replace(",", " ").split() or ["bridge"]
    if more and (network in _ALONE or network.startswith("container:")):
        raise FieldError("networks", f"{network} excludes other networks")
    limits = Limits(
        cpus=_number("cpus", values["cpus"]), memory=_size("memory", values["memory"]),
        pids=int(_number("pids", values["pids"]) or 0) or None,
    )  # fmt: skip
    return ContainerSpec(
        values["image"], name=values["name"], command=command or None, env=env, network=network,
        attachments=tuple(Attachment(name) for name in more), ports=_ports(values["ports"], publish), limits=limits,
        tty=not command,
    )  # fmt: skip


def _words(name: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise FieldError(name, f"malformed: {error}") from None


def _ports(text: str, publish: Publish) -> tuple[PortMapping, ...]:
    try:
        return tuple(mapping for one in text.replace(",", " ").split() for mapping in publish(one))
    except EngineError as error:
        raise FieldError("ports", str(error)) from None


def _number(name: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise FieldError(name, f"{text} is no number") from None


def _size(name: str, text: str) -> int | None:
    try:
        return parse_size(text) if text else None
    except ValueError as error:
        raise FieldError(name, str(error)) from None
