"""What a person sees while things run: bars on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

PLAIN_INTERVAL = 30.0  # seconds between lines about the same work when not on a terminal


@dataclass(frozen=True)
class Done:
    """One finished action, for the summary. ``seconds`` of wall time in this run."""

    name: str
    outcome: str  # as in thaw.executor.Result
    seconds: float


finished: list[Done] = []
results: dict[str, str] = {}  # path laid out in this run -> what to do with it
_lock = threading.Lock()


def _tqdm() -> "type[tqdm[Any]]":
    from tqdm import tqdm  # late: a build with nothing to do shows no progress

    return tqdm


def say(text: str) -> None:
    """Print a line without tearing a progress bar apart."""
    with _lock:
        _tqdm().write(text, file=sys.stdout)
        sys.stdout.flush()


def record(done: Done) -> None:
    finished.append(done)
    remotely = "  remotely" if done.outcome.startswith("remote") else ""
    if done.outcome.endswith("built"):
        say(f"[built]  {done.name}  {duration(done.seconds)}{remotely}")
    else:
        say(f"[cached] {done.name}{remotely}")


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 07 s``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def size(count: float) -> str:
    """Bytes for people: ``812 B``, ``4.2 MB``."""
    for unit in ("B", "kB", "MB"):
        if count < 999.95:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


class Counter:
    """Progress of one piece of work, in bytes or files; safe to call from threads."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._count = what, total, 0
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._terminal = sys.stderr.isatty()
        self._bar = _tqdm()(
            total=total,
            desc=what,
            unit=unit,
            unit_scale=True,
            leave=False,
            disable=not self._terminal,
        )

    def add(self, count: int) -> None:
        with self._lock:
            self._count += count
            self._bar.update(count)
            if not self._terminal and time.monotonic() - self._last > PLAIN_INTERVAL:
                self._last = time.monotonic()
                say(f"{self._what}: {self._count * 100 // max(self._total, 1)} %")

    def close(self) -> None:
        self._bar.close()


@contextmanager
def counter(what: str, total: int, unit: str = "B") -> Iterator[Counter]:
    progress = Counter(what, total, unit)
    try:
        yield progress
    finally:
        progress.close()


class Ticker:
    """Shows that an action is alive: elapsed time and the last line it printed."""

    def __init__(self, name: str) -> None:
        self._name, self._start = name, time.monotonic()
        self._last = self._start
        self._terminal = sys.stderr.isatty()
        self._bar = _tqdm()(
            bar_format="{desc}", leave=False, disable=not self._terminal, dynamic_ncols=True
        )

    def tick(self, last_line: str) -> None:
        now = time.monotonic()
        text = f"{self._name}  {duration(now - self._start)}  {last_line[:100]}"
        if self._terminal:
            self._bar.set_description_str(text)
        elif now - self._last > PLAIN_INTERVAL:
            self._last = now
            say(text)

    def close(self) -> None:
        self._bar.close()
