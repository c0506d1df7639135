"""``--profile``: spans, the trace made of them, and the critical path."""

import threading
import time
from collections.abc import Iterator

import pytest

from thaw import profile, trace
from thaw.trace import Span


@pytest.fixture(autouse=True)
def _no_spans() -> Iterator[None]:
    before = [*trace.spans]
    trace.spans.clear()
    yield
    trace.spans[:] = before


def span(name: str, start: float, end: float, phase: str = "action", thread: int = 7) -> Span:
    return Span(name, phase, start, end, thread, f"Thread-{thread}")


def test_a_span_knows_its_thread_and_is_kept_when_the_work_fails() -> None:
    def work() -> None:
        with pytest.raises(ValueError, match="x"), trace.span("step", "run"):
            raise ValueError("x")

    worker = threading.Thread(target=work, name="somebody")
    worker.start()
    worker.join()

    (found,) = trace.spans
    assert (found.name, found.phase, found.thread_name) == ("step", "run", "somebody")
    assert found.thread == worker.ident
    assert found.start <= found.end


def test_the_critical_path_is_the_longest_chain_of_needs() -> None:
    spans = [
        span("tools", 0, 2),
        span("glib", 2, 5),
        span("zlib", 2, 3),
        span("qemu", 5, 9),
        span("kernel", 0, 8),
    ]
    needs = {
        "tools": [],
        "glib": ["tools"],
        "zlib": ["tools"],
        "qemu": ["zlib", "glib"],
        "kernel": [],
        "never ran": ["qemu"],
    }

    path = profile.critical_path(spans, needs)

    assert [part.name for part in path] == ["tools", "glib", "qemu"]
    assert profile.line(path) == "critical path 9.0 s: tools → glib → qemu"


def test_short_steps_are_left_out_of_the_line() -> None:
    path = profile.critical_path([span("a", 0, 0.1), span("b", 1, 100)], {"a": [], "b": ["a"]})

    assert profile.line(path) == "critical path 1 min 39 s: b"


def test_a_run_without_actions_has_no_critical_path() -> None:
    assert profile.line(profile.critical_path([], {"a": []})) == ""


def test_the_trace_has_a_row_for_each_thread_and_one_for_the_critical_path() -> None:
    main = threading.main_thread().ident or 0
    spans = [
        span("SCons", 10, 11, "start", main),
        span("a", 11, 14, thread=8),
        span("a", 12, 13, "run", 8),
        span("b", 11, 12, thread=9),
    ]
    path = profile.critical_path(spans, {"a": [], "b": []})
    found = profile.events(spans, path, 10.0)["traceEvents"]
    rows = {e["tid"]: e["args"]["name"] for e in found if e["name"] == "thread_name"}
    works = [e for e in found if e["ph"] == "X"]

    assert rows == {
        1: "critical path",
        2: "SCons",
        3: "worker 1 (Thread-8)",
        4: "worker 2 (Thread-9)",
    }
    assert [(e["tid"], e["name"], e["ts"], e["dur"]) for e in works] == [
        (2, "start", 0, 1_000_000),
        (3, "a", 1_000_000, 3_000_000),
        (4, "b", 1_000_000, 1_000_000),
        (3, "run", 2_000_000, 1_000_000),
        (1, "a", 1_000_000, 3_000_000),
    ]


def test_the_process_began_before_now() -> None:
    assert profile.process_start() < time.monotonic()
