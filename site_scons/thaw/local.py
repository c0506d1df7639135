"""Runs actions on this machine: in the sandbox, on inputs that were just read and found good.

A failure keeps the sandbox's writable directories and a script that opens a shell in them.
"""

import contextlib
import errno
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock, Semaphore

from thaw import interrupt, progress, sandbox, space
from thaw.action import Action
from thaw.artifacts import Artifacts
from thaw.errors import ThawError
from thaw.files import remove
from thaw.integrity import Verifier
from thaw.nodes import FileNode, Node
from thaw.store import Store
from thaw.trace import span

LOG_LINES = 30  # how much of a failed action's log is shown
FIRST_BUILD_SPACE = 9_000_000_000  # bytes: toolchains, build directories and results
REBUILD_SPACE = 2_000_000_000
FULL = 500_000_000  # bytes: with less left, a command's "no space" is about the disk we gave it
POLL = 0.5  # seconds between looks at a running action


class ActionFailed(ThawError):
    """The command ended with an error, or without an output it promised."""


class LocalRunner:
    """Runs actions in bubblewrap. ``find_bwrap`` says how to call it.

    slots: how many actions may run at a time; more than that wait
    """

    def __init__(
        self, artifacts: Artifacts, find_bwrap: Callable[[], tuple[str, ...]], slots: int
    ) -> None:
        self._artifacts, self._store = artifacts, artifacts.store
        self._find_bwrap = find_bwrap
        self._bwrap: tuple[str, ...] = ()
        self._guard = Lock()
        self._slots = Semaphore(slots)
        self.verifier = Verifier(self._store)

    def bwrap(self) -> tuple[str, ...]:
        """How to call bubblewrap on this machine, which is first seen to be fit for builds.

        Called before anything long starts. Raises ThawError with the remedy.
        """
        with self._guard:
            if not self._bwrap:
                self._check_space()
                found = self._find_bwrap()
                sandbox.probe(found)
                self._bwrap = found
            return self._bwrap

    def _check_space(self) -> None:
        free = shutil.disk_usage(self._store.top).free
        is_new = not any((self._store.top / "trees").iterdir())
        needed = FIRST_BUILD_SPACE if is_new else REBUILD_SPACE
        if free < needed:
            raise ThawError(
                f"{self._store.top}: {progress.size(free)} free, and a build needs about"
                f" {progress.size(needed)}",
                remedy=space.remedy(self._store.top),
            )

    def execute(self, action: Action) -> tuple[dict[str, Node], bytes]:
        """Run the command. Its outputs, in the store, and its log.

        Raises ActionFailed, ThawError, MissingBlob, Interrupted.
        """
        bwrap = self.bwrap()
        inputs = [action.toolchain, *action.inputs.values()]
        self._artifacts.bring(inputs, action.name)
        with (
            self._slot(action),
            self._store.temporary_directory() as work,
            self._store.build_directory() as build,
        ):
            log = work / "log"
            (work / "out").mkdir()
            with self._store.using():  # what was found good is still there when it is mounted
                with span(action.name, "verify"):
                    self.verifier.check(inputs)
                with span(action.name, "set-up"):
                    box = self._sandbox(bwrap, action, {"/build": build, "/out": work / "out"})
            argv = ["env", "-C", "/build", *action.argv]
            with span(action.name, "run"):
                why = self._supervise(box, argv, log, action)
            missing = [name for name in action.outputs if not os.path.lexists(work / "out" / name)]
            if missing and not why:
                why = f"it did not make {', '.join(missing)}"
            if why:
                self._check_full(action, box, log)
                raise ActionFailed(self._keep(action, box, argv, log, why))
            try:
                with span(action.name, "store"):
                    outputs = {
                        name: self._store.capture(work / "out" / name, move=True)
                        for name in sorted(action.outputs)
                    }
            except (ThawError, PermissionError) as error:
                raise ActionFailed(self._keep(action, box, argv, log, str(error))) from error
            return outputs, log.read_bytes()

    @contextmanager
    def _slot(self, action: Action) -> Iterator[None]:
        with span(action.name, "wait"):
            while not self._slots.acquire(timeout=POLL):
                interrupt.check()
        try:
            yield
        finally:
            self._slots.release()

    def _sandbox(
        self, bwrap: tuple[str, ...], action: Action, writable: dict[str, Path]
    ) -> sandbox.Sandbox:
        read_only: dict[str, Path] = {}
        for path, node in action.inputs.items():
            if isinstance(node, FileNode):
                read_only[path] = self._store.ensure(node)
            else:
                read_only[path] = self._store.unpacked(node)
        if action.use_ccache:
            writable["/ccache"] = self._store.ccache(action.toolchain)
        root = self._store.unpacked(action.toolchain)
        return sandbox.Sandbox(bwrap, root, read_only, writable, action.full_environment)

    def _supervise(self, box: sandbox.Sandbox, argv: list[str], log: Path, action: Action) -> str:
        """Run to the end, the time-out or Ctrl-C, showing progress. Why it failed, or nothing."""
        ticker = progress.Ticker(action.name)
        deadline = time.monotonic() + action.timeout
        late = False
        running = box.start(argv, log)
        try:
            while not (late or running.wait(POLL)):
                interrupt.check()
                ticker.tick(_last_line(log))
                late = time.monotonic() > deadline
        finally:
            code = running.end()
            ticker.close()
        if late:
            return f"not finished after {action.timeout} s: stopped"
        killed = " (killed: is there enough memory?)" if code in (-9, 137) else ""
        return f"exit code {code}{killed}" if code else ""

    def _check_full(self, action: Action, box: sandbox.Sandbox, log: Path) -> None:
        """Raises ThawError if the command failed because the disk it wrote to is full.

        Nothing is kept of it then: that would fill the disk for good.
        """
        if os.strerror(errno.ENOSPC) not in tail(log.read_bytes()):
            return
        for directory in (self._store.top, box.writable["/build"]):
            if shutil.disk_usage(directory).free < FULL:
                raise ThawError(
                    f"{action.name}: the disk is full: {directory}", remedy=space.remedy(directory)
                )

    def _keep(
        self, action: Action, box: sandbox.Sandbox, argv: list[str], log: Path, why: str
    ) -> str:
        """Keep a failed action's directories; what to tell the user."""
        kept = self._kept(action)
        shutil.move(log, kept / "log")
        for inside in ("/build", "/out"):
            with contextlib.suppress(shutil.Error):  # sockets can't be copied
                shutil.copytree(
                    box.writable[inside],
                    kept / inside.strip("/"),
                    symlinks=True,
                    dirs_exist_ok=True,
                )
        text = f"{action.name}: failed: {why}\n{tail((kept / 'log').read_bytes())}\n"
        return text + _way_in(kept, box, argv)

    def way_in(self, action: Action, log: bytes) -> str:
        """What to tell the user of an action that failed elsewhere: how to try it here.

        Raises MissingBlob, ThawError, Interrupted.
        """
        self._artifacts.bring([action.toolchain, *action.inputs.values()], action.name)
        kept = self._kept(action)
        (kept / "log").write_bytes(log)
        argv = ["env", "-C", "/build", *action.argv]
        return _way_in(kept, self._sandbox(self.bwrap(), action, {}), argv)

    def _kept(self, action: Action) -> Path:
        """An empty place for what is kept of an action."""
        kept = kept_directory(self._store, action.name)
        remove(kept)
        for inside in ("build", "out"):
            (kept / inside).mkdir(parents=True)
        return kept


def kept_directory(store: Store, name: str) -> Path:
    """Where the sandbox of an action's last failure is kept."""
    return store.top / "failed" / name.replace("/", "-").replace(" ", "-")


def _way_in(kept: Path, box: sandbox.Sandbox, argv: list[str]) -> str:
    moved = {f"/{inside}": kept / inside for inside in ("build", "out")}
    enter = kept / "enter"
    enter.write_text(replace(box, writable={**box.writable, **moved}).shell_script(argv))
    enter.chmod(0o755)
    return f"  whole log: {kept / 'log'}\n  look inside its sandbox: {shlex.quote(str(enter))}"


def _last_line(log: Path) -> str:
    with open(log, "rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 400))
        lines = stream.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(character for character in last if character.isprintable())


def tail(log: bytes) -> str:
    """The end of a log, as it stands in an error."""
    lines = log[-16384:].decode(errors="replace").splitlines()
    return "\n".join(f"  | {line}" for line in lines[-LOG_LINES:])
