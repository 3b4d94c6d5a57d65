"""docker's words for mounts, against what docker says to them."""

from __future__ import annotations

import pytest

from engine.errors import InvalidArgument
from engine.model.container import Mount
from engine.volumes.drivers.drivers import driver_of
from engine.volumes.parse import parse_mount, parse_tmpfs, parse_volume, parse_volumes_from

VOLUMES = {
    "/data": True, "/data:ro": False, "name:/data": True, "name:/data:ro": True, "name:/data:ro,rw": False,
    "name:/data:nocopy,ro": True, "name:/data:nocopy,nocopy": False, "name:/data:copy": False,
    "name:/data:rslave": False, "name:/data:Z,ro": True, "name:/data:z,Z": False, "name:/data:consistent": True,
    "name:/data:delegated,cached": False, "name:/data:": False, ":/data": False, "name:": False, "name:data": False,
    "name:/..": False, "name:/a/../b": True, "-name:/data": False, "na me:/data": False, "name:/data:ro:rw": False,
    "/tmp:/data": True, "/tmp:/data:rshared": True, "/tmp:/data:slave,rslave": False, "/tmp:/data:nocopy": False,
    "/tmp:/data:unbindable": False, "/tmp:/data:U": False, "/tmp:/data:exec": False, "/tmp:/data:RO": False,
    "x/y:/data": False, "/tmp:data": False, "/tmp:/data,ro": True,
}  # fmt: skip
MOUNTS = {
    "target=/data": True, "type=volume,src=name,dst=/data,readonly": True, "type=volume,src=name,dst=/data,ro=T": True,
    "type=volume,src=name,dst=/data,ro=yes": False, "type=volume,src=name,dst=/data,readonly=": False,
    "type=volume,src=name,dst=/data,rw": False, "type=volume,src=name,dst=/data,volume-nocopy": True,
    "type=volume,src=name,dst=/data,volume-nocopy=maybe": False, "type=volume,src=name,dst=/data,volume-subpath=a/b": True,
    "type=volume,src=name,dst=/data,volume-label=a=b,volume-label=c": True, "type=volume,src=/tmp,dst=/data": False,
    "type=volume,src=name,dst=/data,bind-propagation=rslave": False, "type=volume,src=name,dst=/data,tmpfs-size=1m": False,
    "type=volume,src=name,dst=data": False, "type=volume,src=name,dst=/": False, "type=volume,src=name": False,
    "type=bind,src=/tmp,dst=/data": True, "type=bind,src=tmp,dst=/data": False, "type=bind,dst=/data": False,
    "type=bind,src=/tmp,dst=/data,bind-propagation=rslave": True, "type=bind,src=/tmp,dst=/data,bind-propagation=bogus": False,
    "type=bind,src=/tmp,dst=/data,bind-propagation=": True, "type=bind,src=/tmp,dst=/data,bind-nonrecursive": True,
    "type=bind,src=/tmp,dst=/data,bind-recursive=disabled": True, "type=bind,src=/tmp,dst=/data,bind-recursive=writable": False,
    "type=bind,src=/tmp,dst=/data,bind-recursive=writable,ro": True, "type=bind,src=/tmp,dst=/data,bind-recursive=readonly,ro": False,
    "type=bind,src=/tmp,dst=/data,bind-recursive=bogus": False, "type=bind,src=/tmp,dst=/data,volume-nocopy": False,
    "type=bind,src=/tmp,dst=/data,consistency=bogus": True, "type=tmpfs,dst=/data": True, "type=tmpfs,dst=/data,src=x": False,
    "type=tmpfs,dst=/data,tmpfs-size=1m,tmpfs-mode=1770": True, "type=tmpfs,dst=/data,tmpfs-size=1x": False,
    "type=tmpfs,dst=/data,tmpfs-mode=999": False, "type=tmpfs,dst=/data,volume-nocopy": False, "type=npipe,src=a,dst=/data": False,
    "type=,dst=/data": False, "TYPE=Bind,SRC=/tmp,DST=/data": True, "type=bind, src=/tmp,dst=/data": False,
    "type=bind,src=/tmp,dst=/data,bogus=1": False, "type=bind,src=/tmp,dst=/data,": False, 'type=bind,"src=/tmp",dst=/data': True,
    'type=bind,"src=/tmp,dst=/data': False, "type=bind,src=/tmp,src=/var,dst=/data": True, "=,dst=/data": False, "": False,
}  # fmt: skip
TMPFS = {
    "/t": True, "/t:": True, "/t:size=1m,mode=700,uid=3,gid=4": True, "/t:exec,dev,suid": True, "/t:size=50%": True,
    "/t:nr_inodes=10": True, "/t:rslave": True, "t": False, "/": False, ":size=1m": False,
}  # fmt: skip
FLAGS = {"-v": (VOLUMES, parse_volume), "--mount": (MOUNTS, parse_mount), "--tmpfs": (TMPFS, parse_tmpfs)}
"""What docker accepts, as tests/kernel/test_volume_drivers.py asks it."""


