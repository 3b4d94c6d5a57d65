"""Moves limits of containers: at once in the kernel, kept for the next start, on trial, taken back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.containers import trial as trials
from engine.containers import ulimits as process_limits
from engine.containers.capacity import shortage
from engine.containers.knobs import checked, differs_in_traffic, disk, knobs
from engine.containers.lifecycle import Lifecycle
from engine.containers.records import Known, Registry, State
from engine.errors import Conflict, EngineError, InvalidArgument
from engine.linux.cgroup import effective as in_force
from engine.linux.cgroup.counters import Reader
from engine.linux.cgroup.cpu import weight_of_shares
from engine.linux.cgroup.devices import block_device
from engine.linux.cgroup.group import Group
from engine.model.container import Ulimit
from engine.model.limits import Change, Effective, Knob, Limits, LimitsChanged, OnTrial, Preview
from engine.model.usage import Counters
from engine.model.value import Value, names, replace
from engine.oci import resources
from engine.store import records
from engine.store.actor import actor
from engine.store.journal import Journal
from engine.store.paths import Paths
from engine.volumes.volumes import VolumeStore

if TYPE_CHECKING:
    from engine.containers.networking import Connections

Wanted = Callable[[Limits], Limits]
_MOST_CHANGES = 100


class _Plan(Value, frozen=True):
    """One container's change, checked and not yet made."""

    known: Known
    before: Limits
    after: Limits


