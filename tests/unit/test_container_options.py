from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.containers import isolation
from engine.errors import EngineError, InvalidArgument, NotSupported
from engine.images.catalogue import _settings as image_settings
from engine.linux.capabilities import NAMES
from engine.model.container import ContainerSpec, Device, Mount, RestartPolicy, Ulimit
from engine.model.health import HealthCheck
from engine.model.image import ImageSettings
from engine.oci import cdi, devices, runtime_config
from engine.oci.manifest import Settings
from engine.oci.runtime_config import Bind, Place
from tuicon.cli import parser, spec
from tuicon.cli.failure import Usage

OWN = dict.fromkeys(("mount", "pid", "ipc", "uts", "cgroup", "network"), "")
SHIFTED = ({"containerID": 0, "hostID": 100_000, "size": 65536},)


def asked(*words: str) -> ContainerSpec:
    line = ["run", *words, "image"]
    return spec.spec_of(parser.build(line).parse_args(line))


def config(wanted: ContainerSpec, place: Place | None = None) -> dict[str, Any]:
    return runtime_config.runtime_config(
        wanted, ImageSettings(command=("true",)), place or Place("/r", "box", namespaces=OWN)
    )


def mounts_of(document: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    return {mount["destination"]: (mount["source"], mount["options"]) for mount in document["mounts"]}


def test_flags_become_the_specification() -> None:
    found = asked(
        "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor:mine", "--security-opt",
        "no-new-privileges=false", "--security-opt", "mask=/a:/b", "--security-opt", "unmask=/proc/kcore",
        "--userns", "auto:size=2000", "--pid", "host", "--ipc", "container:x", "--uts", "host", "--cgroupns", "host",
        "--device", "/dev/zero:/dev/z:r", "--device", "vendor.com/net=nic0", "--device", "/dev/tty:rw",
        "--device-cgroup-rule", "c 42:* rwm", "--gpus", "all", "--group-add", "audio", "--ulimit", "nofile=10:20",
        "--ulimit", "core=-1", "--sysctl", "net.ipv4.ip_forward=1", "--oom-score-adj", "7", "--init",
        "--restart", "on-failure:3", "--health-cmd", "true", "--health-interval", "1m", "--health-retries", "2",
        "--runtime", "crun", "--cgroup-parent", "/x", "--log-driver", "journald", "--log-opt", "tag=t",
        "--log-opt", "labels=a,b", "--annotation", "k=v", "--stop-timeout", "3", "--shm-size", "1m",
    )  # fmt: skip
    assert (found.seccomp, found.apparmor, found.no_new_privileges) == ("unconfined", "mine", False)
    assert (found.mask, found.unmask) == (("/a", "/b"), ("/proc/kcore",))
    assert (found.userns, found.pid_mode, found.ipc_mode, found.uts_mode, found.cgroupns_mode) == (
        "auto:size=2000", "host", "container:x", "host", "host")  # fmt: skip
    assert found.devices == (
        Device("/dev/zero", "/dev/z", "r"), Device("vendor.com/net=nic0"), Device("/dev/tty", "/dev/tty", "rw"))  # fmt: skip
    assert (found.device_rules, found.gpus, found.group_add) == (("c 42:* rwm",), "all", ("audio",))
    assert found.ulimits == (Ulimit("nofile", 10, 20), Ulimit("core", -1, -1))
    assert (found.sysctls, found.oom_score_adj, found.init) == ({"net.ipv4.ip_forward": "1"}, 7, True)
    assert found.restart == RestartPolicy("on-failure", 3)
    assert found.health == HealthCheck(("CMD-SHELL", "true"), interval=60.0, retries=2)
    assert (found.runtime, found.cgroup_parent, found.annotations) == ("crun", "/x", {"k": "v"})
    assert (found.log.driver, found.log.tag, found.log.labels) == ("journald", "t", ("a", "b"))
    assert (found.stop_timeout, found.shm_size) == (3.0, 1 << 20)
    assert asked("--security-opt", "systempaths=unconfined").unmask == ("ALL",)
    assert asked("--no-healthcheck").health.test == ("NONE",)


@pytest.mark.parametrize(
    "words",
    [
        ("--security-opt", "nonsense"), ("--security-opt", "seccomp=/no/such/file"), ("--ulimit", "nofile"),
 ("--ulimit", "nofile=a"), ("--device", "zero"),
        ("--device", "/dev/zero:/a:r:x"), ("--restart", "sometimes"), ("--restart", "always:3"), ("--sysctl", "a"),
        ("--health-interval", "1us"), ("--no-healthcheck", "--health-cmd", "x"), ("--log-opt", "colour=red"),
        ("--log-driver", "none", "--log-opt", "max-size=1m"), ("--health-retries", "-1"), ("--oom-score-adj", "x"),
        ("--env-file", "/no/such/file"), ("--label-file", "/no/such/file"), ("--shm-size", "big"),
    ],
)  # fmt: skip
def test_malformed_flags_are_refused_in_one_sentence(words: tuple[str, ...]) -> None:
    with pytest.raises((Usage, ValueError)) as caught:
        asked(*words)
    assert "\n" not in str(caught.value)


def test_files_of_variables_follow_dockers_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HOST", "here")
    file = tmp_path / "env"
    file.write_bytes(b'\xef\xbb\xbfA=1\n# no\n\n  B="2" \nFROM_HOST\nNOWHERE\nC=\nD=a=b\r\nE=# kept')
    assert asked("--env-file", str(file)).env == ("A=1", 'B="2" ', "FROM_HOST=here", "C=", "D=a=b", "E=# kept")
    assert asked("--label-file", str(file), "-l", "A=9").labels["A"] == "9"
    for line in (b"A B=1", b"=1", b"\xff=1"):
        file.write_bytes(line)
        with pytest.raises(Usage, match="env file"):
            asked("--env-file", str(file))


@pytest.mark.parametrize(
    "wrong",
    [
        {"pid_mode": "mine"}, {"ipc_mode": "container:"}, {"uts_mode": "container:x"}, {"cgroupns_mode": "x"},
        {"userns": "maybe"}, {"userns": "auto:size=10"}, {"userns": "auto:uid=3"}, {"userns": "auto", "privileged": True},
        {"userns": "auto", "pid_mode": "host"}, {"uts_mode": "host", "hostname": "x"},
        {"network": "container:x", "hostname": "y"}, {"network": "container:x", "dns": ("1.1.1.1",)},
        {"network": "container:x", "extra_hosts": ("a:1.1.1.1",)}, {"oom_score_adj": 1001},
        {"ulimits": (Ulimit("files", 1, 1),)}, {"ulimits": (Ulimit("nofile", 5, 4),)}, {"ulimits": (Ulimit("nofile", -1, 4),)},
        {"group_add": ("4294967295",)}, {"group_add": ("",)},
        {"sysctls": {"kernel.core_pattern": "|/x"}}, {"sysctls": {"kernel/hostname": "x"}},
        {"sysctls": {"net.ipv4.ip_forward": "1"}, "network": "host"}, {"sysctls": {"kernel.msgmax": "1"}, "ipc_mode": "host"},
        {"sysctls": {"net./../kernel/core_pattern": "x"}}, {"sysctls": {"net": "x"}}, {"sysctls": {"vm.swappiness": "1"}},
    ],
)  # fmt: skip
def test_combinations_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        isolation.check(replace(ContainerSpec("x"), **wrong))
    assert "\n" not in str(caught.value)


def test_capabilities_follow_dockers_table() -> None:
    def names(**asked: Any) -> set[str]:
        found = runtime_config.capabilities_of(replace(ContainerSpec("x"), **asked), ("CHOWN", "SYS_ADMIN", "KILL"))
        return {name.removeprefix("CAP_") for name in found}

    default = names()
    assert names(cap_add=("cap_sys_admin",)) == default | {"SYS_ADMIN"}
    assert names(cap_drop=("CHOWN",)) == default - {"CHOWN"}
    assert names(cap_drop=("CHOWN",), cap_add=("CHOWN",)) == default
    assert names(cap_add=("ALL",)) == {"CHOWN", "SYS_ADMIN", "KILL"}
    assert names(cap_add=("ALL",), cap_drop=("KILL",)) == {"CHOWN", "SYS_ADMIN"}
    assert names(cap_drop=("ALL",)) == set()
    assert names(privileged=True) == {"CHOWN", "SYS_ADMIN", "KILL"}
    with pytest.raises(NotSupported):
        names(cap_add=("SYS_TIME",))
    with pytest.raises(InvalidArgument):
        names(cap_add=("FLYING",))
    assert len(NAMES) == 41


def test_the_users_mounts_replace_the_standard_ones_and_come_by_depth() -> None:
    wanted = ContainerSpec("x", mounts=(Mount("tmpfs", "/dev/shm", options=("exec", "size=1m")),))
    place = Place(
        "/r", "box", namespaces=OWN, binds=(Bind("/h/hosts", "/etc/hosts"), Bind("/h/etc", "/etc", True, ("rslave",)))
    )
    document = config(wanted, place)
    order = [mount["destination"] for mount in document["mounts"]]
    assert order[-3:] == ["/etc", "/dev/shm", "/etc/hosts"] or order[-3:] == ["/etc", "/etc/hosts", "/dev/shm"]
    assert order.count("/dev/shm") == 1
    assert mounts_of(document)["/dev/shm"][1] == ["nosuid", "nodev", "mode=1777", "exec", "size=1m"]
    assert mounts_of(document)["/etc"][1] == ["rbind", "rslave", "ro", "rro"]


def test_hidden_paths_are_masked_or_left_open_as_asked() -> None:
    linux = config(ContainerSpec("x", mask=("/secret",), unmask=("/proc/kcore", "/proc/sys*")))["linux"]
    assert "/secret" in linux["maskedPaths"]
    assert "/proc/kcore" not in linux["maskedPaths"]
    assert "/proc/sys" not in linux["readonlyPaths"]
    assert "/proc/irq" in linux["readonlyPaths"]
    for wide in (ContainerSpec("x", privileged=True), ContainerSpec("x", unmask=("ALL",))):
        linux = config(wide)["linux"]
        assert (linux["maskedPaths"], linux["readonlyPaths"]) == ([], [])


def test_a_user_namespace_maps_volumes_and_leaves_out_what_it_may_not_mount() -> None:
    place = Place("/r", "box", namespaces={"mount": "", "user": "", "pid": ""}, uid_mappings=SHIFTED, gid_mappings=SHIFTED,
        binds=(Bind("/v", "/v", is_mapped=True), Bind("/b", "/b")))  # fmt: skip
    document = config(ContainerSpec("x", ipc_mode="host"), place)
    found = {mount["destination"]: mount for mount in document["mounts"]}
    assert found["/sys"]["type"] == "bind"
    assert "/sys/fs/cgroup" not in found
    assert "/dev/mqueue" not in found
    assert found["/v"]["uidMappings"] == list(SHIFTED)
    assert "uidMappings" not in found["/b"]
    assert document["linux"]["uidMappings"] == list(SHIFTED)
    assert "hostname" not in document


def test_device_rules_start_from_dockers_list() -> None:
    """The numbers are those of moby's oci.DefaultLinuxSpec and runc's allowed devices."""
    rules = devices.standard_rules()
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert all(rule["allow"] for rule in rules[1:])
    opened = {(rule.get("major"), rule.get("minor")) for rule in rules[1:] if "r" in rule["access"]}
    assert opened == {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None)}
    assert devices.parse_rule("b 8:* rm") == {"allow": True, "type": "b", "major": 8, "access": "rm"}
    for text in ("", "x 1:2 r", "c 1 r", "c 1:2 x", "c 1:2"):
        with pytest.raises(InvalidArgument):
            devices.parse_rule(text)


