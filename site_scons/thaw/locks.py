"""Locks between processes: ``flock`` on small files. The kernel drops them when a holder dies."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

from thaw import interrupt

POLL = 0.1  # seconds between tries for a lock that is taken
SHORT_POLL = 0.002  # the same, where the other side holds it for an instant


def take(path: Path, waiting: Callable[[], None] | None = None) -> int:
    """An open file, locked by nobody else, that has this name. Raises OSError, Interrupted.

    Polls: a blocking flock in a worker thread would sleep through Ctrl-C.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            waiting = _wait_for(descriptor, fcntl.LOCK_EX, POLL, waiting)
            # Whoever had it may have removed the file: then a lock on it locks out nobody.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock; its file is gone afterwards. ``waiting`` is called once if it is taken."""
    descriptor = take(path, waiting)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: see ``take``
        os.close(descriptor)


def remove_unheld(directory: Path) -> None:
    """Remove what killed holders of locks left."""
    for path in directory.iterdir():
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    path.unlink()
            finally:
                os.close(descriptor)


class Shared:
    """One lock that threads and processes share, or that one of them has alone.

    Sharing it is cheap: a process has one descriptor for all its threads, and a count.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._count = 0
        self._guard = Lock()

    def close(self) -> None:
        os.close(self._descriptor)

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        with self._guard:
            if self._count == 0:
                _wait_for(self._descriptor, fcntl.LOCK_SH, SHORT_POLL)
            self._count += 1
        try:
            yield
        finally:
            with self._guard:
                self._count -= 1
                if self._count == 0:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Never inside ``shared``: it would wait for itself."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _wait_for(descriptor, fcntl.LOCK_EX, SHORT_POLL)
            yield
        finally:
            os.close(descriptor)


def _wait_for(
    descriptor: int, kind: int, poll: float, waiting: Callable[[], None] | None = None
) -> Callable[[], None] | None:
    """What is still to be called when a wait begins: a second wait is not announced again."""
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return waiting
        except BlockingIOError:
            interrupt.check()
            if waiting:
                waiting()
                waiting = None
            time.sleep(poll)
