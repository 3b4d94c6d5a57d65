"""The volumes of one container that have to be mounted: by a child, in a mount namespace that has nothing else.

A monitor holds that namespace by a descriptor, and containers get detached copies of the mount in it. Whoever else uses
the volume takes the namespace from a monitor that has it (its note in the volume's directory says which descriptor), so
all see one file system. When the last monitor and the last container are gone, however they end, so is the mount.

Each document says: "source" (what stands for it in the config), "name", and either "path" (a directory of the host),
"lower" (the layers of an image), or "mount" (what a driver plans) with "notes" (the volume's volatile directory) and
maybe "copy" (layers and path of what an empty one starts with); "subpath" of it is mounted; "place" is any directory.
"""

from __future__ import annotations

import errno
import os
import time

from engine.linux import files, inside, procfs, syscalls
from engine.linux.light import json
from engine.sandbox import sources, trees
from engine.sandbox.mount_options import MountOptions
from engine.sandbox.mounts import MountError, fd_path, mount_overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Document = dict[str, Any]

_CLONE = syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH | syscalls.AT_RECURSIVE
_UNKNOWN = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP)
_FAILED = "failed"


class Volumes:
    """The volumes of one container; what is held goes with this process."""

    def __init__(self, wanted: list[Document]) -> None:
        self._wanted = wanted
        self._namespaces: dict[str, int] = {}

    def open(self) -> dict[str, int]:
        """Return a detached mount for each volume, by what stands for it in the config.

        Raises:
            MountError: One cannot be mounted, or has no such path.
        """
        found: dict[str, int] = {}
        try:
            for volume in self._wanted:
                found[str(volume["source"])] = self._open(volume)
        except BaseException:
            for fd in found.values():
                os.close(fd)
            raise
        return found

    def release(self) -> None:
        """Let go of all; containers that still run keep theirs."""
        for volume in self._wanted:
            fd = self._namespaces.pop(str(volume["name"]), -1)
            if fd >= 0:
                os.close(fd)
                _unlink(_note(volume))

    def forget(self, name: str) -> None:
        """Remove what is noted of a volume that is about to be removed."""
        for volume in self._wanted:
            if volume["name"] == name and volume.get("notes"):
                files.remove_tree(str(volume["notes"]))

    def _open(self, volume: Document) -> int:
        subpath = str(volume.get("subpath") or "")
        if volume.get("mount"):
            namespace, seconds = self._namespace(volume), float(volume["mount"]["timeout"])
            return _named(volume, lambda: trees.made_by_child(lambda: _copy_of(namespace, subpath), seconds))
        if volume.get("lower"):
            return _named(volume, lambda: trees.made_by_child(lambda: _image(volume, subpath)))
        return _named(volume, lambda: _path_in(inside.open_root(str(volume["path"])), subpath))

    def _namespace(self, volume: Document) -> int:
        """Return the mount namespace of a volume, of another container's monitor or a new one.

        Those who wait while somebody waits for a server in vain do not try again: they fail with him.
        """
        name = str(volume["name"])
        if name in self._namespaces:
            return self._namespaces[name]
        asked_at = time.monotonic()
        os.makedirs(str(volume["notes"]), 0o700, exist_ok=True)
        with files.FileLock(f"{volume['notes']}/lock"):
            _fail_with_others(volume, asked_at)
            namespace = _held_by_others(str(volume["notes"]))
            if namespace < 0:
                namespace = _mounted(volume)
            self._namespaces[name] = namespace
            note = {"start": procfs.start_time(os.getpid()), "fd": namespace, "inode": os.fstat(namespace).st_ino}
            files.write_atomic(_note(volume), json.dumps(note).encode())
            if volume.get("copy"):
                _fill(volume, namespace)
            _unlink(f"{volume['notes']}/{_FAILED}")
        return namespace


def _named(volume: Document, make: Callable[[], int]) -> int:
    try:
        return make()
    except OSError as error:
        if volume.get("mount") and isinstance(error, TimeoutError):
            error = OSError(error.errno, _reason(volume["mount"], error))
        subpath = str(volume.get("subpath") or "")
        where = f"{subpath} of {_what(volume)}" if subpath else _what(volume)
        raise MountError(error, where) from error


def _what(volume: Document) -> str:
    return str(volume["name"]) if volume.get("lower") else f"the volume {volume['name']}"


def _note(volume: Document) -> str:
    return f"{volume['notes']}/{os.getpid()}"


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _held_by_others(directory: str) -> int:
    """Return the mount namespace that a living monitor holds, or -1; forget the notes of others."""
    for name in os.listdir(directory):
        if not name.isdigit():
            continue
        path = f"{directory}/{name}"
        try:
            note: Document = json.loads(files.read_file(path, 4096))
            fd = os.open(f"/proc/{name}/fd/{note['fd']}", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError, KeyError):
            _unlink(path)
            continue
        if os.fstat(fd).st_ino == note["inode"] and procfs.is_same_process(int(name), int(note["start"])):
            return fd
        os.close(fd)
        _unlink(path)
    return -1


def _fail_with_others(volume: Document, asked_at: float) -> None:
    try:
        failed: Document = json.loads(files.read_file(f"{volume['notes']}/{_FAILED}", 4096))
    except (OSError, ValueError):
        return
    if float(failed["at"]) > asked_at:
        raise MountError(OSError(int(failed["errno"]), str(failed["text"])), _what(volume))


