from __future__ import annotations

import io
import json
import os
import pty
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import InvalidArgument, NotFound
from engine.images import demo
from engine.model.container import ContainerSpec
from engine.model.contents import Change
from engine.oci.digest import of_bytes
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_images import entry, tar_of
from tuicon.cli import main, parser

DIRECTORY, LINK, HARD_LINK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
Layer = tuple[str, bytes]


def archive(tag: str, *layers: Layer) -> io.BytesIO:
    """Return a docker archive of (command, tar) layers, lowest first."""
    made = "2026-01-02T03:04:05Z"
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "created": made, "config": {"Cmd": ["sh"]},
        "history": [{"created": made, "created_by": "ENV A=1", "empty_layer": True},
            *({"created": made, "created_by": command} for command, _ in layers)],
        "rootfs": {"type": "layers", "diff_ids": [of_bytes(data) for _, data in layers]},
    }).encode()  # fmt: skip
    names = [f"layer{number}.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]).encode()
    blobs = [
        ("manifest.json", manifest),
        ("config.json", config),
        *zip(names, (data for _, data in layers), strict=True),
    ]
    return io.BytesIO(tar_of(*(entry(name, content=content) for name, content in blobs)))


def base() -> Layer:
    return "ADD base", demo.root_archive().getvalue()


def app() -> tuple[Layer, ...]:
    """A base, a layer that installs, one that tidies up and changes modes."""
    installs = tar_of(
        *(entry(name, DIRECTORY, mode=0o755) for name in ("opt", "opt/lib", "var/lib", "var/lib/apt", "var/lib/apt/lists")),
        entry("var/lib/apt/lists/all", content=b"l" * 70_000), entry("opt/lib/tool", content=b"t" * 90_000),
        entry("opt/lib/copy", content=b"c" * 50_000), entry("opt/lib/original", content=b"c" * 50_000),
        entry("opt/lib/dump", content=b"d" * 80_000), entry("opt/hard", HARD_LINK, link="opt/lib/tool"),
        entry("opt/link", LINK, link="lib/tool"), entry("opt/out", LINK, link="../../../../../../etc/passwd"),
        entry("opt/abs", LINK, link="/opt/lib"), entry("opt/tty", tarfile.CHRTYPE, devmajor=5, devminor=0),
        entry("opt/\x1b[31mred\x07", content=b"evil"), entry("opt/not\udcffutf8", content=b"bytes"),
    )  # fmt: skip
    tidies = tar_of(
        *(entry(name, DIRECTORY, mode=0o755) for name in ("opt", "opt/lib")), entry("opt/lib/.wh.dump"),
        entry("opt/lib/tool", content=b"t" * 90_000, mode=0o755),
    )  # fmt: skip
    return base(), ("RUN install", installs), ("RUN tidy && chmod", tidies)


@pytest.fixture
def inside(engine: Engine) -> Engine:
    engine.images.load(archive("app:1", *app()))
    return engine


def naive_waste(layers: list[bytes]) -> tuple[float, int, set[tuple[str, int, int]]]:
    """Work out dive's rules the slow way: dictionaries of whole paths, copied for each layer."""
    state: dict[str, tuple[int, bool]] = {}
    sizes: dict[str, list[int]] = {}
    for data in layers:
        with tarfile.open(fileobj=io.BytesIO(data)) as opened:
            members = {member.name.strip("/"): member for member in opened}
        for name, member in members.items():
            folder, _, last = name.rpartition("/")
            is_parent = any(other.startswith(name + "/") for other in members)
            if last.startswith(".wh."):
                path = f"{folder}/{last[4:]}" if folder else last[4:]
                was_directory = state.get(path, (0, False))[1]
                below = sum(size for other, (size, _) in state.items() if other == path or other.startswith(path + "/"))
                sizes.setdefault(path, []).append(below if was_directory else 0)
            elif not is_parent:
                sizes.setdefault(name, []).append(member.size)
        for name in members:
            folder, _, last = name.rpartition("/")
            if last.startswith(".wh."):
                path = f"{folder}/{last[4:]}" if folder else last[4:]
                state = {p: v for p, v in state.items() if p != path and not p.startswith(path + "/")}
        for name, member in members.items():
            if not name.rpartition("/")[2].startswith(".wh."):
                state[name] = member.size, member.isdir()
    wasted = {("/" + path, len(found), sum(found)) for path, found in sizes.items() if len(found) > 1 and any(found)}
    most = sum(sum(found) for found in sizes.values())
    score = sum(min(found) for found in sizes.values()) / most if most else 1.0
    return score, sum(size for _, _, size in wasted), wasted


def random_layers(seed: int) -> list[bytes]:
    """Make layers that write, write again and delete files and whole directories."""
    chance, layers, alive = random.Random(seed), [], set[str]()
    for _ in range(4):
        written = {f"d{chance.randrange(4)}/e{chance.randrange(3)}/f{chance.randrange(8)}" for _ in range(30)}
        gone = set(chance.sample(sorted(alive - written), min(4, len(alive - written))))
        folders = sorted({path.rpartition("/")[0] for path in alive})
        gone |= {folder for folder in folders if not any(path.startswith(folder + "/") for path in written | gone)}
        parents = {path.rsplit("/", up)[0] for path in written | gone for up in range(1, path.count("/") + 1)}
        members = [entry(path, DIRECTORY, mode=0o755) for path in sorted(parents)]
        members += [entry(path.rpartition("/")[0] + "/.wh." + path.rpartition("/")[2]) for path in sorted(gone)]
        members += [entry(path, content=chance.randbytes(chance.randrange(4000))) for path in sorted(written)]
        layers.append(tar_of(*members))
        alive = {p for p in alive if not any(p == path or p.startswith(path + "/") for path in gone)} | written
    return layers


def test_waste_and_efficiency_are_what_a_naive_script_finds_by_dives_rules(engine: Engine) -> None:
    for seed in range(5):
        layers = random_layers(seed)
        engine.images.load(archive(f"random:{seed}", *((f"step {number}", data) for number, data in enumerate(layers))))
        found = engine.images.contents(f"random:{seed}").waste()
        score, wasted, paths = naive_waste(layers)
        assert paths
        assert {(one.path, one.count, one.size) for one in found.paths} == paths
        assert found.efficiency == pytest.approx(score)
        assert found.wasted == wasted


def test_the_tree_is_what_a_container_of_the_image_sees(inside: Engine) -> None:
    made = inside.containers.run(
        ContainerSpec("app:1", network="none", command=("find", "/bin", "/opt", "/var", "/etc", "-xdev"))
    )
    assert inside.containers.wait(made.id, timeout=60) == 0
    seen = "".join(line.text for line in inside.containers.logs(made.id)).splitlines()
    inside.containers.remove(made.id)
    found = inside.images.contents("app:1").tree()
    paths = {
        entry.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        for entry in found
        if entry.change is not Change.REMOVED and entry.path.startswith(("/bin", "/opt", "/var", "/etc"))
    }
    made_for_the_container = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    assert paths - made_for_the_container == set(seen) - made_for_the_container


def command(engine: Engine, *words: str) -> int:
    """Run a verb on images in this process."""
    return main.run(engine, parser.build(("image", *words)).parse_args(("image", *words)))


def test_layers_have_command_size_and_count(inside: Engine) -> None:
    lowest, middle, top = inside.images.contents("app:1").layers
    assert [layer.command for layer in (lowest, middle, top)] == ["ADD base", "RUN install", "RUN tidy && chmod"]
    assert (middle.size, middle.files) == (70_000 + 90_000 + 2 * 50_000 + 80_000 + 9, 17)
    assert (top.size, top.files) == (90_000, 4)


def test_what_a_layer_changed_is_marked(inside: Engine) -> None:
    found = inside.images.contents("app:1").tree(2, 1)
    changed = {entry.path: str(entry.change) for entry in found if entry.change is not Change.UNCHANGED}
    assert changed == {"/opt": "inside", "/opt/lib": "inside", "/opt/lib/dump": "removed", "/opt/lib/tool": "changed"}
    with pytest.raises(InvalidArgument, match="has the layers 0 to 2, and no 3"):
        inside.images.contents("app:1").tree(3)


def test_two_images_are_compared(inside: Engine) -> None:
    inside.images.load(archive("app:2", *app()[:2], ("COPY new", tar_of(entry("opt/new", content=b"n")))))
    found = inside.images.contents("app:1").compare(inside.images.contents("app:2"))
    changed = {
        entry.path: str(entry.change) for entry in found if entry.change not in (Change.UNCHANGED, Change.INSIDE)
    }
    assert changed == {"/opt/lib/dump": "added", "/opt/lib/tool": "changed", "/opt/new": "added"}


def test_advice_names_layer_command_and_bytes(inside: Engine) -> None:
    found = {(one.kind, one.layer): one for one in inside.images.contents("app:1").advice()}
    sizes = {key: one.size for key, one in found.items()}
    assert sizes == {("cache", 1): 70_000, ("metadata", 1): 90_000, ("deleted", 1): 80_000, ("duplicates", 1): 50_000}
    assert {one.command for one in found.values()} == {"RUN install"}
    assert found["duplicates", 1].paths == ("/opt/lib/original = /opt/lib/copy",)
    assert found["deleted", 1].text == "deleted by layer 2: 1 file"


def test_a_file_of_any_layer_is_read_and_no_link_leads_out(inside: Engine) -> None:
    contents = inside.images.contents("app:1")
    assert contents.open("/opt/link").read() == b"t" * 90_000
    assert contents.open("opt/hard").read() == b"t" * 90_000
    assert contents.open("/opt/abs/dump", layer=1).read() == b"d" * 80_000
    assert contents.open("/opt/not\udcffutf8").read() == b"bytes"
    assert b"nobody" in contents.open("/opt/out").read()
    assert contents.open("/opt/out").read() != Path("/etc/passwd").read_bytes()
    for path, error in (("/opt/lib/dump", NotFound), ("/opt/lib", InvalidArgument), ("/opt/tty", InvalidArgument)):
        with pytest.raises(error):
            contents.open(path)


def test_a_directory_is_extracted_as_it_is_after_all_layers(inside: Engine, root: Path) -> None:
    contents, target = inside.images.contents("app:1"), root / "out"
    target.mkdir()
    done = contents.extract("/opt", target)
    lib = target / "opt" / "lib"
    assert sorted(os.listdir(lib)) == ["copy", "original", "tool"]
    assert lib.joinpath("tool").stat().st_mode & 0o7777 == 0o755
    assert (done.files, done.skipped) == (9, 1)
    assert os.readlink(target / "opt" / "out") == "../../../../../../etc/passwd"
    with pytest.raises(InvalidArgument, match="File exists"):
        contents.extract("/opt", target)
    contents.extract("/opt/lib/dump", root / "dump", layer=1)
    assert root.joinpath("dump").stat().st_size == 80_000
    target.joinpath("trap").symlink_to(root / "dump")
    with pytest.raises(InvalidArgument):
        contents.extract("/opt/lib/tool", target / "trap")
    assert root.joinpath("dump").read_bytes() == b"d" * 80_000


def indexes(engine: Engine) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in engine.root.glob("layers/*/index")}


