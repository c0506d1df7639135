"""Ctrl-C, seen from every thread.

SCons runs actions in worker threads and installs its own SIGINT handler, which only stops it
from starting more. A running action must hear of it too. Python writes the number of every
handled signal to its wake-up descriptor whoever owns the handler, so a pipe there, never
drained, is a flag that any thread can look at.
"""

import os
import select
import signal

_pipe: tuple[int, int] | None = None


class Interrupted(Exception):
    """The user asked to stop."""


def install() -> None:
    """Start listening. Call once, from the main thread."""
    global _pipe
    if _pipe is None:
        _pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)


def pending() -> bool:
    """Whether a signal has arrived since ``install``."""
    return _pipe is not None and bool(select.select([_pipe[0]], [], [], 0)[0])


def check() -> None:
    """Raises Interrupted when the user asked to stop."""
    if pending():
        raise Interrupted("interrupted")
