"""The options of an OCI mount, parsed; pure. Source: runtime-spec config.md ("Linux mount options"), mount(8)."""

from __future__ import annotations

from engine.linux import syscalls as s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# name: (flag of mount(2), attribute of mount_setattr(2), whether the option sets it)
_SWITCHES = {
    "ro": (s.MS_RDONLY, s.MOUNT_ATTR_RDONLY, True), "rw": (s.MS_RDONLY, s.MOUNT_ATTR_RDONLY, False),
    "nosuid": (s.MS_NOSUID, s.MOUNT_ATTR_NOSUID, True), "suid": (s.MS_NOSUID, s.MOUNT_ATTR_NOSUID, False),
    "nodev": (s.MS_NODEV, s.MOUNT_ATTR_NODEV, True), "dev": (s.MS_NODEV, s.MOUNT_ATTR_NODEV, False),
    "noexec": (s.MS_NOEXEC, s.MOUNT_ATTR_NOEXEC, True), "exec": (s.MS_NOEXEC, s.MOUNT_ATTR_NOEXEC, False),
    "nodiratime": (s.MS_NODIRATIME, s.MOUNT_ATTR_NODIRATIME, True),
    "diratime": (s.MS_NODIRATIME, s.MOUNT_ATTR_NODIRATIME, False),
    "nosymfollow": (s.MS_NOSYMFOLLOW, s.MOUNT_ATTR_NOSYMFOLLOW, True),
    "symfollow": (s.MS_NOSYMFOLLOW, s.MOUNT_ATTR_NOSYMFOLLOW, False),
    "sync": (s.MS_SYNCHRONOUS, 0, True), "async": (s.MS_SYNCHRONOUS, 0, False),
    "dirsync": (s.MS_DIRSYNC, 0, True), "mand": (s.MS_MANDLOCK, 0, True), "nomand": (s.MS_MANDLOCK, 0, False),
    "silent": (s.MS_SILENT, 0, True), "loud": (s.MS_SILENT, 0, False),
    "iversion": (s.MS_I_VERSION, 0, True), "noiversion": (s.MS_I_VERSION, 0, False),
    "acl": (s.MS_POSIXACL, 0, True), "noacl": (s.MS_POSIXACL, 0, False),
    "lazytime": (s.MS_LAZYTIME, 0, True), "nolazytime": (s.MS_LAZYTIME, 0, False),
}  # fmt: skip
# Access times are one field of an attribute mask, not bits of their own.
_ACCESS_TIMES = {
    "relatime": (s.MS_RELATIME, 0), "norelatime": (0, 0), "atime": (0, 0),
    "noatime": (s.MS_NOATIME, s.MOUNT_ATTR_NOATIME),
    "strictatime": (s.MS_STRICTATIME, s.MOUNT_ATTR_STRICTATIME), "nostrictatime": (0, 0),
}  # fmt: skip
PROPAGATION = {
    "private": s.MS_PRIVATE, "rprivate": s.MS_PRIVATE | s.MS_REC,
    "slave": s.MS_SLAVE, "rslave": s.MS_SLAVE | s.MS_REC,
    "shared": s.MS_SHARED, "rshared": s.MS_SHARED | s.MS_REC,
    "unbindable": s.MS_UNBINDABLE, "runbindable": s.MS_UNBINDABLE | s.MS_REC,
}  # fmt: skip
OPTIONS = tuple(sorted({*_SWITCHES, *_ACCESS_TIMES, *PROPAGATION, "bind", "rbind", "defaults", "remount",
    "tmpcopyup", "idmap", "ridmap", *(f"r{name}" for name, (_, mask, _) in _SWITCHES.items() if mask),
    *(f"r{name}" for name in _ACCESS_TIMES)}))  # fmt: skip


class MountOptions:
    """What the options of one mount mean.

    Attributes:
        flags: MS_* for mount(2); data: what is left for the file system.
        set, clear: MOUNT_ATTR_* of the mount itself; set_below, clear_below: of it and all below it.
        propagation: MS_* changes of propagation in their order.
        is_bind, is_recursive: Whether it is a bind, and with what is mounted below its source.
        is_remount: Whether an existing mount is changed.
        copies_up: Whether a tmpfs starts with what it hides.
        idmap: "idmap", "ridmap" or "".
    """

    def __init__(self, options: Iterable[str], kind: str) -> None:
        self.flags = self.set = self.clear = self.set_below = self.clear_below = 0
        self.propagation: list[int] = []
        self.is_bind = kind == "bind"
        self.is_recursive = self.is_remount = self.copies_up = False
        self.idmap = ""
        self.data = [option for option in options if not self._take(option)]

    def _take(self, option: str) -> bool:
        if option in _SWITCHES:
            self._switch(option)
        elif option in _ACCESS_TIMES:
            flag, attribute = _ACCESS_TIMES[option]
            self.flags |= flag
            self.set |= attribute
            self.clear |= s.MOUNT_ATTR_ATIME_MASK
        elif option in PROPAGATION:
            self.propagation.append(PROPAGATION[option])
        elif option in ("bind", "rbind"):
            self.is_bind, self.is_recursive = True, option == "rbind"
        elif option in ("idmap", "ridmap"):
            self.idmap = option
        elif option in ("remount", "tmpcopyup"):
            self.is_remount |= option == "remount"
            self.copies_up |= option == "tmpcopyup"
        elif option == "defaults":
            self.flags = 0
        else:
            return self._take_recursive(option)
        return True

    def _switch(self, option: str) -> None:
        flag, attribute, sets = _SWITCHES[option]
        if sets:
            self.flags, self.set, self.clear = self.flags | flag, self.set | attribute, self.clear & ~attribute
        else:
            self.flags, self.set, self.clear = self.flags & ~flag, self.set & ~attribute, self.clear | attribute

    def _take_recursive(self, option: str) -> bool:
        name = option[1:] if option.startswith("r") else ""
        if name in _SWITCHES and _SWITCHES[name][1]:
            _, attribute, sets = _SWITCHES[name]
            self.set_below |= attribute if sets else 0
            self.clear_below |= 0 if sets else attribute
            return True
        if name in _ACCESS_TIMES:
            self.set_below |= _ACCESS_TIMES[name][1]
            self.clear_below |= s.MOUNT_ATTR_ATIME_MASK
            return True
        return False
