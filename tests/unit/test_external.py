"""What another runtime is told, and what is heard of it."""

from __future__ import annotations

from engine.sandbox.external import last_error, translated

CONFIG = {
    "ociVersion": "1.2.0", "root": {"path": "/r"}, "mounts": [{"destination": "/v", "source": "volume:/v"}, {"destination": "/proc"}], "linux": {"maskedPaths": ["/proc/kcore"]},
    "process": {"args": ["sh"], "env": ["A=b=c"], "user": {"uid": 0, "username": "www", "groupNames": ["x"]}},
}  # fmt: skip


def test_names_of_users_and_our_own_fields_become_numbers() -> None:
    found = translated(CONFIG, (33, 33, [33, 44], "/var/www"), "/tuicon/ID", {"volume:/v": "/run/volumes/0"})
    assert [mount["source"] for mount in found["mounts"]] == ["/run/volumes/0", None]
    assert found["process"]["user"] == {"uid": 33, "gid": 33, "additionalGids": [33, 44]}
    assert {"A=b=c", "HOME=/var/www"} <= set(found["process"]["env"])
    assert (found["root"], found["linux"]) == (
        {"path": "/r"},
        {"maskedPaths": ["/proc/kcore"], "cgroupsPath": "/tuicon/ID"},
    )
    assert CONFIG["process"]["user"] == {"uid": 0, "username": "www", "groupNames": ["x"]}  # type: ignore[index]


def test_the_last_error_of_a_log_is_one_line() -> None:
    log = b'{"level":"warning","msg":"w"}\n{"level":"error","msg":"first"}\nnoise\n{"level":"error","msg":"last\\n one"}\n[]\n'
    assert last_error(log) == "last one"
    assert last_error(b"") == ""
