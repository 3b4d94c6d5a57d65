from __future__ import annotations

import pytest

from engine.errors import InvalidArgument
from engine.model.network import PortMapping, PublishedPort
from engine.networks.ports import exposed, parse_expose, parse_publish, wanted
from tuicon.model.ports import ports_text


@pytest.mark.parametrize(
    ("text", "mappings"),
    [  # docs.docker.com, "docker run", -p; go-connections nat.ParsePortSpec
        ("80", [PortMapping(80)]),
        ("8080:80", [PortMapping(80, first=8080, last=8080)]),
        ("127.0.0.1:8080:80/udp", [PortMapping(80, "udp", "127.0.0.1", 8080, 8080)]),
        ("127.0.0.1::80", [PortMapping(80, host_ip="127.0.0.1")]),
        ("0.0.0.0:8080:80", [PortMapping(80, "tcp", "0.0.0.0", 8080, 8080)]),
        ("[::1]:8080:80", [PortMapping(80, "tcp", "::1", 8080, 8080)]),
        ("[::]::80/udp", [PortMapping(80, "udp", "::")]),
        ("8000-9000:80", [PortMapping(80, first=8000, last=9000)]),
        ("7000-7001", [PortMapping(7000), PortMapping(7001)]),
        ("7000-7001:70-71/SCTP", [PortMapping(70, "sctp", "", 7000, 7000), PortMapping(71, "sctp", "", 7001, 7001)]),
    ],
)
def test_docker_s_grammar_of_published_ports(text: str, mappings: list[PortMapping]) -> None:
    assert list(parse_publish(text)) == mappings


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "0",
        "65536",
        "80/",
        "80/icmp",
        "a",
        "80-",
        "9-8",
        "1-3:1-2",
        "1.2.3:80:80",
        "host:80:80",
        "::1:80:80",
        "[fe80::1%lo]:80:80",
        "[127.0.0.1:80:80",
    ],
)
def test_malformed_ports_are_refused_with_their_text(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid port"):
        parse_publish(text)


def test_exposed_ports_are_those_that_are_named_anywhere() -> None:
    assert parse_expose("80-81/udp") == ("80/udp", "81/udp")
    assert exposed((PortMapping(443),), ("80/tcp", "53/udp")) == ("53/udp", "80/tcp", "443/tcp")
    asked = (PortMapping(80, first=8080, last=8080),)
    assert wanted(asked, ("80/tcp", "81"), publish_all=False) == asked
    assert wanted(asked, ("80/tcp", "81"), publish_all=True) == (*asked, PortMapping(81))


def test_neighbouring_ports_are_drawn_together() -> None:
    ports = [PublishedPort("0.0.0.0", 9000 + number, "10.0.0.2", 90 + number) for number in (1, 0, 2)]
    ports.append(PublishedPort("127.0.0.1", 53, "10.0.0.2", 53, "udp"))
    ports += [PublishedPort("::", 9000 + number, "fd00::2", 90 + number) for number in (0, 1)]
    assert ports_text(ports) == "127.0.0.1:53->53/udp, 0.0.0.0:9000-9002->90-92/tcp, [::]:9000-9001->90-91/tcp"
