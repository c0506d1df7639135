"""Servers of a test: started with logs, waited for, and ended with all that they have started."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

START = 30  # seconds that a server may take until it answers
STOP = 5  # seconds that it has to end by itself
TAIL = 4000  # characters of each log shown when a test fails


class Processes:
    """Servers below one directory. Each is a session of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._commands: dict[str, tuple[Sequence[str], Sequence[Path]]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run a command that prepares a server, its output going to a log. Raises if it fails."""
        with open(self.log(name), "ab") as log:
            subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)

    def start(self, name: str, command: Sequence[str], path: Sequence[Path] = ()) -> None:
        """Start a server; programs it calls are looked for in ``path`` first."""
        self._commands[name] = (command, path)
        search = os.pathsep.join([*map(str, path), "/usr/bin", "/bin"])
        with open(self.log(name), "ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": search, "HOME": str(self.directory)},
                cwd=self.directory,
                start_new_session=True,
            )

    def wait_until(self, name: str, answers: Callable[[], bool]) -> None:
        """Wait until a server answers. Raises RuntimeError if it ended, or does not in time."""
        end = time.monotonic() + START
        while not answers():
            if self._running[name].poll() is not None or time.monotonic() > end:
                text = self.log(name).read_text(errors="replace")[-TAIL:]
                raise RuntimeError(f"{name} does not answer:\n{text}")
            time.sleep(0.05)

    def kill(self, name: str) -> None:
        """As a crash would: at once, with everything the server has started."""
        process = self._running.pop(name)
        # Not the process group: buildbox-run makes one of its own, inside the session.
        for found in session_members(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(found, signal.SIGKILL)
        process.wait()
        self._unmount()

    def restart(self, name: str) -> None:
        """Start a killed server again, on what it left."""
        self.start(name, *self._commands[name])

    def stop(self) -> None:
        """End all servers, the last one first."""
        for name, process in reversed(list(self._running.items())):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP)
            self.kill(name)

    def _unmount(self) -> None:
        """Take away a killed casd's FUSE mounts: nobody could look at, or remove, what is below."""
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            mounted = line.split()[4]
            if mounted.startswith(f"{self.directory}/"):
                command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
                subprocess.run([*command, mounted], stderr=subprocess.DEVNULL)  # or it just went

    def show_logs(self) -> None:
        for log in sorted(self.directory.glob("*.log")):
            print(f"--- {log}\n{log.read_text(errors='replace')[-TAIL:]}")


def session_members(session: int) -> Iterator[int]:
    """The processes of a session."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                yield int(entry.name)


@contextlib.contextmanager
def processes(directory: Path) -> Iterator[Processes]:
    """Servers that end with the block. If it fails, the ends of their logs are printed."""
    directory.mkdir(parents=True)
    servers = Processes(directory)
    try:
        yield servers
    except BaseException:
        servers.show_logs()
        raise
    finally:
        servers.stop()
