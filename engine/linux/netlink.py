"""Bridges and dumps through pyroute2: everything about links that a container's start does not need.

pyroute2 is imported when the first function runs; its import costs more than a container's start. Its
synchronous interface must not run inside an event loop, so callers are plain threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.model.value import Value

_NO_DUPLICATE_DETECTION = 0x02  # IFA_F_NODAD, uapi linux/if_addr.h


class Link(Value, frozen=True):
    """An interface of the host."""

    index: int
    name: str
    kind: str
    is_up: bool
    master: int
    mac: str


def _route() -> Any:  # noqa: ANN401 - pyroute2 has no types
    from pyroute2 import IPRoute

    return IPRoute()


@contextmanager
def alone() -> Iterator[None]:
    """Keep all others on this host from choosing a subnet, until ours has its route; the kernel frees it with the process."""
    fd = os.open("/sys/class/net", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def ensure_bridge(name: str, addresses: list[tuple[str, int]], mtu: int, mac: str) -> None:
    """Make a bridge with addresses and bring it up; it is fine when it is there already.

    Without a hardware address of its own a bridge takes that of a port, and another one when ports come and go: what
    containers send meanwhile is lost. Its IPv6 address is ours alone, and in use at once: without a port a bridge could
    not ask whether somebody else has it (RFC 4862, section 5.4).

    Args:
        name: The bridge.
        addresses: Each with the length of its prefix.
        mtu: Of what it forwards.
        mac: "aa:bb:…".

    Raises:
        OSError: With the kernel's words.
    """
    with _route() as route:
        found = route.link_lookup(ifname=name)
        if not found:
            try:
                route.link("add", ifname=name, kind="bridge", mtu=mtu, address=mac)
            except Exception as error:
                if getattr(error, "code", None) != errno.EEXIST:
                    raise _as_os_error(error, name) from error
            found = route.link_lookup(ifname=name)
        index = found[0]
        for address, prefix_length in addresses:
            flags = {}
            if ":" in address:
                _switch_ipv6_on(name)
                flags = {"flags": _NO_DUPLICATE_DETECTION}
            try:
                route.addr("add", index=index, address=address, prefixlen=prefix_length, **flags)
            except Exception as error:
                if getattr(error, "code", None) != errno.EEXIST:
                    raise _as_os_error(error, name) from error
        route.link("set", index=index, state="up")


def _switch_ipv6_on(name: str) -> None:
    """Let an interface have IPv6 addresses, whatever the host's default for new ones is."""
    with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w", encoding="ascii") as file:
        file.write("0")


def delete_link(name: str) -> None:
    """Delete an interface; it is fine when there is none."""
    with _route() as route:
        for index in route.link_lookup(ifname=name):
            try:
                route.link("del", index=index)
            except Exception as error:
                if getattr(error, "code", None) != errno.ENODEV:
                    raise _as_os_error(error, name) from error


def links() -> tuple[Link, ...]:
    """Return the host's interfaces."""
    with _route() as route:
        return tuple(
            Link(
                index=message["index"],
                name=message.get_attr("IFLA_IFNAME") or "",
                kind=(message.get_attr("IFLA_LINKINFO") or _Empty()).get_attr("IFLA_INFO_KIND") or "",
                is_up=message["state"] == "up",
                master=message.get_attr("IFLA_MASTER") or 0,
                mac=message.get_attr("IFLA_ADDRESS") or "",
            )
            for message in route.get_links()
        )


def subnets() -> tuple[str, ...]:
    """Return the destinations that the host has routes to, in CIDR form, without the default routes.

    Those of IPv6 that every interface has, for its neighbours and for multicast, are left out.
    """
    with _route() as route:
        messages = [message for family in (2, 10) for message in route.get_routes(family=family)]
        found = ((message.get_attr("RTA_DST"), message["dst_len"]) for message in messages)
        return tuple(
            f"{destination}/{length}"
            for destination, length in found
            if destination and not destination.startswith(("fe80:", "ff"))
        )


class _Empty:
    """Stands for an absent nested attribute."""

    def get_attr(self, _name: str) -> None:
        """Return nothing."""


def _as_os_error(error: Exception, name: str) -> OSError:
    number = getattr(error, "code", None) or errno.EIO
    return OSError(number, f"{error}", name)
