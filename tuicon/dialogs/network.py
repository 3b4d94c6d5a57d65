"""Forms for a new network, and for the limits on a container's traffic."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from engine.model.limits import Limits
from tuicon.dialogs.form import Field, FieldError, Form
from tuicon.model.units import parse_size, short_size

DRIVERS = ("bridge", "macvlan")
_YES = {"yes": True, "y": True, "no": False, "n": False, "": False}


@dataclass(frozen=True, slots=True)
class NetworkWish:
    """The network that is wanted; the fields are those of NetworkStore.create."""

    name: str
    driver: str = "bridge"
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    internal: bool = False
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


class NetworkForm(Form[NetworkWish]):
    """Asks for a network."""

    KEYS: ClassVar[str] = "enter create   tab next   esc cancel"

    def __init__(self) -> None:
        super().__init__("Create a network", (
            Field("name", "Name", "letters, digits, _ . -"),
            Field("driver", "Driver", f"{', '.join(DRIVERS)}; bridge when empty", words=DRIVERS),
            Field("subnet", "Subnet", "such as 10.90.0.0/24; a free one when empty"),
            Field("gateway", "Gateway", "the host's address in it; the first when empty"),
            Field("range", "Address range", "part of the subnet for containers; all of it when empty"),
            Field("internal", "Internal", "yes: no way out; no when empty", words=("yes", "no")),
            Field("options", "Options", "NAME=VALUE …, such as mtu=1400, parent=eth0"),
            Field("labels", "Labels", "NAME=VALUE …"),
        ))  # fmt: skip

    def answer_of(self, values: Mapping[str, str]) -> NetworkWish:
        """Return the network that is wanted."""
        return wish_of(values)


def wish_of(values: Mapping[str, str]) -> NetworkWish:
    """Return the network that the fields ask for.

    Raises:
        FieldError: What stands in one makes no sense.
    """
    if not values["name"]:
        raise FieldError("name", "a name is needed")
    driver = values["driver"] or DRIVERS[0]
    if driver not in DRIVERS:
        raise FieldError("driver", f"there is no driver {driver}: {', '.join(DRIVERS)}")
    for name in ("subnet", "range"):
        _check(name, values[name], ipaddress.ip_network, "10.90.0.0/24")
    _check("gateway", values["gateway"], ipaddress.ip_address, "10.90.0.1")
    is_internal = _YES.get(values["internal"].lower())
    if is_internal is None:
        raise FieldError("internal", "yes or no")
    options = _pairs("options", values["options"])
    if driver != "bridge" and "parent" not in options:
        raise FieldError("options", f"{driver} needs an interface of the host: parent=eth0")
    return NetworkWish(
        values["name"], driver, values["subnet"], values["gateway"], values["range"], is_internal, options,
        _pairs("labels", values["labels"]),
    )  # fmt: skip


def _check(name: str, text: str, parse: Callable[[str], object], example: str) -> None:
    try:
        parse(text) if text else None
    except ValueError as error:
        raise FieldError(name, f"{error}; expected something like {example}") from None


def _pairs(name: str, text: str) -> dict[str, str]:
    try:
        items = shlex.split(text)
    except ValueError as error:
        raise FieldError(name, f"malformed: {error}") from None
    wrong = next((item for item in items if not item.partition("=")[0] or "=" not in item), None)
    if wrong is not None:
        raise FieldError(name, f"{wrong} is no NAME=VALUE")
    return {key: value for key, _, value in (item.partition("=") for item in items)}


class RatesForm(Form[Callable[[Limits], Limits]]):
    """Asks for the limits on a container's traffic; answers with the change."""

    KEYS: ClassVar[str] = "enter limit, at once   tab next   esc cancel"

    def __init__(self, name: str, limits: Limits) -> None:
        def text(value: int | None) -> str:
            return short_size(value).lower().removesuffix("b") if value else ""

        hint = "bytes per second, such as 10m; no limit when empty"
        super().__init__(f"Limit the traffic of {name}", (
            Field("in", "In", hint, text(limits.net_rate_in)), Field("out", "Out", hint, text(limits.net_rate_out)),
        ))  # fmt: skip

    def answer_of(self, values: Mapping[str, str]) -> Callable[[Limits], Limits]:
        """Return the change of limits."""
        rate_in, rate_out = (_rate(name, values[name]) for name in ("in", "out"))

        def change(limits: Limits) -> Limits:
            return replace(limits, net_rate_in=rate_in, net_rate_out=rate_out)

        return change


def _rate(name: str, text: str) -> int | None:
    try:
        rate = parse_size(text.lower().removesuffix("/s")) if text else 0
    except ValueError:
        raise FieldError(name, f"{text} is no rate: bytes per second, such as 512k or 10m") from None
    if rate < 0 or 0 < rate < 1024:
        raise FieldError(name, "the least is 1k")
    return rate or None
