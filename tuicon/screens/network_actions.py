"""What the commands about networks do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from engine.model.container import Container
from engine.model.limits import Limits
from engine.model.network import Network
from engine.model.value import asdict
from tuicon.dialogs.ask import Confirm
from tuicon.dialogs.connect import ConnectForm, Connection
from tuicon.dialogs.document import Document
from tuicon.dialogs.network import NetworkForm, NetworkWish, RatesForm
from tuicon.dialogs.reach import ReachForm
from tuicon.model.members import members_of, networks_of
from tuicon.model.ports import ports_text
from tuicon.model.reach import mark_of
from tuicon.screens.detail import Detail
from tuicon.screens.image_actions import ImageActions
from tuicon.widgets.table import RecordTable
from tuicon.widgets.topology import Topology


class NetworkActions(ImageActions):
    """The doing of what is asked of networks and their members."""

    @property
    def chosen_network(self) -> Network | None:
        """The network under the cursor, when their list is in use."""
        if self.pane != "networks":
            return None
        return next((network for network in self.snapshot.networks if network.id == self.selected), None)

    @property
    def chosen_member(self) -> Container | None:
        """The member that the cursor is on in the detail of a network."""
        return self.query_one(Detail).member[1] if self.pane == "networks" and self.is_mounted else None

    def go_to_container(self, container_id: str) -> None:
        """Put the cursor on a container, in its list."""
        raise NotImplementedError

    def on_topology_chosen(self, event: Topology.Chosen) -> None:
        """Go to the container."""
        self.go_to_container(event.key.partition("/")[2])

    def on_record_table_chosen(self, event: RecordTable.Chosen) -> None:
        """Go to the container, or show a rule in full."""
        if event.table.id == "members":
            self.go_to_container(event.key.partition("/")[2])
        elif event.table.id == "rules":
            row = event.table.rows[event.table.cursor]
            self.app.push_screen(Document(row.cells[0].text, row.cells[-1].text))

    def do_jump(self) -> None:
        """Go to the container under the cursor."""
        if self.chosen_member:
            self.go_to_container(self.chosen_member.id)

    def do_overview(self) -> None:
        """Draw all networks, or the selected one."""
        detail = self.query_one(Detail)
        detail.tab = "topology"
        detail.networks.shows_all = not detail.networks.shows_all
        detail.networks.redraw()

    # -- networks ----------------------------------------------------------------------------------

    def do_new(self) -> None:
        """Ask for a network, when their list is in use."""
        if self.pane != "networks":
            super().do_new()
            return

        def create(wish: NetworkWish | None) -> None:
            if wish:
                call = partial(self.backend.networks.create, **asdict(wish))
                self.operate(f"create network {wish.name}", call)

        self.app.push_screen(NetworkForm(), create)

    def do_remove(self) -> None:
        """Remove the network, after a question that says who would miss it."""
        network = self.chosen_network
        if network is None:
            super().do_remove()
            return
        stopped = [member.container.name for member in members_of(network, self.snapshot) if not member.is_alive]
        lines = [f"stopped, and will not start without it: {_listed(stopped)}"] if stopped else []
        call = partial(self.backend.networks.remove, network.id)
        self.app.push_screen(
            Confirm(f"Remove the network {network.name}?", lines),
            lambda yes: self.operate(f"remove {network.name}", call) if yes else None,
        )

    def do_prune_networks(self) -> None:
        """Show which networks nobody uses, and remove them."""
        found = []
        for network in self.snapshot.networks:
            members = members_of(network, self.snapshot)
            if not network.builtin and not any(member.is_alive for member in members):
                found.append((network, [member.container.name for member in members]))
        if not found:
            self.notify("There is nothing to remove: each network that a user made has a container that runs")
            return
        lines = [
            f"{network.name}  {network.subnet}" + (f"  stopped: {_listed(names)}" if names else "")
            for network, names in found
        ]

        def remove(yes: bool | None) -> None:
            for network, _ in found if yes else ():
                self.operate(f"remove {network.name}", partial(self.backend.networks.remove, network.id))

        question = f"Remove {'this network' if len(found) == 1 else f'these {len(found)} networks'}, which no running container uses?"
        self.app.push_screen(Confirm(question, lines), remove)

    # -- members -----------------------------------------------------------------------------------

    def do_connect(self) -> None:
        """Ask for a container, and connect it."""
        network = self.chosen_network
        assert network is not None
        candidates = [
            one for one in self.snapshot.containers
            if (names := networks_of(one)) and "host" not in names and network.name not in names
        ]  # fmt: skip
        if not candidates:
            self.notify(f"There is no container that could be connected to {network.name}")
            return
        candidates.sort(key=lambda one: (not one.status.is_alive, one.name))

        def connect(answer: Connection | None) -> None:
            if answer:
                one = answer.container
                call = partial(self.backend.containers.connections.connect, one.id, answer.attachment)
                self.operate(f"connect {one.name} to {network.name}", call, key=one.id)
                self.query_one(Topology).go_to(f"{network.name}/{one.id}")

        self.app.push_screen(ConnectForm(network, tuple(candidates)), connect)

    def do_disconnect(self) -> None:
        """Take the member out of its network, after a question."""
        name, container = self.query_one(Detail).member
        if container is None:
            return
        lines = [f"it has {endpoint.address} there" for endpoint in container.endpoints if endpoint.network == name]
        addresses = {endpoint.address for endpoint in container.endpoints if endpoint.network == name}
        ports = [port for port in container.ports if port.address in addresses]
        lines += [f"and publishes {ports_text(ports)}"] if ports else []
        others = [other for other in networks_of(container) if other != name]
        lines.append(f"it stays in {', '.join(others)}" if others else "it has no other network")
        call = partial(self.backend.containers.connections.disconnect, container.id, name)
        title = f"disconnect {container.name} from {name}"
        self.app.push_screen(
            Confirm(f"Disconnect {container.name} from {name}?", lines),
            lambda yes: self.operate(title, call, key=container.id) if yes else None,
        )

    def do_reach(self) -> None:
        """Test what the member reaches, and mark in the picture where it stops."""
        name, container = self.query_one(Detail).member
        assert container is not None
        others = [one.name for one in self.snapshot.containers if one.id != container.id]
        form = ReachForm(container.name, (*others, "host"), partial(self.backend.containers.reach, container.id))

        def mark(_answer: object) -> None:
            networks = self.query_one(Detail).networks
            networks.mark = mark_of(form.last, container, name, self.snapshot) if form.last else networks.mark
            networks.redraw()

        self.app.push_screen(form, mark)

    # -- limits ------------------------------------------------------------------------------------

    def do_rates(self) -> None:
        """Ask for limits on the member's traffic, and put them in force."""
        container = self.chosen_member
        assert container is not None

        def limit(change: Callable[[Limits], Limits] | None) -> None:
            if change:
                self.retune(
                    container.id, "retune", partial(self.backend.containers.tuning.update, container.id, change)
                )

        self.app.push_screen(RatesForm(container.name, container.limits), limit)

    def do_undo_rates(self) -> None:
        """Take back the last change of limits."""
        self.do_undo()


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
