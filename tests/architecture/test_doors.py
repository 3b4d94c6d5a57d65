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
    "shutil", "contextlib", "msgspec", "pyroute2", "engine.model", "engine.errors", "json", "re", "enum", "signal",
    "socket", "collections", "functools"}  # fmt: skip
# Modules that handle roots of containers, layers or volumes. What they call takes a descriptor (dir_fd, a name that ends
# in "fd" or stands in _DESCRIPTORS, or /proc/self/fd); the functions below take a path, for the reason beside them.
HANDLE_ROOTS = ("engine/sandbox/", "engine/images/unpack.py", "engine/images/analyse/reading.py", "engine/images/tree.py", "engine/images/packages/",
    "engine/volumes/volumes.py", "engine/volumes/contents.py", "engine/volumes/replicate.py", "engine/volumes/quota.py", "engine/containers/top.py", "engine/containers/copy.py", "engine/containers/diff.py",
    "engine/containers/extract.py", "engine/containers/sync.py", "engine/containers/commit.py", "engine/containers/exchange.py",
    "engine/linux/owner.py", "engine/store/drivers/")  # fmt: skip
TAKE_PATHS = {
    "engine/sandbox/init.py:_open_root": "the root file system's own directory, in a mount namespace that is the host's copy",
    "engine/sandbox/init.py:_set_sysctls": "the host's /proc, which no image can have replaced",
    "engine/sandbox/init.py:_pivot": "the directory that fchdir entered",
    "engine/sandbox/mounts.py:mount_overlay": "layer directories, named by the engine",
    "engine/sandbox/mounts.py:_mapped": "layer directories, named by the engine",
    "engine/sandbox/mounts.py:_attach": "the root file system's own directory",
    "engine/sandbox/mounts.py:_open_source": "a bind's source on the host, named by the user",
    "engine/sandbox/mounts.py:_open_null": "the host's null device",
    "engine/sandbox/runtime/create.py:*": "the bundle, the runtime's own state and the interpreter, all on the host",
    "engine/sandbox/runtime/documents.py:*": "the bundle, the runtime's own state and the interpreter, all on the host",
    "engine/sandbox/runtime/ending.py:*": "the bundle, the runtime's own state and the interpreter, all on the host",
    "engine/sandbox/runtime/entry.py:*": "the bundle, the runtime's own state and the interpreter, all on the host",
    "engine/sandbox/runtime/log.py:*": "the log file on the host",
    "engine/sandbox/runtime/join.py:*": "the bundle, the runtime's own state and the interpreter, all on the host",
    "engine/sandbox/runtime/sockets.py:*": "sockets of the runtime and of its callers, on the host",
    "engine/sandbox/runtime/start.py:*": "the bundle, the runtime's own state and the interpreter, all on the host",
    "engine/sandbox/runtime/state.py:*": "the bundle, the runtime's own state and the interpreter, all on the host",
    "engine/sandbox/sealed.py:read_only_view": "the host's interpreter",
    "engine/sandbox/sources.py:*": "devices and programs of the host, and the place for a mount, all before a volume's root is entered",
    "engine/sandbox/volumes.py:*": "the volume's volatile directory, and devices and directories of the host that its driver names; what is in a volume comes by descriptor",
    "engine/sandbox/trees.py:*": "the root file system's own directory, and what engine.linux.inside opened",
    "engine/sandbox/devices.py:_bind_device": "a device of the host, named by the user and checked by its number",
    "engine/sandbox/devices.py:_host_path": "the host's /sys, before the root is entered",
    "engine/sandbox/devices.py:node_of": "a device of the host, named by the user",
    "engine/sandbox/process.py:check_command": "the command, from inside",
    "engine/sandbox/process.py:execute": "the command, from inside",
    "engine/sandbox/external.py:*": "the bundle and the state of another runtime in the run root, and that runtime",
    "engine/sandbox/health.py:_run": "the host's null device",
    "engine/sandbox/hooks.py:_become": "a hook's program on the host, named by the OCI config",
    "engine/sandbox/enter.py:_remember": "the host's /proc",
    "engine/sandbox/identity.py:write_maps": "the host's /proc",
    "engine/sandbox/identity.py:user_namespace": "the host's /proc",
    "engine/sandbox/identity.py:own_user_namespace": "the host's /proc",
    "engine/sandbox/namespaces.py:*": "namespaces in the host's /proc, or named by the OCI config",
    "engine/sandbox/spawn.py:_set_oom_score": "the host's /proc",
    "engine/sandbox/view.py:_mount": "a directory of the state root, in a mount namespace that is the host's copy",
    "engine/containers/copy.py:export_to_file": "the archive's place on the host, named by the user",
    "engine/containers/copy.py:_private": "the archive's place on the host, named by the user",
    "engine/images/tree.py:_xattrs": "a descriptor by its name in /proc/self/fd",
    "engine/sandbox/launcher.py:*": "before any container",
    "engine/sandbox/monitor.py:*": "the bundle: records, locks and sockets of the state root",
    "engine/sandbox/connect.py:_change": "namespaces in the host's /proc",
    "engine/sandbox/connect.py:_switch_off": "the host's /proc, before the root is entered",
    "engine/sandbox/follow.py:_stamp": "a record of the state root",
    "engine/sandbox/resolver.py:*": "the names of the state root",
    "engine/sandbox/ports.py:*": "the records of the state root, and the null device on the host",
    "engine/sandbox/logfile.py:*": "the log beside the record",
    "engine/sandbox/ring.py:*": "the history beside the record",
    "engine/sandbox/recorder.py:_revert": "the trial in the state root",
    "engine/sandbox/streams.py:*": "the null device and the attach socket on the host",
    "engine/store/drivers/overlay.py:refusal": "a directory that was made for the trial",
    "engine/store/drivers/overlay.py:_program": "the host's programs",
    "engine/store/drivers/merge.py:open_all": "layer and container directories, named by the engine",
    "engine/volumes/replicate.py:opened_directory": "the volume's own directory; what is below comes by descriptor",
    "engine/containers/extract.py:extract_archive": "the volume's own directory; what is below comes by descriptor",
    "engine/volumes/volumes.py:copy_up": "the volume's own directory; what is below comes by descriptor",
    "engine/volumes/volumes.py:is_empty": "the volume's own directory",
}  # fmt: skip
_DESCRIPTORS = {"fd", "source", "destination", "parent", "tree", "directory_fd"}
_CALLS = set(
    """open stat lstat mkdir makedirs mknod mkfifo symlink link unlink remove rmdir rename replace chmod chown lchown
utime readlink listdir scandir walk fwalk setxattr getxattr listxattr removexattr chdir chroot access truncate statvfs
execve execv exists isdir isfile islink getsize realpath""".split()
)
_MOUNTS = {"syscalls.mount": 1, "syscalls.umount": 0, "syscalls.open_tree": 0, "syscalls.pivot_root": 0}
HEAVY_ON_EXEC = {"dataclasses", "typing", "inspect", "pathlib", "subprocess", "shutil", "msgspec", "threading", "tempfile",
    "engine.model", "engine.store.records", "engine.store.journal", "engine.store.paths", "engine.containers.containers", "engine.containers.launch"}  # fmt: skip
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


