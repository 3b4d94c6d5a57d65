"""The flags of run and create, and the specification that they ask for."""

from __future__ import annotations

import argparse

from engine.model.container import ContainerSpec, LogOptions, Mount, RestartPolicy
from engine.model.network import Attachment
from engine.model.value import replace
from tuicon.cli import health, isolation, network_flags
from tuicon.cli.failure import Usage, complain
from tuicon.cli.words import add_flag, add_list, environment, labels, pairs, path
from tuicon.model import limit_flags
from tuicon.model.units import parse_size

_LOG_OPTIONS = {
    "json-file": ("max-size", "max-file", "tag", "labels", "env"),
    "journald": ("tag", "labels", "env"),
    "none": (),
}  # fmt: skip


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add docker's flags, all but those that are about isolation and limits of their own modules."""
    add_flag(parser, "-i", "--interactive", help="keep stdin open")
    add_flag(parser, "-t", "--tty", help="give it a pseudo-terminal")
    add_flag(parser, "--rm", help="remove it when it ends")
    add_flag(parser, "--init", help="have a small first process that reaps orphans and passes signals on")
    parser.add_argument("--name", default="", help="its name")
    add_list(parser, "-e", "--env", metavar="NAME[=VALUE]", help="set an environment variable")
    add_list(parser, "--env-file", metavar="FILE", help="read environment variables from a file")
    parser.add_argument("-u", "--user", metavar="USER[:GROUP]", help="user name or uid")
    parser.add_argument("-w", "--workdir", metavar="DIR", help="working directory")
    parser.add_argument("-h", "--hostname", default="", help="host name")
    parser.add_argument("--domainname", default="", help="domain name")
    parser.add_argument("--entrypoint", help="replace the image's entrypoint")
    add_list(parser, "-l", "--label", metavar="NAME=VALUE", help="set a label")
    add_list(parser, "--label-file", metavar="FILE", help="read labels from a file")
    add_list(parser, "--annotation", metavar="NAME=VALUE", help="add an annotation to its runtime config")
    parser.add_argument("--stop-signal", metavar="SIGNAL", help="signal that stops it")
    parser.add_argument("--stop-timeout", type=float, default=10.0, metavar="SECONDS", help="wait before KILL")
    parser.add_argument(
        "--restart", default="no", metavar="POLICY", help="no, on-failure[:N], always or unless-stopped"
    )
    parser.add_argument("--runtime", default="", metavar="RUNTIME", help="name or path of another OCI runtime")
    parser.add_argument("--log-driver", default="json-file", choices=tuple(_LOG_OPTIONS), help="where output goes")
    add_list(parser, "--log-opt", metavar="NAME=VALUE", help="max-size, max-file, tag, labels, env")
    parser.add_argument("--cidfile", metavar="FILE", help="write its id to a file")
    _add_network_flags(parser)
    _add_file_flags(parser)
    health.add_flags(parser)
    isolation.add_flags(parser)
    limit_flags.add_flags(parser)
    parser.add_argument("--help", action="help", help="show this text")


def _add_network_flags(parser: argparse.ArgumentParser) -> None:
    network_flags.add_networks(parser)
    add_list(
        parser, "-p", "--publish", metavar="[[ADDRESS:]HOST:]PORT[/PROTOCOL]", help="publish a port or a range of ports"
    )
    add_flag(parser, "-P", "--publish-all", help="publish all exposed ports on free ports of the host")
    add_list(parser, "--expose", metavar="PORT[/PROTOCOL]", help="say that it has a port or a range of ports")
    add_list(parser, "--add-host", metavar="NAME:ADDRESS", help="add a line to /etc/hosts")
    add_list(parser, "--dns", metavar="ADDRESS", help="use this name server")
    add_list(parser, "--dns-option", metavar="OPTION", help="an option of resolv.conf")
    add_list(parser, "--dns-search", metavar="DOMAIN", help="use this search domain")


def _add_file_flags(parser: argparse.ArgumentParser) -> None:
    add_list(parser, "-v", "--volume", metavar="[SOURCE:]TARGET[:OPTIONS]", help="mount a directory or a volume")
    add_list(parser, "--mount", metavar="type=…,source=…,target=…", help="mount a bind, volume, tmpfs or image")
    add_list(parser, "--volumes-from", metavar="CONTAINER[:ro]", help="mount what another container has mounted")
    add_list(parser, "--tmpfs", metavar="TARGET[:OPTIONS]", help="mount a tmpfs")
    parser.add_argument("--shm-size", default="64m", metavar="SIZE", help="size of /dev/shm")


