"""Which lines of our nftables table, as nft lists it, concern a network; pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

_BLOCK = re.compile(r"\s*(map|set|chain) (\S+) \{")
_ADDRESS = re.compile(r"[0-9a-fA-F:.]+(?:/[0-9]+)?")
_DECLARES = ("type ", "flags ", "typeof ", "policy ", "size ")


def concerning(listing: str, bridge: str, subnets: tuple[str, ...]) -> tuple[str, ...]:
    """Return "chain NAME: RULE" and "map NAME: ELEMENT" for each line that names a network's bridge, or an address in it.

    A rule that looks into a map with such an element is one of them.

    Args:
        listing: What nft lists of the table.
        bridge: The network's bridge.
        subnets: CIDR of its addresses.
    """
    within = [ipaddress.ip_network(subnet) for subnet in subnets if subnet]
    found: list[str] = []
    used: set[str] = set()
    for kind, name, text in _statements(listing):
        if text.startswith("elements = "):
            mine = [one for one in _elements(text) if _mentions(one, within)]
            used |= {f"@{name}"} if mine else set()
            found += [f"{kind} {name}: {one}" for one in mine]
        elif f'"{bridge}"' in text or _mentions(text, within) or used & {*text.split()}:
            found.append(f"{kind} {name}: {text}")
    return tuple(found)


def _statements(listing: str) -> Iterator[tuple[str, str, str]]:
    """Yield (kind and name of the block, statement); nft breaks long lists into lines, which are joined again."""
    kind = name = text = ""
    for line in listing.splitlines():
        begins = _BLOCK.fullmatch(line)
        if begins:
            kind, name = begins[1], begins[2]
            continue
        text = f"{text} {line.strip()}".strip()
        if text.count("{") > text.count("}"):
            if text.startswith("table "):
                text = ""
            continue
        if kind and text and text != "}" and not text.startswith(_DECLARES):
            yield kind, name, text
        text = ""


def _elements(text: str) -> list[str]:
    return [one.strip() for one in text.partition("{")[2].rpartition("}")[0].split(",")]


def _mentions(text: str, within: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    for word in _ADDRESS.findall(text):
        try:
            found = ipaddress.ip_network(word, strict=False)
        except ValueError:
            continue
        if any(found.version == one.version and found.subnet_of(one) for one in within):  # type: ignore[arg-type]
            return True
    return False