def _mounted(volume: Document) -> int:
    """Mount a volume; return the mount namespace that has it as its root."""
    plan: Document = volume["mount"]
    try:
        return trees.made_by_child(lambda: _namespace_with(plan, str(volume["place"])), float(plan["timeout"]))
    except OSError as error:
        raise _failure(volume, error) from error


def _failure(volume: Document, error: OSError) -> MountError:
    """Note for those who wait that a volume has failed; return what to raise."""
    number, text = error.errno or errno.EIO, _reason(volume["mount"], error)
    failed = {"at": time.monotonic(), "errno": number, "text": text}
    files.write_atomic(f"{volume['notes']}/{_FAILED}", json.dumps(failed).encode())
    return MountError(OSError(number, text), _what(volume))


def _reason(plan: Document, error: OSError) -> str:
    """Return why a volume failed, and whose fault that is."""
    text = error.strerror or str(error)
    if isinstance(error, TimeoutError):
        text = f"no answer within {float(plan['timeout']):.0f} seconds"
    elif text == os.strerror(errno.ENODEV):
        text = f"this kernel has no file system of the type {plan['type']}"
    server = str(plan.get("server") or "")
    return f"the server {server}: {text}" if server else f"{plan['source']}: {text}"


def _namespace_with(plan: Document, place: str) -> int:
    """In a child: leave the host's mounts for a namespace in which there is only the one that is planned."""
    own = _apart()
    try:
        _mount(plan, place)
    except OSError as error:
        if error.errno != errno.ENODEV or not plan.get("program"):
            raise
        tree = sources.serve(plan, place)
        os.close(own)
        own = _apart()  # without the program, whose root must not be what it serves
        place_fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        syscalls.move_mount(tree, place_fd)
    os.chdir(place)
    syscalls.pivot_root(".", ".")
    syscalls.umount(".", syscalls.MNT_DETACH)
    return own


def _apart() -> int:
    """Enter a mount namespace of our own; return an fd of it."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)
    return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _mount(plan: Document, place: str) -> None:
    kind, source = str(plan["type"]), str(plan["source"])
    options = [sources.with_address(option, plan.get("hosts") or []) for option in plan.get("options") or []]
    is_read_only = bool(MountOptions(options, kind).flags & syscalls.MS_RDONLY)
    if plan.get("monitors"):
        source = sources.monitors_of(plan) + source
        options += [f"secret={secret}"] if (secret := sources.secret_of(plan)) else []
    device = sources.loop_device(kind, source, is_read_only=is_read_only)  # open until it is mounted
    if device >= 0:
        source = os.readlink(fd_path(device))
    attempts: list[list[str]] = plan.get("attempts") or [[]]
    for number, more in enumerate(attempts):
        asked = MountOptions([*more, *options], kind)
        try:
            syscalls.mount(source, place, kind, asked.flags, ",".join(asked.data))
        except OSError as error:
            if error.errno not in _UNKNOWN or number == len(attempts) - 1:
                raise
        else:
            break


def _copy_of(namespace: int, subpath: str) -> int:
    syscalls.setns(namespace, syscalls.CLONE_NEWNS)
    return _path_in(inside.open_root("/"), subpath)


def _image(volume: Document, subpath: str) -> int:
    """In a child: mount the layers of an image, and return what is mounted of it."""
    _apart()
    place = str(volume["place"])
    # The kernel wants two layers when none is to be written, of which one may be empty.
    syscalls.mount("tmpfs", place, "tmpfs", syscalls.MS_RDONLY)
    mount_overlay(place, [*volume["lower"], place], "", "")
    return _path_in(inside.open_root(place), subpath)


def _path_in(root_fd: int, subpath: str) -> int:
    """Return a detached copy of the mount of a path inside a root; links in it lead nowhere else."""
    fd = inside.open_inside(root_fd, subpath, os.O_PATH) if subpath else root_fd
    try:
        return syscalls.open_tree(fd, "", _CLONE)
    finally:
        os.close(root_fd)
        if fd != root_fd:
            os.close(fd)


def _fill(volume: Document, namespace: int) -> None:
    """Copy what an image has at the mount point into a volume that is empty."""
    if not _is_empty(volume, namespace):
        return
    copy: Document = volume["copy"]
    image = trees.made_by_child(lambda: _image({"lower": copy["lower"], "place": volume["place"]}, ""))

    def fill() -> int:
        root = _root_of(namespace)
        inside.copy_up(image, str(copy["target"]), root)
        return root

    try:
        os.close(trees.made_by_child(fill))
    except OSError as error:
        text = f"it cannot be filled from {copy['target']} of the image: {error.strerror}"
        raise MountError(OSError(error.errno, text), _what(volume)) from error
    finally:
        os.close(image)


def _is_empty(volume: Document, namespace: int) -> bool:
    """Return whether a volume has no files; a server that is gone by now is not waited for much longer."""

    def look() -> int:
        root = _root_of(namespace)
        if os.listdir(root):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        return root

    try:
        os.close(trees.made_by_child(look, float(volume["mount"]["timeout"])))
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise _failure(volume, error) from error
        return False
    return True


def _root_of(namespace: int) -> int:
    """In a child: enter a mount namespace; return its root, opened for reading."""
    syscalls.setns(namespace, syscalls.CLONE_NEWNS)
    return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
