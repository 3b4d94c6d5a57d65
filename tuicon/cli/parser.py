"""The parser: docker's verbs, grouped and alone; building it imports nothing but argparse and the flags that are wanted."""

from __future__ import annotations

import argparse
import os
import sys
from functools import cache

from tuicon.cli.failure import Usage
from tuicon.cli.words import Later, add_flag, add_list, path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Add = Callable[[argparse.ArgumentParser], None]

copying, health, inside_flags, network_flags = map(Later, ("copying", "health", "inside_flags", "network_flags"))
limit_flags = Later("limit_flags", "tuicon.model")
pressure_flags, registry_flags, scan_flags, spec, tuning_flags, volume_flags = map(
    Later, ("pressure_flags", "registry_flags", "scan_flags", "spec", "tuning_flags", "volume_flags")
)


class _Formatter(argparse.HelpFormatter):
    """The usual one, made for each argument that is added; to ask for the width it would load shutil and compressors."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


@cache
def _columns() -> int:
    """Return the width of the terminal, as shutil.get_terminal_size does."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80 if sys.__stdout__ else 80
    except (OSError, ValueError):
        return 80


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours to print."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - argparse's own
        super().__init__(**{"formatter_class": _Formatter, **options})

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise instead of exiting with argparse's own code."""
        verb = self.prog.removeprefix("tuicon").strip()
        raise Usage(f"{verb}: {message}" if verb else message)


def _containers(parser: argparse.ArgumentParser) -> None:
    _named(parser.add_argument("containers", nargs="+", metavar="CONTAINER"), "containers")


def _container(parser: argparse.ArgumentParser) -> None:
    _named(parser.add_argument("container", metavar="CONTAINER"), "container")


def _named(action: argparse.Action, what: str) -> None:
    """Have the completion script ask for names (see tuicon.cli.system.completion)."""
    function = f"_tuicon_{what.rstrip('s')}s"
    action.complete = {"bash": function, "zsh": function}  # type: ignore[attr-defined]