def test_an_index_is_made_with_the_layer_anew_when_it_is_lost_and_goes_with_it(inside: Engine) -> None:
    written = indexes(inside)
    assert set(written) >= {layer.removeprefix("sha256:") for layer in inside.images.get("app:1").layers}
    tree = inside.images.contents("app:1").tree()
    top = inside.images.get("app:1").layers[-1].removeprefix("sha256:")
    path = inside.root / "layers" / top / "index"
    for damage in (b"", written[top][:-9], b"\0" * 100, None):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
            assert [finding.kind for finding in inside.system.check(deep=True).found] == ["index"]
        assert inside.images.contents("app:1").tree() == tree
        assert indexes(inside) == written
        assert inside.system.check(deep=True).found == ()
    inside.images.remove("app:1")
    assert top not in indexes(inside)


def test_what_a_killed_writer_of_an_index_leaves_is_found(inside: Engine) -> None:
    layer = inside.images.get("app:1").layers[0].removeprefix("sha256:")
    left = inside.root / "layers" / layer / "index.4194305.1.tmp"
    left.write_bytes(b"half")
    assert [finding.kind for finding in inside.system.check(repair=True).found] == ["temporary"]
    assert not left.exists()


@pytest.mark.parametrize(
    ("rule", "code", "word"),
    [(("--lowest-efficiency", "0.95"), 1, "FAIL"), (("--lowest-efficiency", "0.1"), 0, "PASS"), (("--highest-wasted-bytes", "1KiB"), 1, "FAIL"),
        (("--highest-wasted-bytes", "1GB"), 0, "PASS"), (("--highest-user-wasted-percent", "0.01"), 1, "FAIL"),
        (("--highest-user-wasted-percent", "disabled"), 0, "Wasted"), (("--lowest-efficiency", "2"), 1, "ratio from 0 to 1")],
)  # fmt: skip
def test_rules_for_ci_decide_the_exit_code(
    inside: Engine, capsys: pytest.CaptureFixture[str], rule: tuple[str, ...], code: int, word: str
) -> None:
    assert command(inside, "waste", *rule, "app:1") == code
    assert word in "".join(capsys.readouterr())


