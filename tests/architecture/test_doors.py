"""Each kernel facility has one door, and the start path stays small; read from the sources and at run time."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.joinpath("engine").rglob("*.py"), *ROOT.joinpath("tuicon").rglob("*.py")])
LONGEST_MODULE = 500
HEAVY_ON_START = {"dataclasses", "typing", "pathlib", "subprocess", "logging", "asyncio", "tempfile",
    "shutil", "contextlib", "msgspec", "pyroute2", "engine.model", "engine.errors"}  # fmt: skip
HEAVY_ON_COMMAND_LINE = {"asyncio", "textual", "rich", "plotext", "psutil", "pyroute2", "urllib3"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def docstrings_of(tree: ast.AST) -> set[int]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.add(id(node.value))
    return found


def strings_of(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    prose = docstrings_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def importers_of(module: str) -> set[str]:
    wanted = module.split(".")
    return {
        name_of(path)
        for path in SOURCES
        if any(found.split(".")[: len(wanted)] == wanted for found in imports_of(path))
    }


def modules_after(statement: str) -> set[str]:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {statement}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_only_the_doors_call_the_c_library() -> None:
    assert {path for path in importers_of("ctypes") if not path.startswith("engine/linux/")} == set()


def test_only_the_netlink_door_imports_pyroute2() -> None:
    assert importers_of("pyroute2") == {"engine/linux/netlink.py"}


def test_only_the_plot_adapter_imports_plotext() -> None:
    assert importers_of("plotext") == {"tuicon/widgets/plot.py"}


def test_nobody_imports_ctypes_util() -> None:
    assert importers_of("ctypes.util") == set()


def test_nobody_above_the_doors_writes_a_cgroup_path() -> None:
    offenders = {
        name_of(path)
        for path in SOURCES
        if not name_of(path).startswith("engine/linux/")
        for text in strings_of(path)
        if text.startswith("/sys/fs/cgroup/")
    }
    assert offenders == set()


def test_the_engine_does_not_print_or_exit() -> None:
    offenders = []
    for path in SOURCES:
        if not name_of(path).startswith("engine/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in {"print", "sys.exit", "exit", "input"}:
                    offenders.append(f"{name_of(path)}:{node.lineno} {called}")
    assert offenders == []


@pytest.mark.parametrize("package", sorted({str(path.parent.relative_to(ROOT)) for path in SOURCES}))
def test_packages_have_an_empty_init(package: str) -> None:
    assert ROOT.joinpath(package, "__init__.py").read_text() == ""


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_modules_fit_on_a_few_screens(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


def test_the_launcher_imports_almost_nothing() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import engine.sandbox.launcher; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) & HEAVY_ON_START == set()


def test_the_front_door_opens_without_heavy_libraries() -> None:
    assert modules_after("import engine.api") & (HEAVY_ON_COMMAND_LINE | {"engine.linux.netlink"}) == set()


def test_the_command_line_starts_without_the_console() -> None:
    assert modules_after("import tuicon.__main__, tuicon.cli") & HEAVY_ON_COMMAND_LINE == set()
