"""Shows transfers: one line a layer that is drawn over on a terminal, else a line for each layer that is done."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import TextIO

from engine.model.transfer import ENDED, Phase, Progress
from tuicon.model import units

_EVERY = 0.1
_BAR = 24


class Board:
    """Is told of progress from several threads."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._is_terminal = self._out.isatty()
        self._layers: dict[str, Progress] = {}
        self._started: dict[str, float] = {}
        self._drawn = 0
        self._next = 0.0
        self._lock = threading.Lock()

    def __call__(self, news: Progress) -> None:
        """Take news of a layer."""
        with self._lock:
            before = self._layers.get(news.layer)
            if before and before.phase in ENDED:
                return  # the same layer twice in one image
            self._layers[news.layer] = news
            if news.done and news.layer not in self._started:
                self._started[news.layer] = time.monotonic()
            if not self._is_terminal:
                if news.phase in ENDED or news.phase is Phase.RETRYING:
                    note = f": {news.note}" if news.note else ""
                    print(f"{news.layer}: {news.phase}{note}", file=self._out, flush=True)
            elif news.phase in ENDED or time.monotonic() >= self._next:
                self._draw()

    def end(self) -> None:
        """Draw the last state and leave it."""
        with self._lock:
            if self._is_terminal:
                self._draw()
            self._layers.clear()
            self._drawn = 0

    def _draw(self) -> None:
        size = shutil.get_terminal_size()
        rows = list(self._layers.values())[-max(1, size.lines - 1) :]
        text = f"\x1b[{self._drawn}A" if self._drawn else ""
        text += "".join(f"\x1b[2K{self._row(item)[: size.columns - 1]}\n" for item in rows)
        self._out.write(text)
        self._out.flush()
        self._drawn = len(rows)
        self._next = time.monotonic() + _EVERY

    def _row(self, item: Progress) -> str:
        if item.phase not in (Phase.DOWNLOADING, Phase.UPLOADING) or not item.total:
            return f"{item.layer}: {item.phase}" + (f": {item.note}" if item.note else "")
        filled = min(_BAR, _BAR * item.done // item.total)
        bar = "=" * filled + " " * (_BAR - filled)
        seconds = time.monotonic() - self._started.get(item.layer, time.monotonic())
        rate = f"  {units.size(int(item.done / seconds))}/s" if seconds > _EVERY else ""
        return f"{item.layer}: {item.phase} [{bar}] {units.size(item.done)}/{units.size(item.total)}{rate}"
