"""The flags of the verbs on networks."""

from __future__ import annotations

import argparse

from engine.model.network import Attachment
from engine.model.value import replace
from tuicon.cli.failure import Usage
from tuicon.cli.words import add_flag, add_list

_SINGLE = ("name", "ip", "ip6", "mac-address")


def create(parser: argparse.ArgumentParser) -> None:
    """Add the flags of network create."""
    add_list(parser, "--subnet", metavar="CIDR", help="its addresses, of IPv4 and of IPv6; default a free /24")
    add_list(parser, "--gateway", metavar="ADDRESS", help="the host's address in it; default the first")
    add_list(parser, "--ip-range", metavar="CIDR", help="part of the subnet for containers")
    add_flag(parser, "--ipv6", help="IPv6 addresses too; without a subnet of them a free private /64")
    add_list(parser, "--aux-address", metavar="NAME=ADDRESS", help="an address that no container gets")
    add_list(parser, "-o", "--opt", metavar="NAME=VALUE", help="an option, such as com.docker.network.driver.mtu=1400")
    add_flag(parser, "--internal", help="no way out")
    parser.add_argument(
        "-d", "--driver", default="bridge", choices=("bridge", "macvlan", "ipvlan"), help="kind of network"
    )
    add_list(parser, "--label", metavar="NAME=VALUE", help="set a label")
    parser.add_argument("name", metavar="NAME")


def addresses_of(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the subnets, gateways and ranges of network create, those of IPv6 with a 6 at the end of their name.

    Raises:
        Usage: There are two of a family.
    """
    found: dict[str, str] = {}
    for name in ("subnet", "gateway", "ip_range"):
        for text in getattr(arguments, name):
            key = f"{name}6" if ":" in text else name
            if key in found:
                raise Usage(f"a network has one {name} of each family, not {found[key]} and {text}")
            found[key] = text
    return found


def connect(parser: argparse.ArgumentParser) -> None:
    """Add the flags of network connect."""
    add_attachment(parser)
    add_list(parser, "--alias", metavar="NAME", help="one more name in the network")
    parser.add_argument("network", metavar="NETWORK")
    parser.add_argument("container", metavar="CONTAINER")


def disconnect(parser: argparse.ArgumentParser) -> None:
    """Add the flags of network disconnect."""
    add_flag(parser, "-f", "--force", help="accepted for docker's sake")
    parser.add_argument("network", metavar="NETWORK")
    parser.add_argument("container", metavar="CONTAINER")


def reach(parser: argparse.ArgumentParser) -> None:
    """Add the flags of network reach."""
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("target", metavar="TARGET[:PORT]", help="a container, host, an address or a name")


def rules(parser: argparse.ArgumentParser) -> None:
    """Add the flags of network rules."""
    add_flag(parser, "--json", help="print JSON")
    parser.add_argument("network", metavar="NETWORK")


def peer(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of network peer."""
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    texts = {"add": "let an encrypted network reach that of another host, or change how it does",
        "rm": "let it no longer reach it", "ls": "show our public key, and the peers"}  # fmt: skip
    for name, text in texts.items():
        verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        verb.set_defaults(verb=f"network peer {name}")
        if name == "add":
            verb.add_argument(
                "--endpoint", default="", metavar="ADDRESS:PORT", help="where it is; else it speaks first"
            )
            verb.add_argument("--keepalive", type=int, default=0, metavar="SECONDS", help="keep a NAT on the way open")
            add_list(verb, "--allow", metavar="CIDR", help="the subnet of its network")
        if name == "ls":
            add_flag(verb, "--json", help="print JSON")
        verb.add_argument("network", metavar="NETWORK")
        if name != "ls":
            verb.add_argument("public_key", metavar="PUBLIC-KEY")


def add_attachment(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what a container asks of a network."""
    parser.add_argument("--ip", default="", metavar="ADDRESS", help="its IPv4 address in the network")
    parser.add_argument("--ip6", default="", metavar="ADDRESS", help="its IPv6 address in the network")
    parser.add_argument("--mac-address", default="", metavar="MAC", help="its hardware address in the network")


def add_networks(parser: argparse.ArgumentParser) -> None:
    """Add the flags of run and create that say in which networks a container is."""
    add_list(parser, "--network", "--net", metavar="NETWORK",
        help="bridge, host, none, container:NAME, or networks: NAME, or name=NAME,ip=…,ip6=…,mac-address=…,alias=…")  # fmt: skip
    add_attachment(parser)
    add_list(parser, "--network-alias", metavar="NAME", help="one more name in its first network")


def attachments_of(arguments: argparse.Namespace) -> tuple[Attachment, ...]:
    """Return the networks that the flags of run and create name; the first has what the flags beside ask for.

    Raises:
        Usage: A flag's value is malformed, or is given twice.
    """
    first, *others = [_parse(text) for text in arguments.network or ["bridge"]]
    asked = {"address": arguments.ip, "mac": arguments.mac_address.lower(), "aliases": tuple(arguments.network_alias),
        "address6": arguments.ip6}  # fmt: skip
    given = {name: value for name, value in asked.items() if value}
    return (replace(first, **given), *others)


def _parse(text: str) -> Attachment:
    if "=" not in text:
        return Attachment(text)
    found: dict[str, list[str]] = {}
    for item in text.split(","):
        name, _, value = item.partition("=")
        if name not in (*_SINGLE, "alias") or not value:
            raise Usage(
                f"invalid network {text!r}: expected name=NETWORK,ip=ADDRESS,ip6=ADDRESS,mac-address=MAC,alias=NAME"
            )
        found.setdefault(name, []).append(value)
    if any(len(found.get(name, [])) > 1 for name in _SINGLE) or "name" not in found:
        raise Usage(f"invalid network {text!r}: one name, and at most one ip, ip6 and mac-address")
    single = {name: values[0] for name, values in found.items()}
    return Attachment(
        single["name"], single.get("ip", ""), single.get("mac-address", "").lower(), tuple(found.get("alias", ())),
        single.get("ip6", ""),
    )  # fmt: skip
