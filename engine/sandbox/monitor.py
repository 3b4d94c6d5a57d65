"""The monitor of one container: starts it, owns its streams and log, records how it ended.

It is forked from the launcher, leads a session of its own, and outlives the console and the engine. All it knows
is in the bundle (config.json, monitor.json); all it leaves is the log, exit.json and the journal's lines.
"""

from __future__ import annotations

import os
import time

from engine.linux import files, procfs, rtnetlink
from engine.linux.cgroup import aftermath
from engine.linux.cgroup import group as cgroups
from engine.linux.light import json, signal, socket
from engine.sandbox import connect, execute, protocol, spawn
from engine.sandbox.external import External
from engine.sandbox.follow import Follower
from engine.sandbox.health import HealthChecks
from engine.sandbox.ports import Ports
from engine.sandbox.recorder import Recorder
from engine.sandbox.resolver import Resolver
from engine.sandbox.restart import RestartPolicy
from engine.sandbox.spawn import StartFailure
from engine.sandbox.streams import Streams
from engine.sandbox.volumes import Volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.linux.cgroup.group import Group

    Document = dict[str, Any]

_EXIT_CODES = {"not-found": 127, "not-executable": 126, "failed": 125}


class Monitor:
    """Starts one container and stays with it to its end."""

    def __init__(self, request: Document, reply: socket.socket, session: socket.socket | None, lock: int) -> None:
        bundle = str(request["bundle"])
        self._asked_by: dict[str, str] = request.get("by") or {}
        self._reply = reply
        self._lock = lock
        self._bundle = bundle
        self._config: Document = json.loads(files.read_file(f"{bundle}/config.json"))
        self._settings: Document = json.loads(files.read_file(f"{bundle}/monitor.json"))
        self._group: Group = cgroups.group_for(str(self._settings["cgroup"]))
        self._streams = Streams(self._settings, session)
        self._policy = RestartPolicy(self._settings.get("restart") or {})
        self._settings_seen = -1
        self._checks = HealthChecks(self._health_wanted, self._config["process"], str(self._settings.get("seccomp") or ""),
            lambda status: self._journal(f"health_status: {status}"))  # fmt: skip
        runtime = str(self._settings.get("runtime") or "")
        self._external = External(runtime, self._config, self._settings, self._group) if runtime else None
        self._resolver = Resolver(self._settings, self._streams)
        self._ports = Ports(self._settings, self._resolver)
        self._volumes = Volumes(self._settings.get("volumes") or [])
        self._recorder = Recorder(self._settings, self._journal)
        self._follower = Follower(self._settings, self._ports, self._record_ports)
        self._streams.networks_changed = self._follower.answer
        self._pid = 0
        self._lasted = 0.0
        self._end = (0, False)  # exit code of the last run, and whether it was killed for lack of memory
        self._state: Document = {}

    def run(self) -> None:
        """Start the container, reply to the engine, and supervise until the end."""
        try:
            self._start()
        except StartFailure as failure:
            self._end_failed_start(failure)
            return
        except OSError as error:
            self._end_failed_start(StartFailure(_sentence(error), number=error.errno or 0))
            return
        self._journal("start", **self._asked_by)
        self._streams.listen(str(self._settings["attach"]), self._run_command)
        self._answer({"ok": True, "pid": self._pid})
        self._live()
        while self._starts_again():
            self._live()
        self._finish()

    def _health_wanted(self) -> Document | None:
        """Return the health check that is asked for by now, {} for none; None when nothing was written since the last look."""
        path = f"{self._bundle}/monitor.json"
        seen = os.stat(path).st_mtime_ns
        if seen == self._settings_seen:
            return None
        self._settings_seen = seen
        settings: Document = json.loads(files.read_file(path))
        return settings.get("health") or {}

    def _live(self) -> None:
        """Supervise one run to its end, and write that down."""
        began = time.monotonic()
        self._checks.begin(self._pid, self._group, self._streams)
        self._recorder.begin(self._group, self._pid)
        self._follower.is_running = True
        timers = (self._recorder, self._follower, self._resolver, self._checks)
        status = self._streams.supervise(self._pid, *timers)
        self._follower.is_running = False
        self._recorder.end()
        self._checks.end()
        self._lasted = time.monotonic() - began
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        exit_code = 128 + number if number else os.WEXITSTATUS(status)
        lack = aftermath.lack_of_memory(self._group)
        self._record_exit(exit_code, number, bool(lack), "")
        self._leave_networks()
        self._remove_group()
        if lack:
            self._journal("oom", **lack)
        self._journal_end(exit_code, number)
        self._end = exit_code, bool(lack)

    def _starts_again(self) -> bool:
        """Start the container again when its policy wants that, after a pause; return whether it runs."""
        if not self._is_start_wanted():
            return False
        self._record({**self._state, "status": "restarting"})
        if self._is_stopped():  # by somebody who did not see the record yet
            return False
        self._streams.wait(self._policy.next_pause(self._lasted))
        with files.FileLock(str(self._settings["lock"])):
            if not self._is_start_wanted():
                return False
            self._policy.count += 1
            self._config["linux"]["resources"] = self._resources_now()
            self._streams.begin_again()
            self._drop_interfaces()
            try:
                self._follower.follow()
                self._start()
            except (StartFailure, OSError) as error:
                self._kill_first()
                sentence = str(error) if isinstance(error, StartFailure) else _sentence(error)
                kind = str(error.answer["kind"]) if isinstance(error, StartFailure) else "failed"
                self._end = _EXIT_CODES[kind], False
                self._record_exit(self._end[0], 0, False, sentence)
                self._remove_group()
                self._journal_end(self._end[0], error=sentence)
                return False
        self._journal("start", restart=str(self._policy.count))
        return True

    def _is_start_wanted(self) -> bool:
        """Return whether the policy, which may have been changed meanwhile, wants another start."""
        try:
            settings: Document = json.loads(files.read_file(f"{self._bundle}/monitor.json"))
        except FileNotFoundError:  # somebody has removed the container
            return False
        self._policy.change(settings.get("restart") or {})
        return not self._is_stopped() and self._policy.wants(self._end[0])

    def _resources_now(self) -> Document:
        """Return the limits, which may have been changed since the last start."""
        directory = os.path.dirname(str(self._settings["exit"]))
        config: Document = json.loads(files.read_file(f"{directory}/config.json"))
        return config["linux"].get("resources") or {}

    def _is_stopped(self) -> bool:
        """Return whether somebody has asked for the end of the container."""
        return os.path.exists(str(self._settings["stopping"]))

    def _drop_interfaces(self) -> None:
        """Delete the host's ends of the last run's interfaces, which the kernel may not have got to yet."""
        for endpoint in (self._settings.get("network") or {}).get("endpoints") or []:
            try:
                rtnetlink.delete_link(str(endpoint["host_interface"]))
            except OSError:
                continue

    def _start(self) -> None:
        self._ports.hold()
        self._resolver.listen()
        self._checks.reset()
        self._group.create()
        if not self._external:
            self._group.apply(self._config["linux"].get("resources") or {})
        volumes = self._volumes.open()
        has_terminal = bool(self._config["process"].get("terminal"))
        child_streams = None if has_terminal else self._streams.make_pipes()
        try:
            spawned = (
                self._external.spawn(child_streams, volumes)
                if self._external
                else spawn.spawn(self._config, self._settings, self._group, child_streams, volumes)
            )
        finally:
            if child_streams:
                protocol.close_all(list(child_streams))
        self._pid = spawned.pid
        spawned.connect((self._settings.get("network") or {}).get("endpoints") or [])
        master = spawned.wait_ready(self._oci_state)
        if master >= 0:
            self._streams.use_terminal(master)
        self._record_running()
        self._ports.open()
        spawned.release()

    def _run_command(self, session: socket.socket, text: bytes) -> None:
        """Have a process of its own run one more command in the container, and reap it when it ends."""
        try:
            pid = -1 if not self._pid or self._external or self._group.is_frozen() else os.fork()
        except OSError:  # the host has no room for one more process now
            pid = -1
        if pid < 0:
            session.send(protocol.REFUSED)
            return
        if pid == 0:
            bundle = os.path.dirname(str(self._settings["exit"]))
            user = self._config["process"]["user"].get("username")
            execute.serve(session, text, {**self._settings, **self._state, "bundle": bundle, "user": user})
        pidfd = os.pidfd_open(pid)

        def reap() -> None:
            self._streams.unwatch(pidfd)
            os.close(pidfd)
            os.waitpid(pid, 0)

        self._streams.watch(pidfd, reap)

    def _oci_state(self) -> Document:
        return {"ociVersion": self._config["ociVersion"], "id": self._settings["id"], "status": "created",
            "pid": self._pid, "bundle": os.path.dirname(str(self._settings["exit"])),
            "annotations": self._config.get("annotations") or {}}  # fmt: skip

    def _record_running(self) -> None:
        state = {
            "status": "running", "pid": self._pid, "pid_start": procfs.start_time(self._pid),
            "monitor_pid": os.getpid(), "monitor_start": procfs.start_time(os.getpid()), "boot_id": files.boot_id(),
            "started_at": files.rfc3339(time.time_ns()),
            "cgroup": {"version": self._group.version, "paths": self._group.paths},
            "endpoints": (self._settings.get("network") or {}).get("endpoints") or [], "restarts": self._policy.count,
            "name": self._settings["name"], "ports": self._ports.published,
            "resolver": self._resolver.redirect,
        }  # fmt: skip
        self._record(state)

    def _record_ports(self) -> None:
        self._record({**self._state, "ports": self._ports.published, "resolver": self._resolver.redirect})

    def _record(self, state: Document) -> None:
        self._state = state
        files.write_atomic(str(self._settings["state"]), json.dumps(state).encode())

    def _journal(self, action: str, **attributes: str) -> None:
        entry = {
            "time": files.rfc3339(time.time_ns()), "type": "container", "action": action,
            "id": self._settings["id"], "name": self._settings["name"],
            "attributes": {"image": str(self._settings.get("image") or ""), **attributes},
        }  # fmt: skip
        files.append_line(str(self._settings["journal"]), json.dumps(entry).encode())

    def _journal_end(self, exit_code: int, number: int = 0, error: str = "") -> None:
        more = {"signal": str(number)} if number else {"error": error} if error else {}
        self._journal("die", exitCode=str(exit_code), **more)

    def _answer(self, answer: Document) -> None:
        """Tell the engine, and hold the container's lock no longer: it outlived an engine that died while waiting."""
        os.close(self._lock)
        try:
            self._reply.send(json.dumps(answer).encode())
        except OSError:
            pass  # the engine is gone; the container stays
        self._reply.close()

    def _end_failed_start(self, failure: StartFailure) -> None:
        self._kill_first()
        exit_code = _EXIT_CODES[str(failure.answer["kind"])]
        self._record_exit(exit_code, 0, False, str(failure))
        self._remove_group()
        self._clean_up()
        self._journal_end(exit_code, error=str(failure))
        self._streams.end(exit_code, False)
        self._answer(failure.answer)

    def _kill_first(self) -> None:
        """End a first process that never became the command."""
        if self._pid:
            try:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            except (ProcessLookupError, ChildProcessError):
                return

    def _finish(self) -> None:
        self._clean_up()
        self._remove_if_asked()
        self._streams.end(*self._end)

    def _record_exit(self, exit_code: int, number: int, oom_killed: bool, error: str) -> None:
        record = {
            "started_at": self._state.get("started_at"),"exit_code": exit_code, "signal": number, "oom_killed": oom_killed, "error": error,
            "finished_at": files.rfc3339(time.time_ns()), "restarts": self._policy.count}  # fmt: skip
        files.write_atomic(str(self._settings["exit"]), json.dumps(record).encode(), durable=False)

    def _remove_group(self) -> None:
        self._pid = 0
        if self._external:
            self._external.delete()
        try:
            self._group.kill()
            self._group.remove()
        except OSError as error:
            self._journal("error", message=_sentence(error))

    def _leave_networks(self) -> None:
        try:
            self._ports.close()
            for endpoint in self._follower.look():
                connect.detach(endpoint)
        except OSError as error:
            self._journal("error", message=_sentence(error))

    def _clean_up(self) -> None:
        self._volumes.release()
        self._leave_networks()
        leases: list[str] = self._settings.get("leases") or []
        for path in [*leases, *(str(self._settings[name]) for name in ("attach", "stopping", "networking", "state"))]:
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue

    def _remove_if_asked(self) -> None:
        """Remove a container that was started with --rm, in an order that leaves no half of it."""
        if not self._settings.get("auto_remove"):
            return
        directory = os.path.dirname(str(self._settings["exit"]))
        trash = f"{self._settings['trash']}/{self._settings['id']}.{os.getpid()}"
        try:
            os.rename(directory, trash)
        except FileNotFoundError:
            return  # somebody removed it meanwhile
        _unlink_if_ours(str(self._settings["name_link"]), str(self._settings["id"]))
        volumes: list[str] = self._settings.get("anonymous_volumes") or []
        for number, path in enumerate(volumes):
            if os.path.exists(f"{path}/shared"):  # another container has it too
                continue
            self._volumes.forget(os.path.basename(path))
            try:
                os.rename(path, f"{trash}.{number}")
            except FileNotFoundError:
                continue
            files.remove_tree(f"{trash}.{number}")
        for path in (os.path.dirname(str(self._settings["state"])), trash):
            files.remove_tree(path)
        self._journal("destroy")


def _unlink_if_ours(link: str, target: str) -> None:
    try:
        if os.readlink(link) == target:
            os.unlink(link)
    except OSError:
        return


def _sentence(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else (error.strerror or str(error))


def main(request: Document, fds: list[int]) -> None:
    """Be the monitor of the container in request["bundle"]; fds: reply socket, container's lock, maybe a session."""
    reply = socket.socket(fileno=fds[0])
    session = socket.socket(fileno=fds[2]) if len(fds) > 2 else None
    try:
        monitor = Monitor(request, reply, session, fds[1])
    except (OSError, ValueError, KeyError) as error:
        reply.send(json.dumps(StartFailure(f"the container's files are damaged: {error}").answer).encode())
        return
    monitor.run()
