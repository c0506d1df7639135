"""Where the time of a run goes: spans, kept in memory, for ``--profile``."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """One piece of work. Times in seconds of ``time.monotonic()``."""

    name: str  # of the action
    phase: str  # "action" for the whole, else key, wait, download, fetch, verify, ...
    start: float
    end: float
    thread: int
    thread_name: str = ""


spans: list[Span] = []


def add(name: str, phase: str, start: float, end: float) -> None:
    """Note a span of this thread that has ended."""
    thread = threading.current_thread()
    spans.append(Span(name, phase, start, end, thread.ident or 0, thread.name))


@contextmanager
def span(name: str, phase: str) -> Iterator[None]:
    start = time.monotonic()
    try:
        yield
    finally:
        add(name, phase, start, time.monotonic())
