from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from engine.errors import InvalidArgument
from engine.linux.capabilities import DEFAULT, NAMES
from engine.oci.seccomp_profile import default_profile, load_profile

MACHINES = ("x86_64", "aarch64", "s390x", "ppc64le", "riscv64", "mips64", "loongarch64")
# Of seccomp/default.json in moby/profiles at commit cd3bed8, resolved for each machine, kernel and set of capabilities.
MOBY = "ed210cedb5bcd1eb45e9a087d0be1a223d08d1e015850b256c2db5c67042d55c"


def effect(profile: dict[str, Any]) -> dict[str, list[str]]:
    """What a profile does with each system call, however its rules are grouped."""
    found: dict[str, set[str]] = {}
    for rule in profile["syscalls"]:
        arguments = sorted(
            (item["index"], item["value"], item.get("valueTwo") or 0, item["op"]) for item in rule.get("args") or ()
        )
        for name in rule["names"]:
            found.setdefault(name, set()).add(json.dumps([rule["action"], rule.get("errnoRet"), arguments]))
    return {name: sorted(rules) for name, rules in sorted(found.items())}


def situations() -> Iterator[tuple[Collection[str], str, tuple[int, int]]]:
    for machine in MACHINES:
        yield from ((capabilities, machine, (6, 1)) for capabilities in (DEFAULT, NAMES, ()))
        yield DEFAULT, machine, (4, 4)
    yield from (((name,), "x86_64", (6, 1)) for name in NAMES)


def test_the_default_profile_does_what_dockers_does() -> None:
    every = [effect(default_profile(*situation)) for situation in situations()]
    assert hashlib.sha256(json.dumps(every).encode()).hexdigest() == MOBY


def test_what_no_rule_names_is_refused_with_eperm() -> None:
    profile = default_profile(DEFAULT, "x86_64", (6, 1))
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert not set(effect(profile)) & {"add_key", "keyctl", "userfaultfd", "io_uring_setup", "mount", "bpf"}


def test_a_file_in_dockers_format_is_resolved_for_the_container() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"name": "old", "action": "SCMP_ACT_ALLOW"},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "9.1"}},
        ],
    }
    plain = load_profile(document, ("CHOWN",), "x86_64", (6, 1))
    assert set(effect(plain)) == {"read", "old", "clone"}
    assert plain["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert set(effect(load_profile(document, ("BPF", "SYS_ADMIN"), "aarch64", (9, 1)))) == {
        "read", "old", "bpf", "arm", "new"}  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"defaultAction": "A", "architectures": ["x"], "archMap": [{}]},
        {"defaultAction": "A", "syscalls": [{"name": "a", "names": ["b"]}]},
        {"defaultAction": "A", "syscalls": [{"names": ["b"], "includes": {"minKernel": "x"}}]},
    ],
)
def test_a_broken_profile_is_refused_in_a_sentence(document: Any) -> None:
    with pytest.raises(InvalidArgument, match="seccomp profile"):
        load_profile(document, (), "x86_64", (6, 1))
