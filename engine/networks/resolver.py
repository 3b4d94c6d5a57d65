"""The files that name things inside a container: hosts, hostname, resolv.conf; pure but for the host's own."""

from __future__ import annotations

from pathlib import Path

_HOST_FILES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
_FALLBACK = ("1.1.1.1", "8.8.8.8")


def hosts_file(hostname: str, domainname: str, addresses: tuple[str, ...], extra: tuple[str, ...], gateway: str) -> str:
    """Return /etc/hosts.

    Args:
        hostname: The container's host name.
        domainname: Its domain, or empty.
        addresses: The container's own addresses.
        extra: "NAME:ADDRESS"; the address host-gateway stands for the gateway.
        gateway: The host as the container reaches it, or empty.
    """
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix", "ff02::1\tip6-allnodes", "ff02::2\tip6-allrouters"]  # fmt: skip
    for item in extra:
        name, _, address = item.partition(":")
        lines.append(f"{gateway if address == 'host-gateway' and gateway else address}\t{name}")
    full = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    lines.extend(f"{address}\t{full}" for address in addresses)
    return "\n".join(lines) + "\n"


def upstream(servers: tuple[str, ...]) -> list[str]:
    """Return the servers that a container's own resolver asks: those that are wanted, else the host's."""
    text = Path(_HOST_FILES[0]).read_text(errors="replace") if Path(_HOST_FILES[0]).exists() else ""
    return [*(servers or _servers(text) or _FALLBACK)]


def completes(options: tuple[str, ...]) -> bool:
    """Return whether names without a dot are to get a search domain first: who asks for ndots does not mean them as they are."""
    asked = (option.removeprefix("ndots:") for option in options if option.startswith("ndots:"))
    return any(number.isdigit() and int(number) > 0 for number in asked)


def _servers(text: str) -> tuple[str, ...]:
    words = (line.split() for line in text.splitlines())
    return tuple(word[1] for word in words if len(word) > 1 and word[0] == "nameserver")


def resolv_conf(
    host: str, servers: tuple[str, ...], search: tuple[str, ...], options: tuple[str, ...] = (), *, keeps_loopback: bool
) -> str:
    """Return /etc/resolv.conf.

    Args:
        host: The host's own file.
        servers: Replace the host's; empty keeps them.
        search: Replace the host's search domains; empty keeps them.
        options: Replace the host's options; empty keeps them.
        keeps_loopback: Whether servers on the host's loopback can be reached (network host).
    """
    lines = [line for line in host.splitlines() if line.strip() and not line.startswith(("#", ";"))]
    found = [*_servers(host)]
    if not keeps_loopback:
        found = [server for server in found if not server.startswith("127.") and server != "::1"]
    kinds = (*(() if options else ("options",)), *(() if search else ("search", "domain")))
    kept = [line for line in lines if line.startswith(kinds)]
    wanted = servers or tuple(found) or _FALLBACK
    out = [f"nameserver {server}" for server in wanted]
    out += [f"search {' '.join(search)}"] if search and search != (".",) else []
    out += [*kept, *([f"options {' '.join(options)}"] if options else [])]
    return "\n".join(out) + "\n"


def host_resolv_conf() -> str:
    """Return the host's resolv.conf; with systemd-resolved's stub in it, the file behind the stub."""
    texts = []
    for name in _HOST_FILES:
        try:
            texts.append(Path(name).read_text(errors="replace"))
        except OSError:
            continue
    if not texts:
        return ""
    return texts[-1] if "127.0.0.53" in texts[0] else texts[0]
