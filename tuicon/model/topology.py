"""Networks drawn as lines: host interface, NAT, bridge, and the edges to the members with their traffic; pure."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model.network import Network
from engine.model.value import Value, field, replace
from tuicon.model import units
from tuicon.model.members import Member, device_of, link_of, members_of
from tuicon.model.rows import status_cell
from tuicon.model.snapshot import Snapshot
from tuicon.model.text import printable
from tuicon.model.traffic import Flow, HostLink

_WIDE, _MEDIUM, _SMALL = 104, 64, 52
_CROWDED = 72
_LEAST = 12
UPLINK = "uplink"


class Piece(Value, frozen=True):
    """Some text in a style of the theme: "", "title", "ok", "warn", "bad", "muted" or "accent"."""

    text: str
    style: str = ""


class Line(Value, frozen=True):
    """One line of the picture.

    Attributes:
        place: The hop that it stands for: "uplink", "nat:NETWORK", "bridge:NETWORK" or "member:NETWORK/CONTAINER ID"; empty for
            more about the line above.
        key: The member that it belongs to; empty for none.
    """

    pieces: tuple[Piece, ...]
    place: str = ""
    key: str = ""

    @property
    def text(self) -> str:
        """What is read."""
        return "".join(piece.text for piece in self.pieces)


class Mark(Value, frozen=True):
    """Where a test of reachability stopped, and why.

    Attributes:
        places: The hop, as lines have it; the first one that is in the picture counts.
        text: A sentence.
    """

    places: tuple[str, ...]
    text: str


class _Sheet(Value, frozen=True):
    """What the lines are fitted to.

    Attributes:
        width: Cells.
        busiest: Bytes per second of the busiest edge.
        has_limits: Whether room is needed for limits.
    """

    width: int
    busiest: float
    has_limits: bool

    @property
    def edge(self) -> int:
        if self.width >= _WIDE:
            return 14
        return 8 if self.width >= (_CROWDED if self.has_limits else _MEDIUM) else 3

    @property
    def rate(self) -> int:
        return 11 if self.has_limits else 7


class _Section(Value, frozen=True):
    network: Network
    members: tuple[Member, ...]
    link: HostLink | None = field(default=None)

    @property
    def published(self) -> int:
        return sum(len(member.container.ports) for member in self.members if member.ports)


def picture(
    networks: Sequence[Network], snapshot: Snapshot, width: int, *, is_roomy: bool = False, mark: Mark | None = None
) -> tuple[Line, ...]:
    """Return the lines of one network, or of all of them below the host's interface.

    Args:
        networks: One, which is drawn with all that is known of it, or several in short.
        snapshot: The moment.
        width: Cells.
        is_roomy: Whether there is height for the edges between host, NAT and bridge.
        mark: Where a test of reachability stopped.
    """
    sections = [_Section(one, members_of(one, snapshot), link_of(one, snapshot)) for one in networks]
    members = [member for section in sections for member in section.members]
    sheet = _Sheet(
        width, max((member.flow.both for member in members if member.flow), default=0.0),
        any(member.limit_in or member.limit_out for member in members) and width >= _SMALL,
    )  # fmt: skip
    if len(sections) == 1:
        lines = [
            *_head(sections[0], snapshot, sheet, is_roomy=is_roomy),
            *_tree(sections[0], sheet, " ", is_brief=False),
        ]
    else:
        lines = [_uplink(snapshot, sheet)]
        for place, section in enumerate(sections, 1):
            lines += _brief(section, sheet, is_last=place == len(sections))
    return tuple(_marked(lines, mark, sheet) if mark else lines)


def keys_of(lines: Sequence[Line]) -> tuple[str, ...]:
    """Return the members of a picture from top to bottom."""
    return tuple(dict.fromkeys(line.key for line in lines if line.key))


def _fitted(left: Sequence[Piece], right: Sequence[Piece], width: int) -> tuple[Piece, ...]:
    """Return both ends of a line with the room between them; the left one gives way, and the right one when little is left."""
    if width - sum(len(piece.text) for piece in right) < _LEAST:
        right = ()
    room = width - sum(len(piece.text) for piece in right) - (1 if right else 0)
    found, used = [], 0
    for piece in left:
        text = printable(piece.text)
        if used + len(text) > room:
            text = text[: max(0, room - used - 1)] + "…" if room > used else ""
        used += len(text)
        found.append(Piece(text, piece.style))
    if right:
        found.append(Piece(" " * (max(0, room - used) + 1)))
    return (*(piece for piece in found if piece.text), *right)


def _plain(text: str, style: str, sheet: _Sheet, place: str = "", key: str = "") -> Line:
    return Line(_fitted([Piece(text, style)], (), sheet.width), place, key)


# -- the way from the host to the members --------------------------------------------------------------


def _uplink(snapshot: Snapshot, sheet: _Sheet) -> Line:
    link = snapshot.links.get(snapshot.uplink)
    if link is None:
        return _plain(" the host has no default route", "warn", sheet, UPLINK)
    return _link_line(link, sheet, UPLINK, "way out")


def _link_line(link: HostLink, sheet: _Sheet, place: str, what: str) -> Line:
    left = [Piece(f" {link.name}", "title"), Piece(f"  {what}", "muted"), Piece(f"  {' '.join(link.addresses)}")]
    return Line(_fitted(left, _rates(link.flow, sheet), sheet.width), place)


def _head(section: _Section, snapshot: Snapshot, sheet: _Sheet, *, is_roomy: bool) -> list[Line]:
    network, width = section.network, sheet.width
    if network.driver in ("host", "null"):
        return _head_without_bridge(section, snapshot, sheet)
    if not network.bridge:
        return _head_on_parent(section, sheet, is_roomy=is_roomy)
    flow = section.link.flow if section.link else None
    between = [_trunk(flow, sheet)] if is_roomy else []
    nat = _fitted([*_way_out(section), Piece(f"  {_nat_text(section)}")], (), width)
    title = Piece(f" {network.bridge}", "title" if section.link else "muted")
    own, *more = _own_addresses(network)
    left = [
        title,
        Piece(f"  gateway {own}" if own else "  no subnet yet"),
        Piece("" if section.link else "  not up", "muted"),
    ]
    rates = _rates(flow.turned, sheet) if flow else ()
    bridge = [Line(_fitted(left, rates, width), f"bridge:{network.name}")]
    bridge += [_plain(f" │  {text}", "muted", sheet) for text in [" · ".join(more)] if text]
    return [
        _uplink(snapshot, sheet), *([] if network.internal else between),
        Line(nat, f"nat:{network.name}"), *between, *bridge,
    ]  # fmt: skip


def _head_without_bridge(section: _Section, snapshot: Snapshot, sheet: _Sheet) -> list[Line]:
    place = f"bridge:{section.network.name}"
    if section.network.driver == "null":
        text = " no interface but lo: no way in, no way out"
        return [_plain(text, "muted", sheet, place)]
    text = " the host's own interfaces and ports: no bridge, no NAT, nothing to publish"
    return [_uplink(snapshot, sheet), _plain(text, "muted", sheet, place)]


def _head_on_parent(section: _Section, sheet: _Sheet, *, is_roomy: bool) -> list[Line]:
    network, parent = section.network, device_of(section.network)
    link = section.link
    mode = network.options.get(f"{network.driver}_mode", "bridge" if network.driver == "macvlan" else "l2")
    first = (
        _link_line(link, sheet, UPLINK, "parent") if link else _plain(f" {parent} is not there", "bad", sheet, UPLINK)
    )
    wire = "own hardware addresses" if network.driver == "macvlan" else "the parent's hardware address"
    left = [
        Piece(f" {network.driver}", "title"), Piece(f"  {mode} mode  {_both(network.subnet, network.subnet6)}"),
        Piece(f"  {wire}, no NAT; the host itself is out of reach", "muted"),
    ]  # fmt: skip
    between = [_trunk(None, sheet)] if is_roomy else []
    return [first, *between, Line(_fitted(left, (), sheet.width), f"bridge:{network.name}")]


def _way_out(section: _Section) -> list[Piece]:
    return [Piece(" ✗ internal", "warn")] if section.network.internal else [Piece(" NAT", "title")]


def _nat_text(section: _Section) -> str:
    if section.network.internal:
        return "no way out, nothing published"
    count = section.published
    ports = f"{count} port{'s' * (count != 1)} published" if count else "nothing published"
    return f"masquerade · {ports}"


def _own_addresses(network: Network) -> tuple[str, ...]:
    """Return the bridge's own addresses with the subnets' lengths, the first one even when it is empty, and its MTU when that is special."""
    first, second = (
        f"{gateway}/{subnet.rpartition('/')[2]}" if gateway else subnet
        for gateway, subnet in ((network.gateway, network.subnet), (network.gateway6, network.subnet6))
    )
    mtu = f"mtu {network.mtu}" if network.mtu != 1500 else ""
    return (first or second, *filter(None, (second if first else "", mtu)))


def _both(*texts: str) -> str:
    return " ".join(filter(None, texts))


def _trunk(flow: Flow | None, sheet: _Sheet) -> Line:
    is_busy = flow is not None and flow.both >= 1
    return _plain(" ┃" if is_busy else " │", "accent" if is_busy else "muted", sheet)


def _brief(section: _Section, sheet: _Sheet, *, is_last: bool) -> list[Line]:
    """Return a network among others: how it hangs on the host, and its members, a line each."""
    network = section.network
    branch = " └" if is_last else " ├"
    kinds = {"bridge": "─NAT─", "host": "─────", "null": "╌╌✗╌╌"}
    kind = "╌╌✗╌╌" if network.internal else kinds.get(network.driver, "─────")
    internal = " · internal" if network.internal else ""
    own = " · ".join(filter(None, _own_addresses(network))) or "no subnet yet"
    text = f"{own}{internal}" if network.bridge else {"host": "the host's own interfaces", "null": "no way out"}.get(
        network.driver, f"{network.driver} on {device_of(network)} {_both(network.subnet, network.subnet6)}"
    )  # fmt: skip
    flow = section.link.flow.turned if section.link and network.bridge else None
    left = [
        Piece(f"{branch}{kind} ", "muted"), Piece(network.name, "title"),
        Piece(f" {network.bridge}" if network.bridge else "", "muted"), Piece(f"  {text}", "muted"),
    ]  # fmt: skip
    head = Line(_fitted(left, _rates(flow, sheet) if flow else (), sheet.width), f"bridge:{network.name}")
    return [head, *_tree(section, sheet, "   " if is_last else " │ ", is_brief=True)]


# -- members ---------------------------------------------------------------------------------------------


def _tree(section: _Section, sheet: _Sheet, prefix: str, *, is_brief: bool) -> list[Line]:
    lines = []
    for place, member in enumerate(section.members, 1):
        lines += _member_lines(member, sheet, prefix, is_last=place == len(section.members), is_brief=is_brief)
    if not section.members and not is_brief:
        text = f"{prefix}└─ no container is in it" + ("; c connects one" if device_of(section.network) else "")
        lines.append(_plain(text, "muted", sheet))
    return lines


def _member_lines(member: Member, sheet: _Sheet, prefix: str, *, is_last: bool, is_brief: bool) -> list[Line]:
    share = member.flow.both / sheet.busiest if member.flow and sheet.busiest else 0.0
    heavy = max(1, round(share * sheet.edge)) if member.flow and member.flow.both >= 1 else 0
    status = status_cell(member.container)
    left = [
        Piece(f"{prefix}{'└' if is_last else '├'}", "muted"), Piece("━" * heavy, "accent"),
        Piece(("─" if member.is_alive else "╌") * (sheet.edge - heavy) + " ", "muted"), Piece(f"{status.text[0]} ", status.style),
    ]  # fmt: skip
    right = [*_own_place(member, sheet), *_member_rates(member, sheet)] if member.is_alive else []
    if not member.is_alive:
        right = [Piece(status.text[1:].strip(), "muted")]
    left.append(Piece(member.container.name, "" if member.is_alive else "muted"))
    lines = [Line(_fitted(left, right, sheet.width), f"member:{member.key}", member.key)]
    indent = f"{prefix}{' ' if is_last else '│'}{' ' * (sheet.edge + 3)}"
    more = _wrapped(_more(member, sheet, is_brief=is_brief), sheet.width - len(indent))
    return [*lines, *(_plain(f"{indent}{text}", "muted", sheet, key=member.key) for text in more)]


def _wrapped(items: Sequence[str], width: int) -> list[str]:
    """Return items in as few lines as they fit into."""
    lines: list[str] = []
    for item in items:
        joined = f"{lines[-1]} · {item}" if lines else item
        if lines and len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(item)
    return lines


def _more(member: Member, sheet: _Sheet, *, is_brief: bool) -> list[str]:
    """Return what stands below a member."""
    ports = [member.ports] if member.ports else []
    if is_brief:
        return ports
    addresses = [member.address if sheet.width < _SMALL or not member.address else "", member.address6]
    return [
        *filter(None, (*addresses, member.impairment)), *ports, *([f"aka {', '.join(member.names)}"] if member.names else []),
        *([f"also in {', '.join(member.others)}"] if member.others else []),
        *([f"shared by {', '.join(member.sharers)}"] if member.sharers else []),
    ]  # fmt: skip


def _own_place(member: Member, sheet: _Sheet) -> list[Piece]:
    found = []
    if sheet.width >= _WIDE:
        found.append(Piece(f"{member.mac:<17} ", "muted"))
    if sheet.width >= _MEDIUM:
        found.append(Piece(f"{member.interface:<5}", "muted"))
    if sheet.width >= _SMALL:
        found.append(Piece(f"{member.address:<15} "))
    return found


def _member_rates(member: Member, sheet: _Sheet) -> list[Piece]:
    if member.flow is None:
        return []
    return [
        *_rate("↓", member.flow.rx, sheet, member.limit_in), Piece(" "),
        *_rate("↑", member.flow.tx, sheet, member.limit_out),
    ]  # fmt: skip


def _rates(flow: Flow, sheet: _Sheet) -> list[Piece]:
    return [*_rate("↓", flow.rx, sheet), Piece(" "), *_rate("↑", flow.tx, sheet)]


def _rate(arrow: str, value: float, sheet: _Sheet, limit: int | None = None) -> list[Piece]:
    """Return a rate in its column; with a limit "512K≤1.00M", which warns when it is nearly reached."""
    style = "" if value >= 1 else "muted"
    text = units.rate(value)
    if limit and sheet.has_limits:
        text = f"{units.short_size(value) if value >= 1 else '0'}≤{units.short_size(limit)}"
        style = "warn" if value > 0.9 * limit else "ok"
    return [Piece(arrow, "accent" if value >= 1 else "muted"), Piece(f"{text:>{sheet.rate}}", style)]


def _marked(lines: Sequence[Line], mark: Mark, sheet: _Sheet) -> list[Line]:
    places = [line.place for line in lines]
    wanted = next((place for place in mark.places if place in places), None)
    if wanted is None:
        return list(lines)
    number = places.index(wanted)
    hop = lines[number]
    red = replace(hop, pieces=tuple(Piece(piece.text, "bad") for piece in hop.pieces))
    why = _plain(f"   ✗ stops here: {mark.text}", "bad", sheet, key=hop.key)
    return [*lines[:number], red, why, *lines[number + 1 :]]
