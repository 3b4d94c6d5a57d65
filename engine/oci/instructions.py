"""Dockerfile instructions that change an image's config, applied one by one; pure.

Source: Dockerfile reference (quotes, escapes, variables, exec and shell forms); image-spec config.md and docker's
Healthcheck and OnBuild beside it.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from typing import Any

from engine.errors import InvalidArgument

Config = dict[str, Any]
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+")
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_HEALTH_TIMES = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval"}  # fmt: skip


def apply(config: Config, lines: tuple[str, ...]) -> Config:
    """Return the "config" of an image config with instructions applied.

    Args:
        config: The section as it is.
        lines: "CMD …", "ENTRYPOINT …", "ENV …", "EXPOSE …", "HEALTHCHECK …", "LABEL …", "ONBUILD …", "STOPSIGNAL …",
            "USER …", "VOLUME …" and "WORKDIR …".

    Raises:
        InvalidArgument: One is unknown or malformed.
    """
    changed = dict(config)
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        action = _ACTIONS.get(word.upper())
        if action is None:
            raise InvalidArgument(f"unknown change {line[:80]!r}: {', '.join(sorted(_ACTIONS))} are known")
        if not rest.strip():
            raise InvalidArgument(f"the change {word.upper()} needs an argument")
        action(changed, rest.strip())
    return changed


def _expanded(text: str, config: Config) -> str:
    values = dict(item.partition("=")[::2] for item in config.get("Env") or ())
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], ""), text)


def words(text: str, config: Config) -> list[str]:
    """Return the words of a text: quotes and backslashes as in a Dockerfile, variables of the config's environment.

    Raises:
        InvalidArgument: A quote is not closed.
    """
    found: list[str] = []
    current: str | None = None
    plain = quote = ""
    position = 0

    def flush() -> None:
        nonlocal current, plain
        current = (current or "") + _expanded(plain, config) if plain or current is not None else None
        plain = ""

    while position < len(text):
        sign = text[position]
        position += 1
        if sign == "\\" and quote != "'" and position < len(text):
            flush()
            current = (current or "") + text[position]
            position += 1
        elif quote == "'" and sign != "'":
            current = (current or "") + sign
        elif sign in "\"'" and quote in ("", sign):
            flush()
            current, quote = current or "", "" if quote else sign
        elif sign.isspace() and not quote:
            flush()
            found += [] if current is None else [current]
            current = None
        else:
            plain += sign
    if quote:
        raise InvalidArgument(f"a quote is not closed in {text[:80]!r}")
    flush()
    return found if current is None else [*found, current]


def _pairs(config: Config, text: str) -> list[tuple[str, str]]:
    """Return NAME=VALUE words; the old form "NAME VALUE" has one."""
    first = text.split(maxsplit=1)
    if "=" not in first[0]:
        if len(first) < 2:
            raise InvalidArgument(f"{text[:80]!r} has no value")
        return [(first[0], " ".join(words(first[1], config)))]
    pairs = [word.partition("=") for word in words(text, config)]
    if any(not name or not equals for name, equals, _ in pairs):
        raise InvalidArgument(f"{text[:80]!r} is not made of NAME=VALUE")
    return [(name, value) for name, _, value in pairs]


def _listed(text: str) -> list[str] | None:
    """Return the words of the exec form, None when it is another form."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else None


def _command(text: str) -> list[str]:
    listed = _listed(text)
    return ["/bin/sh", "-c", text] if listed is None else listed


def _cmd(config: Config, text: str) -> None:
    config["Cmd"] = _command(text)


def _entrypoint(config: Config, text: str) -> None:
    config["Entrypoint"] = _command(text)


def _env(config: Config, text: str) -> None:
    merged = dict(item.partition("=")[::2] for item in config.get("Env") or ())
    merged |= _pairs(config, text)
    config["Env"] = [f"{name}={value}" for name, value in merged.items()]


def _expose(config: Config, text: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in words(text, config):
        match = _PORT.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last <= 65535:
            raise InvalidArgument(f"invalid port {word[:40]!r}: expected 80, 53/udp or 8000-8010")
        ports |= {f"{port}/{(match[3] or 'tcp').lower()}": {} for port in range(first, last + 1)}
    config["ExposedPorts"] = ports


def _label(config: Config, text: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(config, text))}


def _user(config: Config, text: str) -> None:
    config["User"] = _expanded(text, config)


def _volume(config: Config, text: str) -> None:
    paths = _listed(text) or words(text, config)
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _workdir(config: Config, text: str) -> None:
    config["WorkingDir"] = posixpath.normpath(
        posixpath.join("/", config.get("WorkingDir") or "", _expanded(text, config))
    )


def _stop_signal(config: Config, text: str) -> None:
    config["StopSignal"] = _expanded(text, config)


def _on_build(config: Config, text: str) -> None:
    if text.split(maxsplit=1)[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidArgument(f"{text[:40]!r} cannot be a trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or ()), text]


def _health(config: Config, text: str) -> None:
    found: Config = {}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        name, _, value = option.removeprefix("--").partition("=")
        text = text.strip()
        if name == "retries" and value.isdigit():
            found["Retries"] = int(value)
        elif name in _HEALTH_TIMES and _DURATION.fullmatch(value):
            parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", value)
            found[_HEALTH_TIMES[name]] = int(sum(float(number) * _UNITS[unit] for number, unit in parts))
        else:
            raise InvalidArgument(f"invalid option {option[:40]!r} of HEALTHCHECK")
    kind, _, rest = text.partition(" ")
    if text.upper() == "NONE" and not found:
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not rest.strip():
        raise InvalidArgument("HEALTHCHECK takes CMD and a command, or NONE")
    listed = _listed(rest.strip())
    test = ["CMD-SHELL", rest.strip()] if listed is None else ["CMD", *listed]
    config["Healthcheck"] = {"Test": test, **found}


_ACTIONS: dict[str, Callable[[Config, str], None]] = {
    "CMD": _cmd, "ENTRYPOINT": _entrypoint, "ENV": _env, "EXPOSE": _expose, "HEALTHCHECK": _health, "LABEL": _label,
    "ONBUILD": _on_build, "STOPSIGNAL": _stop_signal, "USER": _user, "VOLUME": _volume, "WORKDIR": _workdir,
}  # fmt: skip