SPEC = b"""
cdiVersion: "0.6.0"
kind: vendor.com/card
devices:
  - name: one
    containerEdits:
      env: ["CARD=one"]
      deviceNodes: [{path: /dev/card1, hostPath: /dev/null, permissions: r}]
containerEdits:
  env: ["VENDOR=yes"]
  mounts: [{hostPath: /etc, containerPath: /vendor, options: [ro, nosuid]}]
  hooks: [{hookName: createContainer, path: /bin/true, args: ["true"]}]
  additionalGids: [44]
"""


def test_a_cdi_file_edits_the_config() -> None:
    file = cdi.SpecFile("/etc/cdi/vendor.yaml", 0, cdi.decode(SPEC, "/etc/cdi/vendor.yaml"))
    edits = tuple(cdi.edits_for(["vendor.com/card=one"], [file]))
    document = config(ContainerSpec("x"), Place("/r", "box", namespaces=OWN, edits=edits))
    assert {"CARD=one", "VENDOR=yes"} <= set(document["process"]["env"])
    assert document["process"]["user"]["additionalGids"] == [44]
    assert mounts_of(document)["/vendor"] == ("/etc", ["rbind", "ro", "nosuid"])
    assert document["hooks"] == {"createContainer": [{"path": "/bin/true", "args": ["true"]}]}


