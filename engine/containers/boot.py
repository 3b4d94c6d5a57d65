"""Starts containers after the host was booted, and stops them before it goes down."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from engine.containers.lifecycle import Lifecycle
from engine.containers.records import Known, Registry
from engine.errors import EngineError
from engine.model.finding import Booted
from engine.store.paths import Paths

_AT_ONCE = 8


class Boot:
    """What happens to the containers of a state root when the host comes up and goes down."""

    def __init__(self, paths: Paths, registry: Registry, lifecycle: Lifecycle) -> None:
        self._paths = paths
        self._registry = registry
        self._lifecycle = lifecycle

    def start(self) -> tuple[Booted, ...]:
        """Start the containers whose restart policy wants it, the oldest first; those that run already stay.

        One that cannot start keeps no other from it.
        """
        self._paths.prepare()
        wanted = [known for known in self._known() if self._lifecycle.wants_start_at_boot(known)]
        return tuple(self._attempt(known, self._lifecycle.start) for known in wanted)

    def stop(self) -> tuple[Booted, ...]:
        """Stop all containers, the youngest first and several at once; a boot starts them again."""
        alive = [known for known in reversed(self._known()) if known.status.is_alive]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return tuple(pool.map(lambda known: self._attempt(known, self._stop), alive))

    def _stop(self, container_id: str) -> None:
        self._lifecycle.stop(container_id, None, None, for_good=False)

    @staticmethod
    def _attempt(known: Known, action: Callable[[str], object]) -> Booted:
        try:
            action(known.record.id)
        except (EngineError, OSError) as error:
            return Booted(known.record.id, known.record.name, str(error))
        return Booted(known.record.id, known.record.name)

    def _known(self) -> list[Known]:
        found = []
        for container_id in self._registry.ids():
            try:
                found.append(self._registry.known(container_id))
            except EngineError:
                continue  # removed meanwhile, or damaged, which a check says
        return sorted(found, key=lambda known: known.record.created_at)


def systemd_unit(program: str, root: str, run_root: str) -> str:
    """Return a systemd unit that starts and stops the containers of a state root with the host.

    Monitors live in the unit's group, so systemd must leave them alone and let the engine stop the containers
    (KillMode=process). A container that does not start must not keep the others from being stopped in order
    (SuccessExitStatus). Sources: systemd.service(5), systemd.kill(5).

    Args:
        program: The absolute path of the tuicon program.
        root: The state root.
        run_root: The volatile state root.
    """
    command = f"{_quoted(program)} --root {_quoted(root)} --run-root {_quoted(run_root)} system"
    return f"""[Unit]
Description=Containers of tuicon in {root.replace("%", "%%")}
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target local-fs.target
RequiresMountsFor={_quoted(root)}

[Service]
Type=oneshot
RemainAfterExit=yes
SuccessExitStatus=1
ExecStart={command} boot
ExecStop={command} shutdown
KillMode=process
TimeoutStartSec=infinity
TimeoutStopSec=90

[Install]
WantedBy=multi-user.target
"""


def autotune_unit(program: str, root: str, run_root: str, rules: str) -> str:
    """Return a systemd unit that moves limits by rules, beside that of `systemd_unit`.

    Args:
        program: The absolute path of the tuicon program.
        root: The state root.
        run_root: The volatile state root.
        rules: The absolute path of the file with the rules.
    """
    command = f"{_quoted(program)} --root {_quoted(root)} --run-root {_quoted(run_root)} autotune {_quoted(rules)}"
    return f"""[Unit]
Description=Limits of the containers of tuicon in {root.replace("%", "%%")}, moved by rules
After=local-fs.target
RequiresMountsFor={_quoted(root)}

[Service]
ExecStart={command}
Restart=on-failure
RestartSec=10
KillMode=process

[Install]
WantedBy=multi-user.target
"""


def _quoted(text: str) -> str:
    """Return text as one word of a unit file: systemd.syntax(7) escapes, and % and $ mean nothing."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if plain != text or " " in plain else plain
