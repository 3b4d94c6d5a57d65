"""Where messages of the command go: stderr, and with --log a file that its caller reads."""

from __future__ import annotations

import os
import time

from engine.linux import files
from engine.linux.light import json
from engine.sandbox.runtime.fault import Fault

_PREFIXES = {"warning": "warning: ", "debug": "debug: "}


class Log:
    """Messages as one line each, in the text or JSON form that callers of runc read."""

    def __init__(self, path: str, form: str, *, is_verbose: bool = False) -> None:
        if form not in ("text", "json"):
            raise Fault(f"--log-format is text or json, not {form!r}")
        if path:
            self._check(path)
        self._path = path
        self._is_json = form == "json"
        self._is_verbose = is_verbose

    @staticmethod
    def _check(path: str) -> None:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise Fault(f"--log {path}: {error.strerror}") from error

    def say(self, level: str, message: str) -> None:
        """Write a message; "debug" ones only when they were asked for."""
        if level == "debug" and not self._is_verbose:
            return
        text = " ".join(message.split())
        if not self._path:
            os.write(
                2,
                (
                    self._line(level, text) if self._is_json else f"tuicon-oci: {_PREFIXES.get(level, '')}{text}\n"
                ).encode(),
            )
            return
        try:
            files.append_line(self._path, self._line(level, text).encode())
        except OSError as error:
            os.write(2, f"tuicon-oci: cannot write --log {self._path}: {error.strerror}\n".encode())
        if level == "error":
            os.write(2, f"tuicon-oci: {text}\n".encode())

    def _line(self, level: str, text: str) -> str:
        now = files.rfc3339(time.time_ns())
        if self._is_json:
            return json.dumps({"level": level, "msg": text, "time": now}) + "\n"
        return f"time={json.dumps(now)} level={level} msg={json.dumps(text)}\n"