def test_of_two_cdi_files_the_later_directory_wins_and_one_directory_must_agree() -> None:
    decoded = cdi.decode(SPEC, "x.yaml")
    low, high, twin = (cdi.SpecFile(name, priority, decoded) for name, priority in (("a", 0), ("b", 1), ("c", 1)))
    assert cdi.find("vendor.com/card=one", [low, high])[0].path == "b"
    with pytest.raises(InvalidArgument, match="two files: b and c"):
        cdi.find("vendor.com/card=one", [low, high, twin])
    with pytest.raises(InvalidArgument, match="no CDI specification describes"):
        cdi.find("vendor.com/card=two", [low])


@pytest.mark.parametrize(
    "data",
    [
        b"{", b"[]", b'{"cdiVersion":"9.9.9","kind":"a/b","devices":[{"name":"x"}]}',
        b'{"cdiVersion":"0.6.0","kind":"ab","devices":[{"name":"x"}]}', b'{"cdiVersion":"0.6.0","kind":"a/b","devices":[]}',
        b'{"cdiVersion":"0.6.0","kind":"a/b","devices":[{"name":"x","containerEdits":{"mounts":[{}]}}]}',
        b'{"cdiVersion":"0.6.0","kind":"a/b","devices":[{"name":"x","containerEdits":{"hooks":[{"hookName":"x","path":"/"}]}}]}',
        b'{"cdiVersion":"0.6.0","kind":"a/b","devices":[{"name":"x","containerEdits":{"intelRdt":{"closID":"y"}}}]}',
    ],
)  # fmt: skip
def test_errors_of_cdi_name_the_file(data: bytes) -> None:
    with pytest.raises(EngineError, match=r"/etc/cdi/bad\.json"):
        cdi.edits_for(["a/b=x"], [cdi.SpecFile("/etc/cdi/bad.json", 0, cdi.decode(data, "/etc/cdi/bad.json"))])


def test_the_health_check_of_an_image_is_read() -> None:
    check = {"Test": ["CMD", "probe"], "Interval": 30_000_000_000, "Timeout": 500_000_000, "Retries": 4}
    settings = msgspec.convert({"Healthcheck": check}, Settings)
    assert image_settings(settings).health == HealthCheck(("CMD", "probe"), interval=30.0, timeout=0.5, retries=4)
    assert image_settings(None).health == HealthCheck()
