"""Ends calls that a thread is blocked in: at Ctrl-C, and when a server stalls or trickles.

One thread looks at all calls in progress. It only cancels them; who waits for the call asks the
``Watch`` why. Speed is judged over all transfers together: eight of them on a thin line are slow
each.
"""

import threading
import time
from collections.abc import Callable

from thaw import interrupt

POLL = 0.2  # seconds
SLOWEST = 10_000  # bytes a second that a server must move, over all transfers
FINISHED = 8_000  # bytes that the end of a transfer counts for: many small ones are not slow


class Watch:
    """One call in progress."""

    def __init__(self, measured: bool) -> None:
        self.cancel: Callable[[], object] = lambda: None
        self.measured = measured
        self.moved = 0
        self.last = time.monotonic()
        self.stalled = ""  # why it was cancelled by the watchdog

    def move(self, count: int) -> None:
        """``count`` bytes went over the wire."""
        if count:
            self.moved += count
            self.last = time.monotonic()


class Watchdog:
    """Watches calls of one channel. ``timeout``: seconds that one may stand still."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._guard = threading.Lock()
        self._watches: set[Watch] = set()
        self._finished = 0
        self._window = (time.monotonic(), 0)  # when it began, bytes moved until then
        self._thread: threading.Thread | None = None
        self._end = threading.Event()

    def add(self, watch: Watch) -> None:
        with self._guard:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="remote", daemon=True)
                self._thread.start()

    def remove(self, watch: Watch) -> None:
        with self._guard:
            self._watches.discard(watch)
            if watch.measured:
                self._finished += watch.moved + FINISHED

    def close(self) -> None:
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(POLL):
            with self._guard:
                watches = list(self._watches)
                measured = [watch for watch in watches if watch.measured]
                total = self._finished + sum(watch.moved for watch in measured)
            if interrupt.pending():
                for watch in watches:
                    watch.cancel()
                continue
            self._judge(measured, total)

    def _judge(self, measured: list[Watch], total: int) -> None:
        now = time.monotonic()
        began, before = self._window
        if not measured:
            self._window = now, total
        elif now - began >= self._timeout:
            if total - before < SLOWEST * (now - began):
                self._stop(measured, f"is too slow: under {SLOWEST // 1000} kB/s")
            self._window = now, total
        silent = [watch for watch in measured if now - watch.last > self._timeout]
        self._stop(silent, f"stands still: no byte in {self._timeout:g} s")

    def _stop(self, watches: list[Watch], why: str) -> None:
        for watch in watches:
            watch.stalled = watch.stalled or why
            watch.cancel()