def spec_of(arguments: argparse.Namespace) -> ContainerSpec:
    """Return the specification that the flags of run and create ask for.

    Raises:
        Usage: A flag's value is malformed.
    """
    networks = network_flags.attachments_of(arguments)
    is_plain = networks == (Attachment(networks[0].network),)
    spec = ContainerSpec(
        image=arguments.image, name=arguments.name, command=tuple(arguments.command) or None,
        entrypoint=() if arguments.entrypoint is None else (arguments.entrypoint,), env=environment(arguments),
        user=arguments.user, workdir=arguments.workdir, hostname=arguments.hostname, domainname=arguments.domainname,
        tty=arguments.tty, interactive=arguments.interactive, labels=labels(arguments),
        annotations=pairs(arguments.annotation), network=networks[0].network, attachments=() if is_plain else networks, dns=tuple(arguments.dns),
        dns_search=tuple(arguments.dns_search), dns_options=tuple(arguments.dns_option), extra_hosts=tuple(arguments.add_host), mounts=_mounts(arguments),
        volumes_from=tuple(arguments.volumes_from),
        limits=limit_flags.of_arguments(arguments), shm_size=parse_size(arguments.shm_size),
        stop_signal=arguments.stop_signal, stop_timeout=arguments.stop_timeout, auto_remove=arguments.rm,
        log=_log_options(arguments), init=arguments.init, runtime=arguments.runtime,
        restart=parse_restart(arguments.restart), health=health.check_of(arguments),
    )  # fmt: skip
    return isolation.with_isolation(_with_ports(spec, arguments), arguments)


def _with_ports(spec: ContainerSpec, arguments: argparse.Namespace) -> ContainerSpec:
    if not (arguments.publish or arguments.expose or arguments.publish_all):
        return spec
    from engine.api import parse_expose, parse_publish

    if spec.network in ("host", "none"):
        complain(f"warning: with --network {spec.network} there are no ports to publish")
    return replace(
        spec, ports=tuple(mapping for text in arguments.publish for mapping in parse_publish(text)),
        exposed=tuple(port for text in arguments.expose for port in parse_expose(text)),
        publish_all=arguments.publish_all,
    )  # fmt: skip


def _mounts(arguments: argparse.Namespace) -> tuple[Mount, ...]:
    if not (arguments.volume or arguments.mount or arguments.tmpfs):
        return ()
    from engine.api import parse_mount, parse_tmpfs, parse_volume

    return (
        *(parse_volume(_from_here(text)) for text in arguments.volume),
        *(parse_mount(text) for text in arguments.mount),
        *(parse_tmpfs(text) for text in arguments.tmpfs),
    )


def _from_here(text: str) -> str:
    """Return a -v with an absolute path for one that begins with a dot, as docker's client does."""
    source, colon, rest = text.partition(":")
    return f"{path(source).absolute()}{colon}{rest}" if colon and source.startswith(".") else text


def parse_restart(text: str) -> RestartPolicy:
    """Parse --restart.

    Raises:
        Usage: There is no such policy, or the number is malformed.
    """
    name, colon, number = text.partition(":")
    if name not in ("no", "on-failure", "always", "unless-stopped"):
        raise Usage(f"invalid restart policy {text!r}: no, on-failure[:N], always or unless-stopped")
    if colon and (name != "on-failure" or not number.isdigit()):
        raise Usage(f"invalid restart policy {text!r}: only on-failure takes a number")
    return RestartPolicy(name, int(number or 0))


def _log_options(arguments: argparse.Namespace) -> LogOptions:
    options = pairs(arguments.log_opt)
    known = _LOG_OPTIONS[arguments.log_driver]
    unknown = set(options) - set(known)
    if unknown:
        others = f"{', '.join(known)} are known" if known else "it has none"
        raise Usage(f"unknown log option {min(unknown)!r} of {arguments.log_driver}: {others}")
    count = options.get("max-file", "1")
    if not count.isdigit() or int(count) < 1:
        raise Usage(f"invalid log option max-file={count!r}: a number of at least 1")
    names = {name: tuple(filter(None, options.get(name, "").split(","))) for name in ("labels", "env")}
    max_size = parse_size(options["max-size"]) if "max-size" in options else None
    return LogOptions(arguments.log_driver, max_size, int(count), options.get("tag", ""), **names)
