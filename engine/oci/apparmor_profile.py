"""The text of the AppArmor profile that containers run under by default; pure.

Like docker's it lets a container do what it may do anyway, and denies mounts and writes to the parts of /proc and /sys
that reach the kernel of the host. Source: apparmor.d(5).
"""

from __future__ import annotations

NAME = "tuicon-default"

# apparmor.d(5) knows no "all but": a name is spared by one line for each of its letters.
_RULES = """
  network,
  capability,
  file,
  umount,
  signal (receive) peer=unconfined,
  signal (send, receive) peer={name},
  ptrace (trace, tracedby, read, readby) peer={name},

  deny mount,
  deny /proc/* w,
  deny /proc/{{acpi,asound,bus,driver,dynamic_debug,fs,irq,scsi,sysvipc,tty}}/** w,
  deny /proc/sys/[^k]** w,
  deny /proc/sys/kernel/[^s]** w,
  deny /proc/sys/kernel/s[^h]** w,
  deny /proc/sys/kernel/sh[^m]** w,
  deny /proc/{{kcore,sysrq-trigger}} rwklx,
  deny /sys/[^f]** wklx,
  deny /sys/f[^s]** wklx,
  deny /sys/fs/[^c]** wklx,
  deny /sys/fs/c[^g]** wklx,
  deny /sys/{{firmware,kernel/security,devices/virtual/powercap}}/** rwklx,
"""


def text(name: str = NAME) -> str:
    """Return the profile as apparmor_parser reads it."""
    return f"profile {name} flags=(attach_disconnected,mediate_deleted) {{{_RULES.format(name=name)}}}\n"
