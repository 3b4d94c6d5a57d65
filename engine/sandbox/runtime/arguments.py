"""The command line, as runc has it; parsed here because argparse alone takes longer than a container's start."""

from __future__ import annotations

from engine.sandbox.runtime.fault import Fault

# A word is an option: "name", "name=" with a value, "name/n" with a short form.
_GLOBAL = "root= log= log-format= log-level= debug systemd-cgroup cgroup-manager= rootless= criu= help/h version/v"
_ENTERING = "console-socket= pid-file= preserve-fds="
_CREATING = f"bundle=/b config=/f no-pivot no-new-keyring no-subreaper {_ENTERING}"
COMMANDS: dict[str, tuple[str, str]] = {
    "create": ("ID", _CREATING),
    "run": ("ID", f"{_CREATING} detach/d keep"),
    "start": ("ID", ""),
    "state": ("ID", ""),
    "kill": ("ID [SIGNAL]", "all/a signal=/s"),
    "delete": ("ID", "force/f regex/r"),
    "exec": (
        "ID [COMMAND [ARGUMENT ...]]",
        (
            f"process=/p env=/e user=/u tty/t cwd= cap=/c additional-gids=/g no-new-privs apparmor= process-label= detach/d "
            f"ignore-paused cgroup= no-subreaper {_ENTERING}"
        ),
    ),
    "list": ("", "format=/f quiet/q"),
    "ps": ("ID [PS-OPTION ...]", "format=/f"),
    "pause": ("ID", ""),
    "resume": ("ID", ""),
    "update": (
        "ID",
        (
            "resources=/r memory=/m memory-reservation= memory-swap= cpu-period= cpu-quota= cpu-burst= cpu-share= "
            "cpu-rt-period= cpu-rt-runtime= cpu-idle= cpuset-cpus= cpuset-mems= pids-limit= blkio-weight= kernel-memory= "
            "kernel-memory-tcp="
        ),
    ),
    "events": ("ID", "stats interval="),
    "spec": ("", "bundle=/b rootless"),
    "features": ("", ""),
}
_TAKES_REST = ("exec", "ps")


class Arguments:
    """What was asked for.

    Attributes:
        command: The command's name, or "" when there is none.
        operands: What is no option, the container's ID first.
    """

    def __init__(self, words: list[str]) -> None:
        self._found: dict[str, list[str]] = {}
        self.command = ""
        self.operands: list[str] = []
        rest = self._take(words, _GLOBAL, "", stops=True)
        if not rest:
            return
        self.command, *rest = rest
        if self.command == "help":
            self._found["help"] = [""]
            return
        if self.command not in COMMANDS:
            raise Fault(f"there is no command {self.command!r}")
        usage, options = COMMANDS[self.command]
        self.operands = self._take(rest, f"{options} help/h", self.command, stops=self.command in _TAKES_REST)
        if not self.has("help"):
            self._check_operands(usage)

    def has(self, name: str) -> bool:
        """Return whether an option was given."""
        return name in self._found

    def text(self, name: str, default: str = "") -> str:
        """Return the last value of an option."""
        return self._found.get(name, [default])[-1]

    def all(self, name: str) -> list[str]:
        """Return all values of an option that may be given several times."""
        return self._found.get(name, [])

    def number(self, name: str, default: int) -> int:
        """Return the value of an option that is a number.

        Raises:
            Fault: It is none.
        """
        text = self.text(name, str(default))
        try:
            return int(text)
        except ValueError:
            raise Fault(f"--{name} wants a number: {text!r}") from None

    @property
    def container_id(self) -> str:
        """The container's ID."""
        return self.operands[0]

    def _take(self, words: list[str], options: str, command: str, *, stops: bool) -> list[str]:
        """Take options off; return the other words, all from the first of them on when it stops there."""
        known = _table(options)
        operands: list[str] = []
        place = 0
        while place < len(words):
            word = words[place]
            place += 1
            if word == "--":
                return operands + words[place:]
            if not word.startswith("-") or word == "-":
                operands.append(word)
                if stops:
                    return operands + words[place:]
                continue
            name, has_value, value = word.lstrip("-").partition("=")
            if name not in known:
                raise Fault(f"there is no option {word.partition('=')[0]}{' of ' + command if command else ''}")
            full, wants_value = known[name]
            if wants_value and not has_value:
                if place == len(words):
                    raise Fault(f"--{full} wants a value")
                value = words[place]
                place += 1
            if not wants_value and value == "false":
                continue
            self._found.setdefault(full, []).append(value)
        return operands

    def _check_operands(self, usage: str) -> None:
        least = usage.partition(" [")[0].count("ID")
        most = usage.replace("[", "").count(" ") + 1 if usage else 0
        if len(self.operands) < least or ("..." not in usage and len(self.operands) > most):
            raise Fault(f"usage: tuicon-oci {self.command} [OPTION ...] {usage}".rstrip())


def _table(options: str) -> dict[str, tuple[str, bool]]:
    known: dict[str, tuple[str, bool]] = {}
    for word in options.split():
        name, _, short = word.partition("/")
        entry = (name.rstrip("="), name.endswith("="))
        known[entry[0]] = entry
        if short:
            known[short] = entry
    return known


def usage() -> str:
    """Return what --help shows."""
    lines = ["usage: tuicon-oci [OPTION ...] COMMAND [OPTION ...] [ID]", "", f"options: {_shown(_GLOBAL)}", ""]
    lines += [f"  {name} {operands} {_shown(options)}".rstrip() for name, (operands, options) in COMMANDS.items()]
    return "\n".join(lines) + "\n"


def _shown(options: str) -> str:
    names = (word.partition("/")[0] for word in options.split())
    return " ".join(f"[--{name[:-1]} VALUE]" if name.endswith("=") else f"[--{name}]" for name in names)