def _json(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--json", help="print JSON")


def _listing(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-q", "--quiet", help="only ids")
    add_flag(parser, "--no-trunc", help="whole ids and commands")
    add_list(parser, "-f", "--filter", metavar="KEY=VALUE", help="only what fits")
    parser.add_argument("--format", metavar="TEMPLATE", help="json, table …, or text with {{.Field}}")
    _json(parser)


def _spec(parser: argparse.ArgumentParser) -> None:
    spec.add_flags(parser)
    registry_flags.policy(parser)
    _named(parser.add_argument("image", metavar="IMAGE"), "images")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="replaces the image's command")


def _run(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-d", "--detach", help="run in the background and print the id")
    _attaching(parser)
    _spec(parser)


def _attaching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detach-keys", metavar="KEYS", help="keys that leave it running")
    parser.add_argument(
        "--sig-proxy", default="true", choices=("true", "false"), help="send it the signals that we get"
    )


def _start(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-a", "--attach", help="show its output and wait for it")
    add_flag(parser, "-i", "--interactive", help="send it our input")
    _attaching(parser)
    _containers(parser)


def _stop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-t", "--timeout", "--time", type=float, metavar="SECONDS", help="wait before KILL, -1 for ever"
    )
    parser.add_argument("-s", "--signal", metavar="SIGNAL", help="instead of its stop signal")
    _containers(parser)


def _restart(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-t", "--timeout", "--time", type=float, metavar="SECONDS", help="wait before KILL")
    _containers(parser)


def _kill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--signal", default="KILL", metavar="SIGNAL", help="the signal")
    _containers(parser)


def _rename(parser: argparse.ArgumentParser) -> None:
    _container(parser)
    parser.add_argument("name", metavar="NAME")


def _rm(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-f", "--force", help="kill it when it runs")
    add_flag(parser, "-v", "--volumes", help="remove its anonymous volumes too")
    _containers(parser)


def _ps(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-a", "--all", help="also those that do not run")
    parser.add_argument("-n", "--last", type=int, metavar="N", help="the newest N, running or not")
    add_flag(parser, "-l", "--latest", help="the newest one, running or not")
    add_flag(parser, "-s", "--size", help="the bytes of its own files, and with its image's")
    _listing(parser)


def _exec(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-d", "--detach", help="run in the background")
    add_flag(parser, "-i", "--interactive", help="send it our input")
    add_flag(parser, "-t", "--tty", help="give it a pseudo-terminal")
    add_flag(parser, "--privileged", help="all capabilities")
    add_list(parser, "-e", "--env", metavar="NAME[=VALUE]", help="set an environment variable")
    add_list(parser, "--env-file", metavar="FILE", help="read environment variables from a file")
    parser.add_argument("-u", "--user", metavar="USER[:GROUP]", help="user name or uid")
    parser.add_argument("-w", "--workdir", metavar="DIR", help="working directory")
    parser.add_argument("--detach-keys", metavar="KEYS", help="keys that leave it running")
    _container(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")


def _attach(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--no-stdin", help="send it no input")
    _attaching(parser)
    _container(parser)


def _logs(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-f", "--follow", help="go on until it ends")
    parser.add_argument("--since", metavar="TIME", help="10m, a Unix time, or RFC 3339")
    parser.add_argument("--until", metavar="TIME", help="10m, a Unix time, or RFC 3339")
    parser.add_argument("-n", "--tail", default="all", metavar="N", help="only the last N lines")
    add_flag(parser, "-t", "--timestamps", help="show when each line came")
    add_flag(parser, "--details", help="show the labels and variables that are kept with each line")
    _json(parser)
    _container(parser)


def _top(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    _container(parser)


def _port(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    _container(parser)
    parser.add_argument("port", nargs="?", default="", metavar="PORT[/PROTOCOL]", help="only this one")


def _stats(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-a", "--all", help="also those that do not run")
    add_flag(parser, "--no-stream", help="print once")
    add_flag(parser, "--no-trunc", help="whole ids")
    parser.add_argument("--format", metavar="TEMPLATE", help="json, table …, or text with {{.Field}}")
    _json(parser)
    tuning_flags.stats(parser)
    parser.add_argument("containers", nargs="*", metavar="CONTAINER")


def _update(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--restart", metavar="POLICY", help="no, on-failure[:N], always or unless-stopped")
    limit_flags.add_flags(parser)
    tuning_flags.update(parser)
    health.add_flags(parser)
    _containers(parser)


def _load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--input", type=path, metavar="FILE", help="archive or OCI layout; default stdin")
    add_flag(parser, "-q", "--quiet", help="print nothing")


def _import(parser: argparse.ArgumentParser) -> None:
    add_list(parser, "-c", "--change", metavar="INSTRUCTION", help="a Dockerfile instruction such as CMD, ENV or USER")
    parser.add_argument("source", metavar="FILE|-")
    parser.add_argument("reference", nargs="?", default="", metavar="REFERENCE")


def _images(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-a", "--all", help="all images (there are no hidden ones)")
    add_flag(parser, "--digests", help="show digests")
    add_flag(parser, "--check", help="ask the registries for newer images")
    _listing(parser)
    parser.add_argument("reference", nargs="?", metavar="REFERENCE")


def _rmi(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-f", "--force", help="remove all references")
    _named(parser.add_argument("images", nargs="+", metavar="IMAGE"), "images")


def _tag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("reference", metavar="REFERENCE")


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--format", metavar="TEMPLATE", help="text with {{.Field}} and {{json .Field}}")
    parser.add_argument("--type", choices=("container", "image", "network", "volume"), help="only objects of this kind")
    _json(parser)
    parser.add_argument("names", nargs="+", metavar="NAME")


def _events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="TIME", help="10m, a Unix time, or RFC 3339")
    parser.add_argument("--until", metavar="TIME", help="10m, a Unix time, or RFC 3339; ends the stream")
    add_list(parser, "-f", "--filter", metavar="KEY=VALUE", help="container, event, image, type")
    parser.add_argument("--format", metavar="TEMPLATE", help="json, or text with {{.Field}}")
    _json(parser)


def _names_only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME")


def _volume_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--driver", default="local", metavar="DRIVER", help="local, tmpfs, nfs or cephfs")
    add_list(parser, "--label", metavar="NAME=VALUE", help="set a label")
    add_list(parser, "-o", "--opt", metavar="NAME=VALUE", help="tell the driver something")
    parser.add_argument("name", nargs="?", default="", metavar="NAME")


def _forced(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "-f", "--force", help="do not ask")


def _check(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--repair", help="mend what can be mended")
    add_flag(parser, "--deep", help="read all blobs and check their digests")
    _json(parser)


def _nothing(_parser: argparse.ArgumentParser) -> None:
    return


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("up", "down", "image"))


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"))


def _complete(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("containers", "images", "networks", "volumes"))


_CONTAINER_VERBS: dict[str, tuple[str, Add]] = {
    "run": ("create a container and start it", _run),
    "create": ("create a container", _spec),
    "start": ("start containers", _start),
    "stop": ("stop containers", _stop),
    "restart": ("restart containers", _restart),
    "kill": ("send containers a signal", _kill),
    "pause": ("freeze all processes of containers", _containers),
    "unpause": ("let paused containers go on", _containers),
    "rename": ("give a container another name", _rename),
    "wait": ("wait for containers to end, print their exit codes", _containers),
    "rm": ("remove containers", _rm),
    "ps": ("list containers", _ps),
    "exec": ("run a command in a running container", _exec),
    "attach": ("attach to a running container", _attach),
    "logs": ("show a container's output", _logs),
    "port": ("show which ports of the host lead to a container", _port),
    "top": ("list a container's processes", _top),
    "stats": ("show the resource use of containers", _stats),
    "update": ("change limits, restart policies and health checks of containers, running ones at once", _update),
    "cp": ("copy files into or out of a container", copying.add_cp),
    "commit": ("make an image out of what a container changed", copying.add_commit),
    "export": ("write a container's root file system as a tar archive", copying.add_export),
    "diff": ("list what a container changed in its files", copying.add_diff),
    "advise": ("say which limits would fit, by the history", tuning_flags.advise),
    "why": ("say why a container ended", pressure_flags.why),
}
_IMAGE_VERBS: dict[str, tuple[str, Add]] = {
    "load": ("load images from an archive", _load),
    "import": ("make an image from a tar of a root file system", _import),
    "images": ("list images", _images),
    "rmi": ("remove images", _rmi),
    "tag": ("give an image one more name", _tag),
    "pull": ("fetch images from a registry", registry_flags.pull),
    "push": ("send an image to a registry", registry_flags.push),
    "save": ("write images to an archive", registry_flags.save),
    "history": ("show the steps that made an image", registry_flags.history),
    "login": ("log in to a registry", registry_flags.login),
    "logout": ("forget the credentials of a registry", registry_flags.logout),
    "search": ("search a registry", registry_flags.search),
    "sbom": ("print the bill of materials of an image", scan_flags.sbom),
    "scan": ("find known vulnerabilities in an image", scan_flags.scan),
}
_OTHER_VERBS: dict[str, tuple[str, Add]] = {
    "inspect": ("show all that is known of objects, as JSON", _inspect),
    "events": ("show what happens", _events),
    "metrics": ("print metrics for Prometheus, or serve them", tuning_flags.metrics),
    "profile": ("give containers the limits of a profile", tuning_flags.profile),
    "autotune": ("move limits by rules", tuning_flags.autotune),
    "cgroups": ("show the control groups of the whole host", pressure_flags.cgroups),
    "pressure": ("show who waits for what, and who is in the way", pressure_flags.pressure),
    "version": ("show versions", _json),
    "info": ("show the host and the engine", _json),
    "demo": ("start or remove three demo containers, or make their image", _demo),
    "completion": ("print a completion script", _completion),
}
_GROUPS: dict[str, tuple[str, dict[str, tuple[str, Add]]]] = {
    "container": ("work with containers", {
        **{name: verb for name, verb in _CONTAINER_VERBS.items() if name != "ps"},
        "ls": _CONTAINER_VERBS["ps"], "inspect": _OTHER_VERBS["inspect"], "prune": ("remove those that do not run", _forced),
    }),
    "image": ("work with images", {
        "ls": _IMAGE_VERBS["images"], "rm": _IMAGE_VERBS["rmi"], "load": _IMAGE_VERBS["load"],
        "import": _IMAGE_VERBS["import"], "tag": _IMAGE_VERBS["tag"], "inspect": _OTHER_VERBS["inspect"],
        "pull": _IMAGE_VERBS["pull"], "push": _IMAGE_VERBS["push"], "save": _IMAGE_VERBS["save"],
        "history": _IMAGE_VERBS["history"], "prune": ("remove images without a name or use", registry_flags.prune),
        "tags": ("list the tags that a registry has", registry_flags.remote),
        "referrers": ("list what refers to an image in its registry", registry_flags.remote),
        "layers": ("list an image's layers, with commands and sizes", inside_flags.layers),
        "tree": ("show an image's files, with what its layers changed", inside_flags.tree),
        "diff": ("show how the files of two images differ", inside_flags.diff),
        "waste": ("show wasted space and efficiency, and check them", inside_flags.waste),
        "advice": ("tell how an image gets smaller", inside_flags.advice),
        "cat": ("print a file of an image", inside_flags.cat),
        "extract": ("copy a file or directory out of an image", inside_flags.extract),
        "shared": ("list layers that several images have", inside_flags.shared),
        "packages": ("list the packages in an image", scan_flags.packages), "sbom": _IMAGE_VERBS["sbom"],
        "scan": _IMAGE_VERBS["scan"],
    }),
    "manifest": ("work with manifests in registries", {
        "inspect": ("show a manifest or an index", registry_flags.remote),
    }),
    "network": ("work with networks", {
        "ls": ("list networks", _listing), "inspect": _OTHER_VERBS["inspect"], "create": ("make a network", network_flags.create),
        "rm": ("remove networks", _names_only), "prune": ("remove networks that no running container uses", _forced),
        "connect": ("put a container into one more network", network_flags.connect),
        "disconnect": ("take a container out of a network", network_flags.disconnect),
        "peer": ("work with the other ends of an encrypted network", network_flags.peer),
        "reach": ("show how far packets get from a container, and where they stop", network_flags.reach),
        "rules": ("show the nftables rules that concern a network", network_flags.rules),
    }),
    "volume": ("work with volumes", {
        "inspect": _OTHER_VERBS["inspect"], "create": ("make a volume", _volume_create),
        "ls": ("list volumes", volume_flags.ls), "rm": ("remove volumes", volume_flags.rm),
        "prune": ("remove volumes that no container uses, by default anonymous ones", volume_flags.prune),
        "export": ("write a volume's files as a tar archive", volume_flags.export),
        "import": ("put the files of a tar archive into a volume", volume_flags.import_),
        "files": ("list files of a volume", volume_flags.files), "cat": ("print a file of a volume", volume_flags.cat),
        "cp": ("copy files into or out of a volume", volume_flags.cp), "clone": ("make a volume with the files of another", volume_flags.clone),
        "update": ("change how much volumes may hold, while containers use them", volume_flags.update),
        "sync": ("bring a volume's files up to those of another, on another host too", volume_flags.sync),
        "serve": ("be the other end of a sync, on stdin and stdout", volume_flags.serve),
        "snapshot": ("keep a volume's files as they are, list what is kept, bring it back", volume_flags.snapshot),
    }),
    "system": ("work with the whole", {
        "info": _OTHER_VERBS["info"], "events": _OTHER_VERBS["events"], "reset": ("remove everything", _forced),
        "check": ("find what crashes left behind, and mend it", _check), "df": ("show what occupies the disk", _json),
        "boot": ("start the containers whose restart policy wants it", _nothing),
        "shutdown": ("stop all containers until the next boot", _nothing),
        "unit": ("print a systemd unit that does both", _nothing),
        "knobs": ("show which limits this host can set, and why not", tuning_flags.knobs),
    }),
}  # fmt: skip
_SAME = {
    ("container", "ls"): "ps", ("image", "ls"): "images", ("image", "rm"): "rmi", ("system", "info"): "info",
    ("system", "events"): "events", **{("container", name): name for name in _CONTAINER_VERBS},
    **{("image", name): name for name in ("load", "import", "tag", "pull", "push", "save", "history", "sbom", "scan")},
}  # fmt: skip
EXIT_125 = frozenset({"run", "create", "exec", "start"})
"""Verbs whose usage errors end with docker's 125."""


def build(words: Sequence[str] | None = None) -> Parser:
    """Return the parser.

    Args:
        words: The command line, when only that is to be parsed: then the other commands' parsers are left out, which
            saves most of the time.
    """
    parser = Parser(
        prog="tuicon",
        description="Run, watch and retune containers. Without a command, open the console.",
        allow_abbrev=False,
    )
    root = os.environ.get("TUICON_ROOT", "/var/lib/tuicon")
    parser.add_argument("--root", default=root, metavar="DIR", help=f"state root (default {root})")
    run_root = os.environ.get("TUICON_RUN_ROOT", "")
    parser.add_argument("--run-root", default=run_root, metavar="DIR", help="volatile state")
    parser.add_argument(
        "--storage-driver", default=os.environ.get("TUICON_STORAGE_DRIVER", ""), metavar="NAME",
        help="overlay, btrfs, fuse-overlayfs or vfs, for a new state root (default what suits its file system)",
    )  # fmt: skip
    add_flag(parser, "--debug", help="show where an error came from")
    parser.set_defaults(verb="")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    single = _CONTAINER_VERBS | _IMAGE_VERBS | _OTHER_VERBS | {"__complete": ("", _complete)}
    wanted = _wanted(words)
    only_names = words is not None and wanted is None  # a mistake, or --help
    for name, (help_text, add) in single.items():
        if wanted in (None, name) and (name != "__complete" or wanted):
            _add(verbs, name, help_text, _nothing if only_names else add, name)
    for group, (help_text, members) in _GROUPS.items():
        if wanted in (None, group):
            _add_group(verbs, group, help_text, {} if only_names else members)
    return parser


def _wanted(words: Sequence[str] | None) -> str | None:
    """Return the command of a command line, None when it has none that is known."""
    known = {*_CONTAINER_VERBS, *_IMAGE_VERBS, *_OTHER_VERBS, *_GROUPS, "__complete"}
    skips = False
    for word in words or ():
        if skips:
            skips = False
        elif word in ("--root", "--run-root", "--storage-driver"):
            skips = True
        elif not word.startswith("-"):
            return word if word in known else None
    return None


def _add_group(
    verbs: argparse._SubParsersAction[Parser], group: str, help_text: str, members: dict[str, tuple[str, Add]]
) -> None:
    parser = verbs.add_parser(group, help=help_text, description=help_text)
    parser.set_defaults(verb=f"{group} --help", group_parser=parser)
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for name, (member_help, add) in members.items():
        _add(inner, name, member_help, add, _SAME.get((group, name), f"{group} {name}"))


def _add(verbs: argparse._SubParsersAction[Parser], name: str, help_text: str, add: Add, verb: str) -> None:
    wants_h = add not in (_run, _spec)  # there, -h is the host name, as in docker
    parser = verbs.add_parser(name, help=help_text, description=help_text, allow_abbrev=False, add_help=wants_h)
    add(parser)
    parser.set_defaults(verb=verb)