def test_the_runtime_command_imports_almost_nothing() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import engine.sandbox.runtime.command, {{}}; print(*sorted(sys.modules))"
    for module in ("create", "join", "start", "ending"):
        statement = code.format(f"engine.sandbox.runtime.{module}")
        done = subprocess.run([sys.executable, "-I", "-S", "-c", statement], check=True, capture_output=True, text=True)
        assert set(done.stdout.split()) & HEAVY_ON_START == set()


def test_the_front_door_opens_without_heavy_libraries() -> None:
    assert modules_after("import engine.api") & (HEAVY_ON_COMMAND_LINE | {"engine.linux.netlink"}) == set()


def test_the_command_line_starts_without_the_console() -> None:
    assert modules_after("import tuicon.__main__, tuicon.cli") & HEAVY_ON_COMMAND_LINE == set()


def test_a_command_in_a_container_needs_no_records_and_no_heavy_libraries() -> None:
    words = ["exec", "-i", "box", "true"]
    parsed = f"import tuicon.__main__; from tuicon.cli import parser; parser.build({words}).parse_args({words})"
    found = modules_after(
        f"{parsed}; import engine.api, tuicon.cli.main, tuicon.cli.containers, engine.containers.express"
    )
    assert found & HEAVY_ON_EXEC == set()


