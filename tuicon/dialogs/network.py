"""Forms for a new network, and for the limits on a container's traffic."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeVar

from engine.model.limits import Limits
from engine.model.value import Value, field, replace
from tuicon.dialogs.form import Field, FieldError, Form
from tuicon.model.units import parse_duration, parse_size

DRIVERS = ("bridge", "macvlan", "ipvlan")
_Number = TypeVar("_Number", int, float)
_Parsed = ipaddress.IPv4Network | ipaddress.IPv6Network | ipaddress.IPv4Address | ipaddress.IPv6Address
_YES = {"yes": True, "y": True, "no": False, "n": False, "": False}


class NetworkWish(Value, frozen=True):
    """The network that is wanted; the fields are those of NetworkStore.create."""

    name: str
    driver: str = "bridge"
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    internal: bool = False
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ipv6: bool = False
    subnet6: str = ""
    gateway6: str = ""
    ip_range6: str = ""


class NetworkForm(Form[NetworkWish]):
    """Asks for a network."""

    KEYS: ClassVar[str] = "enter create   tab next   esc cancel"

    def __init__(self) -> None:
        super().__init__("Create a network", (
            Field("name", "Name", "letters, digits, _ . -"),
            Field("driver", "Driver", f"{', '.join(DRIVERS)}; bridge when empty", words=DRIVERS),
            Field("subnet", "Subnet", "such as 10.90.0.0/24, fd00:90::/64 too; a free one when empty"),
            Field("gateway", "Gateway", "the host's address in it; the first when empty"),
            Field("range", "Address range", "part of the subnet for containers; all of it when empty"),
            Field("ipv6", "IPv6", "yes: addresses of IPv6 too; no when empty", words=("yes", "no")),
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
    subnets = of_both_kinds("subnet", values["subnet"], ipaddress.ip_network, "10.90.0.0/24")
    ranges = of_both_kinds("range", values["range"], ipaddress.ip_network, "10.90.0.128/25")
    gateways = of_both_kinds("gateway", values["gateway"], ipaddress.ip_address, "10.90.0.1")
    options = _pairs("options", values["options"])
    if driver != "bridge" and "parent" not in options:
        raise FieldError("options", f"{driver} needs an interface of the host: parent=eth0")
    return NetworkWish(
        values["name"], driver, subnets[4], gateways[4], ranges[4], _yes("internal", values["internal"]), options,
        _pairs("labels", values["labels"]), _yes("ipv6", values["ipv6"]), subnets[6], gateways[6], ranges[6],
    )  # fmt: skip


def _yes(name: str, text: str) -> bool:
    if text.lower() not in _YES:
        raise FieldError(name, "yes or no")
    return _YES[text.lower()]


def of_both_kinds(name: str, text: str, parse: Callable[[str], _Parsed], example: str) -> dict[int, str]:
    """Return what stands in a field by the version of IP, 4 and 6; empty for what does not.

    Raises:
        FieldError: It is no address or network, or there are two of one kind.
    """
    found = {4: "", 6: ""}
    for one in text.replace(",", " ").split():
        try:
            version = parse(one).version
        except ValueError as error:
            raise FieldError(name, f"{error}; expected something like {example}") from None
        if found[version]:
            raise FieldError(name, f"{found[version]} and {one} are both of IPv{version}")
        found[version] = one
    return found


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
        hint, burst = (
            "bytes per second, such as 10m; no limit when empty",
            "bytes that may go at once before that holds",
        )
        super().__init__(f"Limit the traffic of {name}", (
            Field("in", "In", hint, _exact(limits.net_rate_in)), Field("out", "Out", hint, _exact(limits.net_rate_out)),
            Field("burst_in", "Burst in", burst, _exact(limits.net_burst_in)),
            Field("burst_out", "Burst out", burst, _exact(limits.net_burst_out)),
            Field("delay", "Delay", "of what it sends, such as 50ms", f"{limits.net_delay / 1000:g}ms" if limits.net_delay else ""),
            Field("loss", "Loss", "percent of its packets that are lost", f"{limits.net_loss:g}" if limits.net_loss else ""),
        ))  # fmt: skip

    def answer_of(self, values: Mapping[str, str]) -> Callable[[Limits], Limits]:
        """Return the change of limits."""
        rates = {
            name: _number(name, values[name], _rate, "bytes per second, such as 512k or 10m") for name in ("in", "out")
        }
        bursts = {
            name: _number(f"burst_{name}", values[f"burst_{name}"], parse_size, "bytes, such as 64k") for name in rates
        }
        for name, rate in rates.items():
            if bursts[name] and not rate:
                raise FieldError(f"burst_{name}", "a burst needs a rate")
        delay = _number(
            "delay", values["delay"], lambda text: round(parse_duration(text) * 1e6), "a time, such as 50ms"
        )
        loss = _number("loss", values["loss"].removesuffix("%"), float, "percent, such as 0.5")

        def change(limits: Limits) -> Limits:
            return replace(
                limits, net_rate_in=rates["in"], net_rate_out=rates["out"], net_burst_in=bursts["in"],
                net_burst_out=bursts["out"], net_delay=delay, net_loss=loss,
            )  # fmt: skip

        return change


def _exact(value: int | None) -> str:
    """Return bytes so that they are read as the same again: 2m, 950k, 1234567; empty for none."""
    if not value:
        return ""
    for letter, factor in (("m", 1 << 20), ("k", 1 << 10)):
        if value % factor == 0:
            return f"{value // factor}{letter}"
    return str(value)


def _rate(text: str) -> int:
    return parse_size(text.lower().removesuffix("/s"))


def _number(name: str, text: str, parse: Callable[[str], _Number], expected: str) -> _Number | None:
    """Return what stands in a field; None when nothing or zero does."""
    try:
        value = parse(text) if text else None
    except ValueError:
        raise FieldError(name, f"{text} is not {expected}") from None
    if value is not None and value < 0:
        raise FieldError(name, f"{text} is below zero")
    return value or None
