"""The encrypted way from a network of this host to networks of others."""

from __future__ import annotations

from datetime import datetime

from engine.model.value import Value


class Peer(Value, frozen=True):
    """Another host.

    Attributes:
        public_key: Its WireGuard key, in base64.
        allowed: CIDR of the addresses that lie behind it: its network's subnet.
        endpoint: "ADDRESS:PORT", an IPv6 address in brackets; empty when it speaks first.
        keepalive: Seconds between packets that keep a NAT on the way open; 0 for none.
    """

    public_key: str
    allowed: tuple[str, ...]
    endpoint: str = ""
    keepalive: int = 0


class PeerState(Value, frozen=True):
    """A peer, and what has come and gone.

    Attributes:
        endpoint: From where it last spoke, or where it was said to be.
        handshake_at: When its key was last seen to be true; None for never.
        received, sent: Bytes.
    """

    peer: Peer
    endpoint: str = ""
    handshake_at: datetime | None = None
    received: int = 0
    sent: int = 0


class Tunnel(Value, frozen=True):
    """This host's end.

    Attributes:
        interface: On the host.
        public_key: What the other hosts need to know, in base64.
        port: The UDP port at which it listens.
        peers: The other ends.
    """

    interface: str
    public_key: str
    port: int
    peers: tuple[PeerState, ...] = ()