def is_accepted(flag: str, text: str) -> bool:
    try:
        FLAGS[flag][1](text)
    except InvalidArgument:
        return False
    return True


@pytest.mark.parametrize("flag", FLAGS)
def test_words_are_accepted_and_refused_as_docker_does(flag: str) -> None:
    table = FLAGS[flag][0]
    assert {text: is_accepted(flag, text) for text in table} == table


def test_every_word_reaches_the_mount() -> None:
    assert parse_volume("name:/c:ro,nocopy") == Mount("volume", "/c", "name", True, no_copy=True)
    assert parse_volume("/a/../b:/c:rslave,Z") == Mount("bind", "/c", "/b", options=("rslave",))
    wanted = 'type=volume,src=name,dst=/c,volume-subpath=a/./b,volume-driver=tmpfs,"volume-opt=o=a,b",volume-opt=x=y,volume-label=l=m'
    assert parse_mount(wanted) == Mount(
        "volume", "/c", "name", subpath="a/b", driver="tmpfs", driver_options={"o": "a,b", "x": "y"}, labels={"l": "m"}
    )
    wanted = "type=bind,src=/a,dst=/c,ro,bind-recursive=writable,bind-propagation=rshared"
    assert parse_mount(wanted) == Mount("bind", "/c", "/a", True, ("rshared", "writable"))
    wanted = "type=tmpfs,dst=/c,tmpfs-size=1.5MB,tmpfs-mode=770,tmpfs-uid=1,tmpfs-gid=2,tmpfs-exec"
    assert parse_mount(wanted).options == ("size=1572864", "mode=770", "uid=1", "gid=2", "exec")
    assert parse_mount("type=image,src=demo:1,dst=/c,image-subpath=etc") == Mount(
        "image", "/c", "demo:1", True, subpath="etc"
    )
    assert parse_mount("type=image,src=demo:1,dst=/c,subpath=etc").subpath == "etc"  # podman's word
    assert parse_volumes_from("other:ro,z") == ("other", True)
    assert parse_volumes_from("other") == ("other", None)


@pytest.mark.parametrize("subpath", ["/a", "../a", "a/../../b", ".."])
def test_subpaths_that_lead_out_are_refused(subpath: str) -> None:
    with pytest.raises(InvalidArgument, match="subpath"):
        parse_mount(f"type=volume,src=name,dst=/c,volume-subpath={subpath}")


@pytest.mark.parametrize("text", ["", ":ro", "other:", "other:ro,rw", "other:bogus"])
def test_malformed_volumes_from_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="volumes-from"):
        parse_volumes_from(text)


@pytest.mark.parametrize(("driver", "options", "named"), [
    ("local", {"type": "nfs"}, "device"), ("local", {"device": "x"}, "type"), ("local", {"o": "bind"}, "type"),
    ("local", {"foo": "bar"}, "foo"), ("local", {"type": "none", "device": "here", "o": "bind"}, "device"),
    ("tmpfs", {"size": "much"}, "size"), ("tmpfs", {"mode": "999"}, "mode"), ("tmpfs", {"type": "x"}, "type"),
    ("nfs", {"server": "a"}, "share"), ("nfs", {"share": "/a"}, "server"), ("nfs", {"server": "a", "share": "b"}, "share"),
    ("nfs", {"server": "a", "share": "/b", "version": "2"}, "version"), ("bogus", {}, "bogus"),
])  # fmt: skip
def test_wrong_volume_options_are_refused_by_their_names(driver: str, options: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        driver_of(driver).check(options)
