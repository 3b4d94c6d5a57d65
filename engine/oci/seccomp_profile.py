"""The default seccomp profile, equal in effect to docker's, and profiles in docker's file format; pure.

Data are grouped by what they depend on: always, an architecture, or a capability of the container.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from engine.errors import InvalidArgument

Document = dict[str, Any]

_ALLOW, _ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
_NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEW* of clone's first argument
_ENOSYS = 38
_VSOCK = 40

# What uname says: (docker's name, libseccomp's, the architectures whose programs it runs as well).
_MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64", ("SCMP_ARCH_ARM",)),
    "mips64": ("mips64", "SCMP_ARCH_MIPS64", ("SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32")),
    "s390x": ("s390x", "SCMP_ARCH_S390X", ("SCMP_ARCH_S390",)),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE", ()),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64", ()),
    "loongarch64": ("loongarch64", "SCMP_ARCH_LOONGARCH64", ()),
}

_ALWAYS = """
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
    fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock
    fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
    futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu
    getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
    getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
    getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
    io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
    listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier
    memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
    newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect
    poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64
    recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir
    rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
    semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area
    set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
    setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid
    setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
    sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
    timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime
    utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
"""
_SINCE_4_8 = "process_vm_readv process_vm_writev ptrace"
_OF_MACHINE = {
    "ppc64le": "sync_file_range2 swapcontext",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    "x86_64": "arch_prctl modify_ldt",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    "riscv64": "riscv_flush_icache",
}
_OF_CAPABILITY = {
    "DAC_READ_SEARCH": "open_by_handle_at",
    "SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
        lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
        sethostname setns syslog umount umount2 unshare
    """,
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "delete_module init_module finit_module",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "SYS_RAWIO": "iopl ioperm",
    "SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "SYS_TTY_CONFIG": "vhangup",
    "SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "SYSLOG": "syslog",
    "BPF": "bpf",
    "PERFMON": "perf_event_open",
}
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def default_profile(capabilities: Collection[str], machine: str, kernel: tuple[int, int]) -> Document:
    """Return `linux.seccomp` of the default profile.

    Args:
        capabilities: Those of the container, with or without CAP_.
        machine: As uname says it; an unknown one has no architectures but the native one.
        kernel: Major and minor version.
    """
    owned = {name.removeprefix("CAP_") for name in capabilities}
    _, native, others = _MACHINES.get(machine, ("", "", ()))
    names = set(_ALWAYS.split()) | set(_OF_MACHINE.get(machine, "").split())
    if kernel >= (4, 8):
        names |= set(_SINCE_4_8.split())
    for capability, more in _OF_CAPABILITY.items():
        if capability in owned:
            names |= set(more.split())
    rules = [
        _rule(sorted(names)),
        *_sockets(),
        *(_rule(["personality"], _argument(0, value)) for value in _PERSONALITIES),
    ]
    if "SYS_ADMIN" not in owned:
        index = 1 if machine == "s390x" else 0
        rules.append(_rule(["clone"], _argument(index, _NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ")))
        rules.append({"names": ["clone3"], "action": _ERRNO, "errnoRet": _ENOSYS})
    return {
        "defaultAction": _ERRNO,
        "defaultErrnoRet": 1,
        "architectures": [native, *others] if native else [],
        "syscalls": rules,
    }


def _rule(names: list[str], *arguments: Document) -> Document:
    return {"names": names, "action": _ALLOW, **({"args": list(arguments)} if arguments else {})}


def _argument(index: int, value: int, operator: str = "SCMP_CMP_EQ") -> Document:
    return {"index": index, "value": value, "valueTwo": 0, "op": operator}


def _sockets() -> list[Document]:
    """Return the rules for socket families: all but AF_VSOCK (a way to the host) and AF_ALG."""
    return [
        _rule(["socket"], _argument(0, _VSOCK - 2, "SCMP_CMP_LT")),
        _rule(["socket"], _argument(0, _VSOCK - 1)),
        _rule(["socket"], _argument(0, _VSOCK, "SCMP_CMP_GT")),
    ]


def load_profile(document: Document, capabilities: Collection[str], machine: str, kernel: tuple[int, int]) -> Document:
    """Return `linux.seccomp` of a profile in docker's file format, for one container on one host.

    Raises:
        InvalidArgument: It is no such profile.
    """
    owned = {f"CAP_{name.removeprefix('CAP_')}" for name in capabilities}
    if not isinstance(document, dict) or not isinstance(document.get("defaultAction"), str):
        raise InvalidArgument("the seccomp profile has no defaultAction")
    if document.get("architectures") and document.get("archMap"):
        raise InvalidArgument("the seccomp profile has both architectures and archMap")
    name, native, _ = _MACHINES.get(machine, (machine, "", ()))
    architectures = list(document.get("architectures") or [])
    for item in document.get("archMap") or ():
        if item.get("architecture") == native:
            architectures = [native, *(item.get("subArchitectures") or ())]
    rules = []
    for rule in document.get("syscalls") or ():
        if rule.get("name") and rule.get("names"):
            raise InvalidArgument("a rule of the seccomp profile has both name and names")
        if _applies(rule, owned, name, kernel):
            kept = {key: rule[key] for key in ("action", "errnoRet", "args") if rule.get(key) is not None}
            rules.append({**kept, "names": list(rule.get("names") or [rule.get("name")])})
    wanted = {key: document[key] for key in ("defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")
        if document.get(key)}  # fmt: skip
    return {"defaultAction": document["defaultAction"], **wanted, "architectures": architectures, "syscalls": rules}


def _applies(rule: Document, owned: set[str], machine: str, kernel: tuple[int, int]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    wanted_kernel = includes.get("minKernel")
    if wanted_kernel:
        major, _, minor = str(wanted_kernel).partition(".")
        if not (major.isdigit() and minor.isdigit()):
            raise InvalidArgument(f"the seccomp profile has a minKernel that is no version: {wanted_kernel}")
        if kernel < (int(major), int(minor)):
            return False
    if includes.get("arches") and machine not in includes["arches"]:
        return False
    if includes.get("caps") and not set(includes["caps"]) <= owned:
        return False
    return machine not in (excludes.get("arches") or ()) and not set(excludes.get("caps") or ()) & owned
