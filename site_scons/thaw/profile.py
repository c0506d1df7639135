"""``--profile=FILE``: a run as a trace for chrome://tracing and Perfetto, and its critical path.

Format: Trace Event Format, JSON object form. Complete events ("X") with times in microseconds,
metadata events ("M") that name the rows. A row for each thread, and one for the critical path.
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thaw.progress import duration
from thaw.trace import Span

CRITICAL_ROW = 1
FIRST_ROW = 2
PROCESS = 1
WORTH_TELLING = 0.01  # of the critical path's length: shorter steps are not in its line


@dataclass(frozen=True)
class Part:
    """One step of the critical path. Times in seconds of ``time.monotonic()``."""

    name: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def critical_path(spans: Iterable[Span], needs: Mapping[str, Iterable[str]]) -> list[Part]:
    """The chain of steps, each needing the one before it, that took longest in sum.

    needs: a step's name -> names of the steps that it reads
    """
    parts: dict[str, Part] = {}
    for span in spans:
        known = parts.get(span.name, Part(span.name, span.start, span.end))
        start, end = min(known.start, span.start), max(known.end, span.end)
        parts[span.name] = Part(span.name, start, end)
    best: dict[str, tuple[float, list[Part]]] = {}

    def longest(name: str) -> tuple[float, list[Part]]:
        if name not in best:
            best[name] = (0.0, [])  # there are no cycles
            ways = [longest(need) for need in sorted(needs.get(name, ()))]
            length, way = max(ways, key=lambda found: found[0], default=(0.0, []))
            if name in parts:
                length, way = length + parts[name].seconds, [*way, parts[name]]
            best[name] = (length, way)
        return best[name]

    ways = [longest(name) for name in sorted(needs)]
    return max(ways, key=lambda found: found[0], default=(0.0, []))[1]


def line(path: Sequence[Part]) -> str:
    """``critical path 6 min 12 s: toolchain emscripten -> wasm-glib -> ...``, or nothing."""
    total = sum(part.seconds for part in path)
    told = [part.name for part in path if part.seconds >= WORTH_TELLING * total]
    return f"critical path {duration(total)}: {' → '.join(told)}" if told else ""


def events(spans: Sequence[Span], path: Sequence[Part], start: float) -> dict[str, Any]:
    """The trace. ``start``: the zero of its times, in seconds of ``time.monotonic()``."""
    rows: dict[int, int] = {}
    names = {CRITICAL_ROW: "critical path"}
    found: list[dict[str, Any]] = []
    main = threading.main_thread().ident
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if span.thread not in rows:
            rows[span.thread] = FIRST_ROW + len(rows)
            worker = f"worker {len(rows) - (main in rows)} ({span.thread_name})"
            names[rows[span.thread]] = "SCons" if span.thread == main else worker
        title = span.name if span.phase == "action" else span.phase
        entry = _event(title, span.phase, span.start - start, span.end - span.start)
        found.append({**entry, "tid": rows[span.thread], "args": {"action": span.name}})
    for part in path:
        entry = _event(part.name, "critical path", part.start - start, part.seconds)
        found.append({**entry, "tid": CRITICAL_ROW})
    titles = [
        {"ph": "M", "pid": PROCESS, "tid": row, "name": "thread_name", "args": {"name": name}}
        for row, name in names.items()
    ]
    order = [
        {"ph": "M", "pid": PROCESS, "tid": row, "name": "thread_sort_index"}
        | {"args": {"sort_index": row}}
        for row in names
    ]
    process = {"ph": "M", "pid": PROCESS, "name": "process_name", "args": {"name": "thaw"}}
    return {"displayTimeUnit": "ms", "traceEvents": [process, *titles, *order, *found]}


def _event(name: str, category: str, start: float, seconds: float) -> dict[str, Any]:
    times = {"ts": round(start * 1e6), "dur": max(round(seconds * 1e6), 1)}
    return {"ph": "X", "pid": PROCESS, "name": name, "cat": category, **times}


def write(path: Path, trace: Mapping[str, Any]) -> None:
    """Raises OSError."""
    path.write_text(json.dumps(trace, separators=(",", ":")) + "\n")


def process_start() -> float:
    """When this process began, in seconds of ``time.monotonic()``; see proc_pid_stat(5)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22, starttime
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot
    return time.monotonic() - age
