"""A process's place in a cache directory: that it runs, its work in progress, its locks.

``running/<name>`` is a file that the process keeps locked; its time stamp is when it began. The
name also begins the names of all its work in progress, so that whoever comes next can tell what
a killed process left from what a living one uses.
"""

import contextlib
import os
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from thaw import locks, memory
from thaw.files import remove

SEPARATOR = "~"  # in names of work in progress, after the process's name


class Workspace:
    """One process's use of a cache directory. Raises OSError if it can't be one."""

    def __init__(self, top: Path) -> None:
        self.top = top
        for name in ("locks", "tmp", "running"):
            (top / name).mkdir(parents=True, exist_ok=True)
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}"
        presence = top / "running" / self._name
        descriptor = locks.take(presence)
        self.started = time.time()  # seconds since 1970
        os.utime(presence, (self.started, self.started))
        self._use = locks.Shared(top / "using")
        weakref.finalize(self, _leave, presence, descriptor, self._use)
        self._sweep()

    def running(self) -> dict[str, float]:
        """The processes that use this cache now, this one included: when each began."""
        found = {}
        for path in (self.top / "running").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if locks.is_held(path):
                    found[path.name] = path.stat().st_mtime
        return found

    def _sweep(self) -> None:
        """Remove what killed processes left."""
        left = {path: path.name for path in (self.top / "tmp").iterdir()}
        left |= memory.of_store(self.top)
        gone = [path for path in (self.top / "running").iterdir() if path.name != self._name]
        if not left and not gone:
            return
        with self.lock("sweep"):  # two that remove the same directory get in each other's way
            alive = self.running()
            for path, name in left.items():
                if name.partition(SEPARATOR)[0] not in alive:
                    with contextlib.suppress(OSError):  # a killed process may still be dying
                        remove(path)
            for path in gone:
                if path.name not in alive:
                    path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def temporary_file(self) -> Iterator[Path]:
        descriptor, name = tempfile.mkstemp(prefix=self._prefix, dir=self.top / "tmp")
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def temporary_directory(self) -> Iterator[Path]:
        path = Path(tempfile.mkdtemp(prefix=self._prefix, dir=self.top / "tmp"))
        try:
            yield path
        finally:
            remove(path)

    @contextlib.contextmanager
    def build_directory(self) -> Iterator[Path]:
        """A directory to build in: in memory where there is plenty of it, else in ``tmp/``.

        A source tree is tens of thousands of files; making and removing them is what disks are
        slowest at.
        """
        in_memory = memory.prefix_for(self.top) + self._prefix
        path = Path(
            tempfile.mkdtemp(prefix=in_memory, dir=memory.SHM)
            if memory.is_plenty()
            else tempfile.mkdtemp(prefix=self._prefix, dir=self.top / "tmp")
        )
        try:
            yield path
        finally:
            remove(path)

    @property
    def _prefix(self) -> str:
        return self._name + SEPARATOR

    @contextlib.contextmanager
    def lock(self, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold a lock of all processes on this store; ``waiting`` is called once if it is taken.

        Raises Interrupted.
        """
        with locks.lock(self.top / "locks" / name, waiting):
            yield

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """While this is held, nothing is evicted: for looking whether something is there, and
        marking it as used. Short, re-entrant, shared by threads and processes.
        """
        with self._use.shared():
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While this is held, nobody is ``using``. Never within ``using``; for an instant."""
        with self._use.exclusive():
            yield


def _leave(presence: Path, descriptor: int, use: locks.Shared) -> None:
    with contextlib.suppress(OSError):
        presence.unlink()
    os.close(descriptor)
    use.close()