def test_the_verbs_speak_json_and_print_no_control_characters(
    inside: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs: tuple[tuple[str, ...], ...] = (
        ("layers", "app:1"), ("tree", "app:1"), ("tree", "app:1", "--layer", "1"), ("diff", "tuicon/demo", "app:1"),
        ("waste", "app:1"), ("advice", "app:1"), ("shared",),
    )  # fmt: skip
    printed = ""
    for words in (*verbs, *((*verb, "--json") for verb in verbs)):
        assert command(inside, *words) == 0, words
        said = capsys.readouterr()
        assert said.err == ""
        assert all(letter.isprintable() or letter == "\n" for letter in said.out), words
        if "--json" in words:
            json.loads(said.out)
        printed += said.out
    assert "not\\xffutf8" in printed
    assert command(inside, "tree", "--json", "--depth", "1", "--sort", "size", "app:1") == 0
    sizes = [one["size"] for one in json.loads(capsys.readouterr().out)]
    assert sizes == sorted(sizes, reverse=True)


def test_a_file_goes_raw_to_a_pipe_and_tame_to_a_terminal(inside: Engine) -> None:
    assert tuicon(inside, "image", "cat", "app:1", "/opt/lib/tool").stdout == "t" * 90_000
    assert tuicon(inside, "image", "cat", "app:1", "/nothing").stderr == "tuicon: no such file: /nothing\n"
    inside.images.load(archive("odd:1", ("COPY", tar_of(entry("odd", content=b"a\t\x1b[2Jb\n\xff\n")))))
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "tuicon", "--root", str(inside.root), "image", "cat", "odd:1", "odd"]
    done = subprocess.run(
        argv, check=False, stdout=theirs, stdin=subprocess.DEVNULL, cwd=Path(__file__).resolve().parents[2]
    )
    os.close(theirs)
    assert (done.returncode, os.read(ours, 1000)) == (0, b"a\t\\x1b[2Jb\r\n\\xff\r\n")
    os.close(ours)


def test_the_verbs_extract_and_name_shared_layers(inside: Engine, root: Path) -> None:
    done = tuicon(inside, "image", "extract", "app:1", "/opt/lib", str(root / "lib"))
    assert (done.returncode, done.stdout) == (0, "Extracted 3 files, 186KiB\n")
    (shared,) = json.loads(tuicon(inside, "image", "shared", "--json").stdout)
    assert shared["images"] == ["app:1", "tuicon/demo:latest"]
