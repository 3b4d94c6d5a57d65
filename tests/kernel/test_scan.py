"""Images are judged by imported advisories: the right packages, releases and versions, and nothing without saying so."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from engine.api import Engine
from engine.errors import InvalidArgument
from engine.images.scan import database
from engine.model.packages import Severity
from tests.kernel.packages import ALPINE, CRITICAL, DEBIAN, advisory, dump, jar, load, rpm_database, status
from tests.kernel.test_command_line import tuicon
from tuicon.cli.main import run
from tuicon.cli.parser import build

APK = b"P:libcrypto3\nV:3.1.4-r5\nA:x86_64\no:openssl\n\nP:musl\nV:1.2.4_git20230717-r4\no:musl\n\n"


class Command:
    """Runs commands in this process, which spares the start of an interpreter for each."""

    def __init__(self, engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
        self._engine, self._capsys = engine, capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = run(self._engine, build(words).parse_args(words))
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def command(engine: Engine, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(engine, capsys)


@pytest.fixture
def debian(engine: Engine, root: Path) -> str:
    """An image of Debian 12 with a library, a package of Python and one of npm, and advisories about them."""
    rated = {"severity": [{"type": "CVSS_V3", "score": CRITICAL}]}
    advisories = [
        advisory("DSA-1-1", "Debian:12", "openssl", {"fixed": "3.0.11-1~deb12u2"}, upstream=["CVE-2023-1", "CVE-2023-2"]),
        advisory("DEBIAN-CVE-2023-1", "Debian:12", "openssl", {"fixed": "3.0.11-1~deb12u2"}, upstream=["CVE-2023-1"], **rated),
        advisory("DEBIAN-CVE-2023-2", "Debian:12", "openssl", {"fixed": "3.0.11-1~deb12u2"}, upstream=["CVE-2023-2"]),
        advisory("DEBIAN-CVE-2023-3", "Debian:11", "openssl", upstream=["CVE-2023-3"]),
        advisory("DEBIAN-CVE-2023-4", "Debian:12", "openssl", {"fixed": "3.0.10-1"}, upstream=["CVE-2023-4"]),
        advisory("DEBIAN-CVE-2023-5", "Debian:12", "libssl3", upstream=["CVE-2023-5"]),
        advisory("DEBIAN-CVE-2023-6", "Debian:12", "openssl", withdrawn="2024-01-01T00:00:00Z"),
        advisory("GHSA-aaaa", "PyPI", "some-thing", {"fixed": "2.0"}, aliases=["CVE-2024-7"], database_specific={"severity": "MODERATE"}),
        advisory("PYSEC-2024-1", "PyPI", "some-thing", {"fixed": "2.0"}, aliases=["CVE-2024-7", "GHSA-aaaa"]),
        advisory("GHSA-bbbb", "npm", "left", {"last_affected": "1.0.0"}, **rated),
        advisory("CVE-2023-2", "Nothing", "else", severity=[{"type": "CVSS_V3", "score": CRITICAL.replace("C:H/I:H/A:H", "C:L/I:N/A:N")}]),
    ]  # fmt: skip
    engine.images.advisories.import_from(dump(root / "all.zip", advisories), "mixed")
    metadata = b"Name: Some_Thing\nVersion: 1.5\n"
    return load(engine, {
        "etc/os-release": DEBIAN, "opt/some.dist-info/METADATA": metadata, "x/node_modules/left/package.json": b'{"name":"left","version":"1.0.0"}',
        "var/lib/dpkg/status": status("libssl3 3.0.11-1~deb12u1", source="Source: openssl (3.0.11-1~deb12u1)\n") + b"\n" + status("python3-thing 1.5-1+b2", "tool 1-1"),
        "var/lib/dpkg/info/python3-thing.list": b"/usr/lib/python3/dist-packages/some.dist-info/METADATA\n",
        "usr/lib/python3/dist-packages/some.dist-info/METADATA": metadata,
    })  # fmt: skip


def test_what_is_vulnerable_is_found_once_with_its_fix_and_severity(engine: Engine, debian: str) -> None:
    result = engine.images.scan(debian)
    assert [
        (item.id, item.package.name, item.fixed_in, item.severity, item.score) for item in result.vulnerabilities
    ] == [
        ("GHSA-bbbb", "left", "", Severity.CRITICAL, 9.8),
        ("DEBIAN-CVE-2023-1", "libssl3", "3.0.11-1~deb12u2", Severity.CRITICAL, 9.8),
        ("DEBIAN-CVE-2023-2", "libssl3", "3.0.11-1~deb12u2", Severity.MEDIUM, 5.3),
        ("GHSA-aaaa", "Some_Thing", "2.0", Severity.MEDIUM, None),
    ]
    first = result.vulnerabilities[1]
    assert (first.aliases, first.package.path) == (("CVE-2023-1", "DSA-1-1"), "/var/lib/dpkg/status")
    assert result.vulnerabilities[-1].aliases == ("CVE-2024-7", "PYSEC-2024-1")
    assert result.warnings == ()


def test_finding_nothing_where_nothing_is_known_is_said(engine: Engine, debian: str, root: Path) -> None:
    engine.images.advisories.remove("mixed")
    with pytest.raises(InvalidArgument, match="no database"):
        engine.images.scan(debian)
    engine.images.advisories.import_from(dump(root / "old.zip", [advisory("A-1", "Debian:9", "tool")]))
    result = engine.images.scan(debian)
    gap = "no database has advisories of Debian GNU/Linux 12 (bookworm), PyPI, npm"
    assert (result.vulnerabilities, result.warnings) == ((), (gap,))
    homemade = load(
        engine, {"etc/os-release": b"ID=homemade\n", "var/lib/dpkg/status": status("tool 1")}, tag="homemade:1"
    )
    assert engine.images.scan(homemade).warnings == ("the advisories of homemade are not known",)


def test_the_newest_database_has_the_word_on_an_advisory(engine: Engine, root: Path) -> None:
    image = load(engine, {"x/node_modules/left/package.json": b'{"name":"left","version":"1.0.0"}'})
    old = advisory("GHSA-x", "npm", "left", {"fixed": "2.0.0"}, modified="2025-01-01T00:00:00Z")
    engine.images.advisories.import_from(
        dump(root / "a.zip", [old, advisory("GHSA-y", "npm", "left", modified="2025-01-01T00:00:00Z")]), "a"
    )
    assert [item.id for item in engine.images.scan(image).vulnerabilities] == ["GHSA-x", "GHSA-y"]
    engine.images.advisories.import_from(
        dump(root / "b.zip", [advisory("GHSA-x", "npm", "left", {"fixed": "1.0.0"})]), "b"
    )
    assert [(item.id, item.database) for item in engine.images.scan(image).vulnerabilities] == [("GHSA-y", "a")]


def test_alpines_advisories_name_sources_and_branches(engine: Engine, root: Path) -> None:
    advisories = [
        advisory("ALPINE-CVE-2024-1", "Alpine:v3.19", "openssl", {"fixed": "3.1.4-r6"}, upstream=["CVE-2024-1"]),
        advisory("ALPINE-CVE-2024-2", "Alpine:v3.18", "openssl"), advisory("ALPINE-CVE-2024-3", "Alpine:v3.19", "openssl", {"fixed": "3.1.4-r5"}),
        advisory("ALPINE-CVE-2024-4", "Alpine:v3.19", "musl", {"fixed": "1.2.4_git20230717-r5"}),
    ]  # fmt: skip
    engine.images.advisories.import_from(dump(root / "all.zip", advisories))
    image = load(engine, {"etc/os-release": ALPINE, "lib/apk/db/installed": APK})
    found = engine.images.scan(image).vulnerabilities
    assert [(item.id, item.package.name, item.fixed_in) for item in found] == [
        ("ALPINE-CVE-2024-1", "libcrypto3", "3.1.4-r6"), ("ALPINE-CVE-2024-4", "musl", "1.2.4_git20230717-r5"),
    ]  # fmt: skip
    assert [item.name for item in engine.images.advisories.list()] == ["Alpine"]


def test_advisories_of_rpms_and_archives(engine: Engine, root: Path) -> None:
    advisories = [
        advisory("RLSA-1", "Rocky Linux:9", "suite", {"fixed": "1:1.2-4.el9"}), advisory("RLSA-2", "Rocky Linux:9", "suite", {"fixed": "1:1.2-3.el9"}),
        advisory("RLSA-3", "Rocky Linux:8", "suite"), advisory("GHSA-log", "Maven", "org.apache:log", {"fixed": "2.17.1"}),
    ]  # fmt: skip
    engine.images.advisories.import_from(dump(root / "rocky.zip", advisories))
    pom = b"groupId=org.apache\nartifactId=log\nversion=2.17.0\n"
    image = load(engine, {
        "etc/os-release": b"ID=rocky\nVERSION_ID=9.3\n", "var/lib/rpm/rpmdb.sqlite": rpm_database(root / "rpm", ("tool", "1", "1.2")),
        "app.jar": jar({"META-INF/maven/org.apache/log/pom.properties": pom}),
    })  # fmt: skip
    assert [(item.id, item.fixed_in) for item in engine.images.scan(image).vulnerabilities] == [
        ("GHSA-log", "2.17.1"),
        ("RLSA-1", "1:1.2-4.el9"),
    ]


def test_databases_come_from_zips_directories_and_documents(engine: Engine, root: Path) -> None:
    store = engine.images.advisories
    one, two = advisory("A-1", "npm", "a"), advisory("A-2", "Debian:12", "b", modified="2027-01-01T00:00:00Z")
    directory = root / "dump/deep"
    directory.mkdir(parents=True)
    directory.joinpath("A-1.json").write_text(json.dumps(one))
    directory.joinpath("index.json").write_text('{"x": 1}')
    directory.joinpath("notes.txt").write_text("no advisory")
    single, several = root / "A-2.json", root / "list.json"
    single.write_text(json.dumps(two))
    several.write_text(json.dumps([one, two]))
    made = [store.import_from(path) for path in (root / "dump", single, several, dump(root / "all.zip", [one]))]
    made.append(store.import_from(dump(root / "all.zip", [one, two]), "mine"))
    assert [(item.name, item.ecosystems, item.advisories, item.skipped) for item in made] == [
        ("dump", ("npm",), 1, 1), ("A-2", ("Debian",), 1, 0), ("list", ("Debian", "npm"), 2, 0), ("npm", ("npm",), 1, 0),
        ("mine", ("Debian", "npm"), 2, 0),
    ]  # fmt: skip
    assert {item.name: item.modified_at.year for item in store.list() if item.modified_at} == {
        "A-2": 2027, "dump": 2026, "list": 2027, "mine": 2027, "npm": 2026,
    }  # fmt: skip
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in (engine.root / "advisories",))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.zip", None, "no such file"), ("text.json", b"nonsense", "no advisory"), ("empty.json", b"[]", "no advisory"),
        ("deep.json", b'{"id":' + b"[" * 100_000, "no advisory"), ("cut.zip", b"cut", "damaged|no advisory"), ("bad/name.json", b"", "no such"),
    ],
)  # fmt: skip
def test_a_bad_dump_is_refused_and_nothing_is_kept(
    engine: Engine, root: Path, name: str, content: bytes | None, says: str
) -> None:
    path = root / name
    if name == "cut.zip":
        whole = dump(path, [advisory(f"A-{number}", "npm", "a") for number in range(9)]).read_bytes()
        path.write_bytes(whole[:60] + bytes(200) + whole[260:])
    elif content:
        path.write_bytes(content)
    with pytest.raises(InvalidArgument, match=says):
        engine.images.advisories.import_from(path)
    assert engine.images.advisories.list() == ()
    assert list(engine.root.joinpath("trash").iterdir()) == []
    for wrong in ("../up", ".hidden", "a/b", "a\nb"):
        with pytest.raises(InvalidArgument, match="no name"):
            engine.images.advisories.import_from(dump(root / "ok.zip", [advisory("A-1", "npm", "a")]), wrong)


def test_a_dump_that_unpacks_to_too_much_is_refused(
    engine: Engine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dump(root / "all.zip", [advisory(f"A-{number}", "npm", "a", details="x" * 10_000) for number in range(9)])
    for name, limit in (("_LARGEST_DOCUMENT", 9_000), ("_MOST_BYTES", 50_000), ("_MOST_DOCUMENTS", 5)):
        with monkeypatch.context() as patch:
            patch.setattr(database, name, limit)
            with pytest.raises(InvalidArgument, match=r"too much|more than"):
                engine.images.advisories.import_from(path)
    assert engine.images.advisories.list() == ()


def _import(state: str, source: str, count: int) -> None:
    with Engine(Path(state)) as engine:
        for _ in range(count):
            engine.images.advisories.import_from(Path(source), "same")


def test_two_imports_at_once_and_readers_see_whole_databases(engine: Engine, root: Path) -> None:
    dumps = [dump(root / f"{size}.zip", [advisory(f"A-{n}", "npm", "left") for n in range(size)]) for size in (40, 90)]
    engine.images.advisories.import_from(dumps[0], "same")
    image = load(engine, {"x/node_modules/left/package.json": b'{"name":"left","version":"1.0.0"}'})
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_import, args=(str(engine.root), str(path), 8)) for path in dumps]
    for worker in workers:
        worker.start()
    seen = set()
    while any(worker.is_alive() for worker in workers):
        seen.add(len(engine.images.scan(image).vulnerabilities))
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert seen <= {40, 90}
    assert [item.advisories in (40, 90) for item in engine.images.advisories.list()] == [True]
    assert list(engine.root.joinpath("trash").iterdir()) == []


def test_a_killed_import_leaves_the_old_database_and_no_rest(engine: Engine, root: Path) -> None:
    engine.images.advisories.import_from(dump(root / "a.zip", [advisory("A-1", "npm", "a")]), "same")
    pipe = root / "pipe.json"
    pipe.mkdir()
    os.mkfifo(pipe / "slow.json")
    pipe.joinpath("A-0.json").write_text(json.dumps(advisory("A-0", "npm", "a")))
    worker = multiprocessing.get_context("spawn").Process(target=_import, args=(str(engine.root), str(pipe), 1))
    worker.start()
    deadline = time.monotonic() + 300
    while not list(engine.root.joinpath("trash").glob("*/database")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join()
    assert [(item.name, item.advisories) for item in engine.images.advisories.list()] == [("same", 1)]
    engine.images.collect()
    assert list(engine.root.joinpath("trash").iterdir()) == []


def test_a_damaged_database_is_named(engine: Engine, root: Path) -> None:
    engine.images.advisories.import_from(dump(root / "a.zip", [advisory("A-1", "npm", "a")]), "mine")
    (path,) = engine.root.joinpath("advisories").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidArgument, match=r"mine.sqlite is damaged"):
        engine.images.advisories.list()


def test_the_command_fails_on_what_is_as_bad_as_asked(command: Command, debian: str, root: Path) -> None:
    rules = root / "ignore.toml"
    rules.write_text(
        '[[ignore]]\nid = "CVE-2023-1"\nreason = "not reachable"\n[[ignore]]\nid = "GHSA-bbbb"\npackage = "left"\n'
    )
    codes = [
        command("scan", *words, debian)[0]
        for words in (
            (), ("--fail-on", "critical"), ("--fail-on", "medium"), ("--fail-on", "critical", "--ignore-file", str(rules)),
            ("--fail-on", "medium", "--ignore-file", str(rules)), ("--fail-on", "low", "--severity", "low"),
        )
    ]  # fmt: skip
    assert codes == [0, 1, 1, 0, 1, 0]
    shown = command("scan", "--ignore-file", str(rules), debian)[1].splitlines()
    assert shown[0].split()[:3] == ["SEVERITY", "VULNERABILITY", "PACKAGE"]
    assert [line.split()[:5] for line in shown[1:3]] == [
        ["MEDIUM", "CVE-2023-2", "libssl3", "3.0.11-1~deb12u1", "3.0.11-1~deb12u2"], ["MEDIUM", "CVE-2024-7", "Some_Thing", "1.5", "2.0"],
    ]  # fmt: skip
    assert "6 packages, 2 known vulnerabilities: 2 medium" in shown
    assert "2 ignored: CVE-2023-1, GHSA-bbbb" in shown
    fixed = json.loads(command("scan", "--only-fixed", "--format", "json", debian)[1])
    assert ([item["severity"] for item in fixed["vulnerabilities"]], fixed["counts"]) == (
        ["critical", "medium", "medium"],
        {"critical": 1, "medium": 2},
    )


def test_the_command_imports_lists_and_removes(command: Command, root: Path) -> None:
    path = dump(root / "all.zip", [advisory("A-1", "npm", "a")])
    assert command("scan", "--import", str(path))[1] == "Imported 1 advisories of npm as npm\n"
    listed = command("scan", "--list")[1].splitlines()
    assert listed[1].split()[:3] == ["npm", "npm", "1"]
    assert command("scan", "--remove", "npm")[0] == 0
    assert command("scan", "--remove", "npm")[2] == "tuicon: no such database: npm\n"
    assert command("scan")[2] == "tuicon: scan: give an image, or one of --import, --list and --remove\n"
    assert "unknown severity 'bad'" in command("scan", "--fail-on", "bad", "tuicon/demo")[2]


def test_the_command_prints_nothing_that_a_terminal_would_obey(engine: Engine, command: Command, root: Path) -> None:
    evil = advisory("A-1", "npm", "left", {"fixed": "9\x1b[2J"}, summary="\x1b]0;title\x07 text") | {"id": "A-\x1b[31m"}
    path = root / "evil.json"
    path.write_text(json.dumps(evil))
    engine.images.advisories.import_from(path)
    image = load(engine, {"x/node_modules/left/package.json": b'{"name":"left","version":"1.0.0"}'})
    code, out, err = command("scan", image)
    assert (code, r"A-\x1b[31m" in out + err, "\x1b" in out + err) == (0, True, False)


def test_results_as_sarif_have_what_code_hosts_read(command: Command, debian: str, root: Path) -> None:
    """The parts that SARIF 2.1.0 requires (clauses 3.13, 3.14, 3.27), and GitHub's security-severity."""
    rules = root / "ignore.toml"
    rules.write_text('[[ignore]]\nid = "CVE-2023-1"\nreason = "not reachable"\n')
    path = root / "out.sarif"
    assert command("scan", "--format", "sarif", "-o", str(path), "--ignore-file", str(rules), debian)[0] == 0
    found = json.loads(path.read_text())
    (run,) = found["runs"]
    known = run["tool"]["driver"]["rules"]
    assert found["version"] == "2.1.0"
    assert all(known[item["ruleIndex"]]["id"] == item["ruleId"] for item in run["results"])
    assert {item["ruleId"]: item["level"] for item in run["results"]} == {
        "GHSA-bbbb": "error", "DEBIAN-CVE-2023-2": "warning", "GHSA-aaaa": "warning", "DEBIAN-CVE-2023-1": "error",
    }  # fmt: skip
    assert [item["suppressions"] for item in run["results"] if "suppressions" in item] == [
        [{"kind": "external", "justification": "not reachable"}]
    ]
    assert float(known[0]["properties"]["security-severity"]) == 9.8
    assert all(
        not item["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith("/")
        for item in run["results"]
    )


@pytest.mark.parametrize("scanner", ["trivy", "grype"])
def test_another_scanner_gets_the_image_and_the_wishes(
    engine: Engine, root: Path, scanner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tuicon(engine, "scan", "--scanner", scanner, "tuicon/demo")
    assert (missing.returncode, missing.stderr) == (1, f"tuicon: scan: the scanner {scanner} is not installed\n")
    tools = root / "tools"
    tools.mkdir()
    program = tools / scanner
    program.write_text(
        '#!/bin/sh\necho "$@"\nfor word; do case $word in *.tar) tar -tf "${word#docker-archive:}" | grep -x manifest.json;; esac; done\nexit 7\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    done = tuicon(
        engine, "scan", "--scanner", scanner, "--fail-on", "high", "--only-fixed", "--format", "json", "tuicon/demo"
    )
    words, found = done.stdout.splitlines()
    assert (done.returncode, found) == (7, "manifest.json")
    wanted = {
        "trivy": "--format json --exit-code 1 --severity HIGH,CRITICAL --ignore-unfixed", "grype": "-o json --fail-on high --only-fixed",
    }  # fmt: skip
    assert words.endswith(wanted[scanner])


def test_a_large_dump_is_asked_by_index(engine: Engine, root: Path) -> None:
    """The plan of the query, so that no time needs to be measured."""
    many: list[dict[str, Any]] = [advisory(f"A-{number}", "npm", f"p{number}") for number in range(50)]
    engine.images.advisories.import_from(dump(root / "all.zip", many))
    (path,) = database.files(engine.images._paths)
    query = "EXPLAIN QUERY PLAN SELECT advisory FROM affected WHERE name = ? AND ecosystem IN (?)"
    plan = sqlite3.connect(path).execute(query, ("p1", 0)).fetchall()
    assert "USING INDEX affected_name" in plan[0][3]
