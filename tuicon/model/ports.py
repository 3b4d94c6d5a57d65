"""Published ports as docker prints them; pure."""

from __future__ import annotations

from collections.abc import Iterable

from engine.model.network import PublishedPort


def ports_text(ports: Iterable[PublishedPort]) -> str:
    """Return "0.0.0.0:8080->80/tcp, 0.0.0.0:9000-9002->90-92/udp": neighbouring ports are drawn together."""
    runs: list[list[PublishedPort]] = []
    for port in sorted(ports, key=lambda one: (one.port, one.protocol, one.host_ip, one.host_port)):
        for run in runs:
            last = run[-1]
            same = (last.host_ip, last.protocol) == (port.host_ip, port.protocol)
            if same and (last.host_port + 1, last.port + 1) == (port.host_port, port.port):
                run.append(port)
                break
        else:
            runs.append([port])
    return ", ".join(
        f"{bracketed(run[0].host_ip)}:{_span(run[0].host_port, run[-1].host_port)}->{_span(run[0].port, run[-1].port)}/{run[0].protocol}"
        for run in runs
    )


def bracketed(address: str) -> str:
    """Return an address as it stands before a port."""
    return f"[{address}]" if ":" in address else address


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