@pytest.mark.parametrize("verb", ["run", "ps", "stop", "logs", "update"])
def test_the_parser_loads_only_the_flags_of_the_verb(verb: str) -> None:
    found = modules_after(f"from tuicon.cli import parser; parser.build(['{verb}'])")
    flags = {name.rpartition(".")[2] for name in found if name.endswith("_flags")}
    allowed = {"run": {"network_flags", "registry_flags", "limit_flags"}, "update": {"tuning_flags", "limit_flags"}}
    assert flags <= allowed.get(verb, set())


def test_no_command_defines_a_dataclass() -> None:
    """Records are engine.model.value.Value; forty dataclasses take longer than a container's start."""
    path = "engine.containers.lifecycle, engine.containers.create, engine.images.images, tuicon.cli.listing"
    found = modules_after(f"import {path}")
    assert "dataclasses" not in found


def test_a_list_of_containers_starts_neither_a_launcher_nor_a_hash() -> None:
    words = ["ps", "--all"]
    parsed = (
        f"import tuicon.__main__; from tuicon.cli import parser; arguments = parser.build({words}).parse_args({words})"
    )
    listed = "from engine.api import Engine; from tuicon.cli.main import run; import os; os.geteuid = lambda: 0"
    found = modules_after(
        f"{parsed}; arguments.root = '/nonexistent/root'; {listed}; run(Engine(arguments.root), arguments)"
    )
    assert found & {"dataclasses", "typing_extensions", "inspect", "hashlib", "ctypes", "signal", "socket"} == set()


def calls_by_path(path: Path) -> Iterator[str]:
    """Yield "module:function" of each call that names a file by its path."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and names_a_path(node):
                    yield f"{name_of(path)}:{function.name}"


def names_a_path(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    room, _, verb = called.rpartition(".")
    if any(keyword.arg in {"dir_fd", "src_dir_fd", "dst_dir_fd"} for keyword in call.keywords):
        return False
    if called in _MOUNTS:
        return not is_descriptor(call.args[_MOUNTS[called]])
    if called == "Path" or room == "shutil":
        return verb not in {"", "copyfileobj"} or called == "Path"
    if called == "open" or (room in {"os", "os.path"} and verb in _CALLS):
        return not is_descriptor(call.args[0])
    return False


def is_descriptor(argument: ast.expr) -> bool:
    text = ast.unparse(argument)
    is_ours = text in _DESCRIPTORS or text.endswith(("_fd", ".fileno()")) or text.startswith("inner_")
    root_of_a_sandbox = isinstance(argument, ast.Constant) and argument.value == "/"
    return is_ours or root_of_a_sandbox or text.startswith(("fd_path(", "f'/proc/self/fd/{"))


def test_whoever_handles_roots_names_no_path_below_them() -> None:
    """The static half; tests/attacks/test_one_door.py watches the same while it runs."""
    handlers = [path for path in SOURCES if name_of(path).startswith(HANDLE_ROOTS)]
    assert handlers
    found = {call for path in handlers for call in calls_by_path(path)}
    allowed = {name for name in found if name in TAKE_PATHS or name.partition(":")[0] + ":*" in TAKE_PATHS}
    assert found - allowed == set()


def test_every_exception_to_that_is_still_needed() -> None:
    found = {call for path in SOURCES for call in calls_by_path(path)}
    modules = {call.partition(":")[0] + ":*" for call in found}
    assert {name for name in TAKE_PATHS if name not in found | modules} == set()