class Tuning:
    """Changes limits; a ref is a name, an id, or a unique prefix of an id."""

    def __init__(
        self, paths: Paths, journal: Journal, registry: Registry, lifecycle: Lifecycle, volumes: VolumeStore,
        connections: Callable[[], Connections],
    ) -> None:  # fmt: skip
        self._paths = paths
        self._journal = journal
        self._registry = registry
        self._lifecycle = lifecycle
        self._volumes = volumes
        self._connections = connections

    def disk(self, name: str) -> str:
        """Return the disk that a path, a device, or a volume's name stands for.

        Raises:
            InvalidArgument: There is none.
        """
        return disk(name, self._volumes)

    def knobs(self) -> tuple[Knob, ...]:
        """Return for each field of Limits whether this host can set it, and why not."""
        return knobs()

    def update(
        self, ref: str, change: Wanted, *, force: bool = False, how: str = "update", seconds: float = 0.0, why: str = ""
    ) -> LimitsChanged:
        """Change the limits of a container, in the kernel at once when it runs; all or nothing.

        Args:
            ref: The container.
            change: From the limits in force to those wanted.
            force: Whether to lower memory below what is in use, which may kill.
            how: What the history says of it.
            seconds: Above 0 puts it on trial: its monitor reverts it after that time unless it is confirmed.
            why: A sentence for the journal.

        Raises:
            InvalidArgument: No kernel would take them.
            Conflict: The memory limit would be below what is in use, or a trial of a container that is not supervised.
            CgroupError: This kernel refuses them; nothing is changed.
        """
        return self.update_all({ref: change}, force=force, how=how, seconds=seconds, why=why)[0]

    def update_all(
        self,
        changes: Mapping[str, Wanted],
        *,
        force: bool = False,
        how: str = "update",
        seconds: float = 0.0,
        why: str = "",
    ) -> tuple[LimitsChanged, ...]:
        """Change the limits of several containers in one step; when one is refused, none is changed.

        Args:
            changes: The change of each container.
            force: As in `update`.
            how: What the history says of it.
            seconds: As in `update`.
            why: A sentence for the journal.
        """
        wanted = {self._registry.resolve(ref): change for ref, change in changes.items()}
        with ExitStack() as locks:
            for container_id in sorted(wanted):
                locks.enter_context(self._lifecycle.lock(container_id))
            plans = [self._plan(self._settled(name), change, force=force) for name, change in wanted.items()]
            if seconds > 0:
                self._try(plans, seconds)
            else:
                self._check_trials(plans)
                self._apply(plans)
            for plan in plans if seconds <= 0 else ():
                self._keep(plan, how, why)
        return tuple(LimitsChanged(plan.known.record.id, plan.before, plan.after, seconds) for plan in plans)

    def _plan(self, known: Known, change: Wanted, *, force: bool) -> _Plan:
        before = self._registry.limits(known)
        after = checked(change(before), self._volumes)
        if known.state and not force:
            self._check_memory(known, known.state, before, after)
        return _Plan(known, before, after)

    def _settled(self, container_id: str) -> Known:
        """Return what is known of a container; a trial that its monitor did not live to revert is reverted first."""
        known = self._registry.known(container_id)
        trial = self._registry.trial(known)
        if trial and known.state and trial.is_over() and not known.state.has_monitor:
            _group(known.state).apply(trial.resources)
            self._limit_traffic(known, trial.after, known.record.limits)
            trials.drop(self._paths.running(container_id))
            self._journal.write("container", "update", container_id, known.record.name, trial.attributes)
        return known

    @staticmethod
    def _check_memory(known: Known, state: State, before: Limits, after: Limits) -> None:
        """Refuse a memory limit below what is in use and cannot be given back: the kernel would kill or refuse."""
        if after.memory is None or after.memory == before.memory:
            return
        reader = Reader(state.cgroup["version"], state.cgroup["paths"], state.pid)
        try:
            used = reader.read().memory_bytes
        except ProcessLookupError:
            return
        finally:
            reader.close()
        if used > after.memory:
            name = known.record.name
            raise Conflict(
                f"container {name} uses {used >> 20} MiB, more than the memory limit of {after.memory >> 20} MiB",
                hint="step down with --step-down, which reclaims memory bit by bit, or lower it all the same with --force",
            )

    def _apply(self, plans: list[_Plan]) -> None:
        """Put all in force, or none."""
        done: list[_Plan] = []
        try:
            for plan in plans:
                self._move(plan.known, plan.before, plan.after)
                done.append(plan)
        except BaseException:
            for plan in reversed(done):
                self._move(plan.known, plan.after, plan.before)
            raise

    def _move(self, known: Known, before: Limits, after: Limits) -> None:
        """Move all limits of a container that runs, or none."""
        if known.state is None:
            return
        self._limit_traffic(known, before, after)
        try:
            group = _group(known.state)
            group.apply(_difference(group, before, after))
        except BaseException:
            self._limit_traffic(known, after, before)
            raise

    def _limit_traffic(self, known: Known, before: Limits, after: Limits) -> None:
        """Look for networks only when a limit of traffic changes."""
        if differs_in_traffic(before, after):
            self._connections().limit(known, before, after)

    def _keep(self, plan: _Plan, how: str, why: str = "") -> None:
        """Store what is in force for the next start, and remember the change."""
        container_id = plan.known.record.id
        if plan.known.state and differs_in_traffic(plan.known.record.limits, plan.after):
            self._connections().keep_limits(plan.known, plan.after)
        records.save(self._paths.container(container_id) / "record.json", replace(plan.known.record, limits=plan.after))
        self._keep_config(container_id, plan.after)
        trials.drop(self._paths.running(container_id))
        self._remember(plan, how)
        self._journal_change(plan, how, **({"why": why} if why else {}))

    def _keep_config(self, container_id: str, limits: Limits) -> None:
        """Keep config.json true: a monitor that starts its container again reads it."""
        path = self._paths.container(container_id) / "config.json"
        if path.exists():
            config = records.load_json(path)
            old = config["linux"].get("resources") or {}
            config["linux"]["resources"] = {
                **resources.resources(limits, block_device),
                "devices": old.get("devices") or [],
            }
            records.save(path, config)

    def _remember(self, plan: _Plan, how: str) -> None:
        container_id = plan.known.record.id
        changes = [*self.changes(container_id), Change(datetime.now(UTC), how, actor()["by"], plan.before, plan.after)]
        self._save_changes(container_id, changes)

    def _save_changes(self, container_id: str, changes: list[Change]) -> None:
        records.save(self._paths.container(container_id) / "changes.json", changes[-_MOST_CHANGES:])

    def _journal_change(self, plan: _Plan, how: str, **more: str) -> None:
        self._journal.append(
            "container", "update", plan.known.record.id, plan.known.record.name,
            **changed_fields(plan.before, plan.after), how=how, **more,
        )  # fmt: skip

    def _check_trials(self, plans: list[_Plan]) -> None:
        """Refuse a change for good beside one on trial: it would be unclear what is reverted."""
        for plan in plans:
            trial = self._registry.trial(plan.known)
            if trial:
                raise Conflict(
                    f"container {plan.known.record.name} has a change on trial for {max(0.0, trial.seconds_left()):.0f} s more",
                    hint="confirm it or undo it first",
                )

    def _try(self, plans: list[_Plan], seconds: float) -> None:
        """Put changes on trial: the trial is written first, so that whoever dies now, the monitor reverts."""
        for plan in plans:
            if plan.known.state is None or not plan.known.state.has_monitor:
                name = plan.known.record.name
                raise Conflict(f"container {name} cannot have a change on trial: no monitor is there to revert it")
        earlier = [(plan, self._registry.trial(plan.known)) for plan in plans]
        try:
            for plan in plans:
                self._begin_trial(plan, seconds)
            self._apply(plans)
        except BaseException:
            for plan, trial in earlier:
                directory = self._paths.running(plan.known.record.id)
                trials.save(directory, trial) if trial else trials.drop(directory)
            raise
        for plan in plans:
            self._journal_change(plan, "trial", seconds=f"{seconds:g}")

    def _begin_trial(self, plan: _Plan, seconds: float) -> None:
        state, confirmed = plan.known.state, plan.known.record.limits
        assert state
        texts = {**changed_fields(plan.after, confirmed), "how": "revert", **actor()}
        trial = trials.Trial(
            state.pid,
            state.pid_start,
            trials.end_after(seconds),
            plan.after,
            _difference(_group(state), plan.after, confirmed),
            texts,
            differs_in_traffic(plan.after, confirmed),
        )
        trials.save(self._paths.running(plan.known.record.id), trial)

    def on_trial(self, ref: str) -> OnTrial | None:
        """Return what is on trial in a container; None when nothing is."""
        known = self._registry.known(self._registry.resolve(ref))
        trial = self._registry.trial(known)
        if trial is None:
            return None
        return OnTrial(trial.began, max(0.0, trial.seconds_left()), known.record.limits, trial.after)

    def confirm(self, ref: str) -> LimitsChanged:
        """Keep a change that is on trial.

        Raises:
            Conflict: There is none, or its time is over.
        """
        container_id = self._registry.resolve(ref)
        with self._lifecycle.lock(container_id):
            known = self._settled(container_id)
            trial = self._registry.trial(known)
            if not trial:
                raise Conflict(f"container {known.record.name} has no change on trial")
            plan = _Plan(known, known.record.limits, trial.after)
            self._limit_traffic(known, plan.before, plan.after)  # it may have been connected to more networks meanwhile
            self._keep(plan, "confirm")
        return LimitsChanged(container_id, plan.before, plan.after)

    def undo(self, ref: str) -> LimitsChanged:
        """Take back a trial, or else the last change that was not taken back yet.

        Raises:
            Conflict: There is nothing to take back.
        """
        container_id = self._registry.resolve(ref)
        with self._lifecycle.lock(container_id):
            known = self._settled(container_id)
            changes = list(self.changes(container_id))
            is_trial = self._registry.trial(known) is not None
            if not is_trial and not changes:
                raise Conflict(f"container {known.record.name} has no change to take back")
            wanted = known.record.limits if is_trial else changes.pop().before
            plan = self._plan(known, lambda _: wanted, force=False)
            self._apply([plan])
            self._keep(plan, "undo")
            self._save_changes(container_id, changes)
        return LimitsChanged(container_id, plan.before, plan.after)

    def changes(self, ref: str) -> tuple[Change, ...]:
        """Return the changes of a container's limits that can be taken back, oldest first."""
        path = self._paths.container(self._registry.resolve(ref)) / "changes.json"
        try:
            return records.load(path, tuple[Change, ...])
        except FileNotFoundError:
            return ()

    def effective(self, ref: str) -> Effective:
        """Return what is in force for a running container, with the groups above it counted.

        Raises:
            Conflict: It is not running.
        """
        group, _ = self._lifecycle.group(self._registry.resolve(ref))
        return _effective(group)

    def preview(self, ref: str, change: Wanted) -> Preview:
        """Return what a change would do, without making it."""
        return self.preview_all({ref: change})[0]

    def preview_all(self, changes: Mapping[str, Wanted]) -> tuple[Preview, ...]:
        """Return what changes would do, without making them."""
        return tuple(self._previews(changes))

    def _previews(self, changes: Mapping[str, Wanted]) -> Iterator[Preview]:
        for ref, change in changes.items():
            known = self._registry.known(self._registry.resolve(ref))
            before = self._registry.limits(known)
            after, refusal = change(before), ""
            try:
                after = self._plan(known, change, force=False).after
            except (EngineError, OSError) as error:
                refusal = str(error)
            found = _effective(_group(known.state), after) if known.state and not refusal else None
            yield Preview(known.record.id, known.record.name, before, after, found, refusal)

    @staticmethod
    def shortage(previews: tuple[Preview, ...]) -> str:
        """Return why the previewed limits do not fit on this host together; empty when they do."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return shortage((preview.after for preview in previews), os.cpu_count() or 1, memory)

    def limit_processes(self, ref: str, wanted: tuple[Ulimit, ...]) -> None:
        """Set resource limits (ulimits) of a container: of its processes at once, and of those of later starts.

        Raises:
            InvalidArgument: There is no such limit.
            NotPermitted: This host's engine may not raise one; nothing is changed.
        """
        container_id = self._registry.resolve(ref)
        with self._lifecycle.lock(container_id):
            known = self._registry.known(container_id)
            merged = {limit.name: limit for limit in (*known.record.spec.ulimits, *wanted)}
            spec = replace(known.record.spec, ulimits=tuple(merged.values()))
            process_limits.check(wanted)
            if known.state:
                process_limits.set_all(_group(known.state), wanted)
            directory = self._paths.container(container_id)
            records.save(directory / "record.json", replace(known.record, spec=spec))
            process_limits.keep(directory / "config.json", spec.ulimits)
        texts = {limit.name: f"{limit.soft}:{limit.hard}" for limit in wanted}
        self._journal.append("container", "update", container_id, known.record.name, **texts)

    def reclaim(self, ref: str, size: int) -> int:
        """Have the kernel take back memory that a running container can do without; return the bytes it gave up.

        Raises:
            InvalidArgument: The size is not above 0.
            Conflict: It is not running.
            CgroupError: This kernel cannot do it.
        """
        if size <= 0:
            raise InvalidArgument("the memory to reclaim must be above 0")
        group, _ = self._lifecycle.group(self._registry.resolve(ref))
        before = self.counters(ref).memory_usage_bytes
        group.reclaim(size)
        return max(0, before - self.counters(ref).memory_usage_bytes)

    def counters(self, ref: str) -> Counters:
        """Return one reading of a running container's counters.

        Raises:
            Conflict: It is not running.
        """
        group, state = self._lifecycle.group(self._registry.resolve(ref))
        reader = Reader(group.version, group.paths, state.pid)
        try:
            return reader.read()
        finally:
            reader.close()

    def step_down(
        self, ref: str, memory: int, within: float, *, watch: Callable[[int], object] = lambda _used: None,
        stop: threading.Event | None = None,
    ) -> LimitsChanged:  # fmt: skip
        """Lower the memory limit of a running container bit by bit, as it gives up memory; see engine.containers.stepdown."""
        from engine.containers.stepdown import step_down

        return step_down(self, ref, memory, within, watch, stop)


def _group(state: State) -> Group:
    return Group.from_paths(state.cgroup["version"], state.cgroup["paths"])


def _difference(group: Group, before: Limits, after: Limits) -> dict[str, Any]:
    """Return `linux.resources` that lead a group from one set of limits to another."""
    wanted = resources.resources(after, block_device, before)
    for name, field in (("cpus", "cpuset_cpus"), ("mems", "cpuset_mems")):
        if getattr(after, field) is None and getattr(before, field) is not None:
            wanted.setdefault("cpu", {})[name] = group.inherited(f"cpuset.{name}")
    return wanted


def _effective(group: Group, after: Limits | None = None) -> Effective:
    """Return what is in force for a group, or would be with other limits."""
    cpus, cpus_by = in_force.cpu_limit(group, after is None)
    memory, memory_by = in_force.memory_limit(group, after is None)
    pids, pids_by = in_force.pids_limit(group, after is None)
    weight = None
    if after:
        own = "this container"
        cpus, cpus_by = _tighter((after.effective_cpus, own), (cpus, cpus_by))
        memory, memory_by = _tighter((after.memory, own), (memory, memory_by))
        pids, pids_by = _tighter((after.pids, own), (pids, pids_by))
        shares = after.cpu_shares or 1024
        weight = shares if group.version == 1 else weight_of_shares(shares)
    share = in_force.cpu_share(group, weight)
    return Effective(cpus or os.cpu_count() or 1, memory, pids, share, cpus_by, memory_by, pids_by)


def _tighter(own: tuple[Any, str], above: tuple[Any, str]) -> tuple[Any, str]:
    found = [item for item in (own, above) if item[0] is not None]
    return min(found, key=lambda item: item[0]) if found else (None, "")


def changed_fields(before: Limits, after: Limits) -> dict[str, str]:
    """Return "OLD -> NEW" of each field that differs."""
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in names(Limits))
    return {name: f"{old} -> {new}" for name, old, new in pairs if old != new}
