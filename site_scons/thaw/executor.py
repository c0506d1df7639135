"""Runs actions: looked up first, run in the sandbox only when never done before.

An action's result is stored only when its command succeeded and every declared output is there.
A failure keeps the sandbox's writable directories and a script that opens a shell in them.
"""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw import interrupt, progress, sandbox
from thaw.action import Action
from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.files import remove
from thaw.integrity import Verifier
from thaw.nodes import FileNode, Node, from_proto, to_proto
from thaw.space import MORE_SPACE
from thaw.store import Store

LOG_LINES = 30  # how much of a failed action's log is shown
FIRST_BUILD_SPACE = 9_000_000_000  # bytes: toolchains, build directories and results
REBUILD_SPACE = 2_000_000_000
FULL = 500_000_000  # bytes: with less left, a command's "no space" is about the disk we gave it
POLL = 0.5  # seconds between looks at a running action


@dataclass(frozen=True)
class Result:
    """What an action gave: its outputs, and whether they were made just now."""

    action: Digest
    outputs: dict[str, Node]
    cached: bool
    seconds: float


class ActionFailed(ThawError):
    """The command ended with an error, or without an output it promised."""


@dataclass
class Executor:
    """Runs actions against one store. ``find_bwrap`` says how to call bubblewrap."""

    store: Store
    find_bwrap: Callable[[], tuple[str, ...]]
    _bwrap: tuple[str, ...] = ()
    _guard: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._verifier = Verifier(self.store)

    def bwrap(self) -> tuple[str, ...]:
        """How to call bubblewrap on this machine, which is first seen to be fit for builds.

        Called before anything long starts. Raises ThawError with the remedy.
        """
        with self._guard:
            if not self._bwrap:
                self._check_space()
                found = self.find_bwrap()
                sandbox.probe(found)
                self._bwrap = found
            return self._bwrap

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.store.top).free
        is_new = not any((self.store.top / "trees").iterdir())
        needed = FIRST_BUILD_SPACE if is_new else REBUILD_SPACE
        if free < needed:
            raise ThawError(
                f"{self.store.top}: {progress.size(free)} free, and a build needs about"
                f" {progress.size(needed)}",
                remedy=MORE_SPACE,
            )

    def run(self, action: Action, prepare: Callable[[], None]) -> Result:
        """The action's outputs, from the cache or by running it.

        ``prepare`` brings inputs that are locked but not yet here; it is called only when the
        action must run. Raises ThawError, Interrupted, MissingBlob.
        """
        started = time.monotonic()
        digest = action.store_in(self.store)
        outputs = self.lookup(digest, action.name)
        if outputs is not None:
            return Result(digest, outputs, True, time.monotonic() - started)
        with self.once(digest, action.name):
            outputs = self.lookup(digest, action.name)
            if outputs is not None:
                return Result(digest, outputs, True, time.monotonic() - started)
            prepare()
            outputs = self._execute(action, digest)
            return Result(digest, outputs, False, time.monotonic() - started)

    def builtin(self, name: str, digest: Digest, make: Callable[[], dict[str, Node]]) -> Result:
        """As ``run``, for the few actions that this program does itself."""
        started = time.monotonic()
        with self.once(digest, name):
            outputs = self.lookup(digest, name)
            cached = outputs is not None
            if outputs is None:
                outputs = make()
                self.save(digest, outputs)
        return Result(digest, outputs, cached, time.monotonic() - started)

    def lookup(self, digest: Digest, name: str) -> dict[str, Node] | None:
        """What the action gave before, if all of it is still here; else it is forgotten."""
        result = self.store.get_result(digest)
        if result is None:
            return None
        outputs: dict[str, Node] = {}
        for file in result.output_files:
            outputs[_name(file.path)] = FileNode(from_proto(file.digest), file.is_executable)
        for directory in result.output_directories:
            node = self.store.tree_node(from_proto(directory.tree_digest))
            if node is not None:
                outputs[_name(directory.path)] = node
        whole = len(outputs) == len(result.output_files) + len(result.output_directories)
        if whole and all(map(self.store.complete, outputs.values())):
            return outputs
        progress.say(f"[damage] {name}: its result in the cache is not whole: made again")
        self.store.discard_result(digest)
        return None

    def save(self, digest: Digest, outputs: dict[str, Node], log: bytes = b"") -> None:
        """Make an action's outputs its result."""
        result = reapi.ActionResult()
        if log:
            result.stdout_digest.CopyFrom(to_proto(self.store.put_bytes(log)))
        for name, node in sorted(outputs.items()):
            path = f"out/{name}"
            if isinstance(node, FileNode):
                result.output_files.add(
                    path=path, digest=to_proto(node.digest), is_executable=node.executable
                )
            else:
                result.output_directories.add(path=path, tree_digest=to_proto(node.tree))
        self.store.put_result(digest, result)

    @contextlib.contextmanager
    def once(self, digest: Digest, name: str) -> Iterator[None]:
        """Hold the action's lock: whoever asks second waits and finds the first one's result."""

        def waiting() -> None:
            progress.say(f"[wait]   {name}: another build is running it")

        with self.store.lock(f"action-{digest.hash}", waiting):
            yield

    def _execute(self, action: Action, digest: Digest) -> dict[str, Node]:
        bwrap = self.bwrap()
        with self.store.temporary_directory() as work, self.store.build_directory() as build:
            log = work / "log"
            (work / "out").mkdir()
            self._verifier.check([action.toolchain, *action.inputs.values()])
            box = self._sandbox(bwrap, action, {"/build": build, "/out": work / "out"})
            argv = ["env", "-C", "/build", *action.argv]
            why = self._supervise(box, argv, log, action)
            missing = [name for name in action.outputs if not os.path.lexists(work / "out" / name)]
            if missing and not why:
                why = f"it did not make {', '.join(missing)}"
            if why:
                self._check_full(action, box, log)
                raise ActionFailed(self._keep(action, box, argv, log, why))
            try:
                outputs = {
                    name: self.store.capture(work / "out" / name, move=True)
                    for name in sorted(action.outputs)
                }
            except (ThawError, PermissionError) as error:
                raise ActionFailed(self._keep(action, box, argv, log, str(error))) from error
            self.save(digest, outputs, log.read_bytes())
            return outputs

    def _sandbox(
        self, bwrap: tuple[str, ...], action: Action, writable: dict[str, Path]
    ) -> sandbox.Sandbox:
        read_only: dict[str, Path] = {}
        for path, node in action.inputs.items():
            if isinstance(node, FileNode):
                read_only[path] = self.store.ensure(node)
            else:
                read_only[path] = self.store.unpacked(node)
        if action.use_ccache:
            # Apart by toolchain: another compiler's objects can't even be looked up.
            ccache = self.store.top / "ccache" / action.toolchain.root.hash[:16]
            ccache.mkdir(exist_ok=True)
            writable["/ccache"] = ccache
        root = self.store.unpacked(action.toolchain)
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
        if os.strerror(errno.ENOSPC) not in _tail(log):
            return
        for directory in (self.store.top, box.writable["/build"]):
            if shutil.disk_usage(directory).free < FULL:
                raise ThawError(f"{action.name}: the disk is full: {directory}", remedy=MORE_SPACE)

    def _keep(
        self, action: Action, box: sandbox.Sandbox, argv: list[str], log: Path, why: str
    ) -> str:
        """Keep a failed action's directories; what to tell the user."""
        kept = self.store.top / "failed" / action.name.replace("/", "-").replace(" ", "-")
        remove(kept)
        kept.mkdir()
        shutil.move(log, kept / "log")
        moved = {}
        for inside in ("/build", "/out"):
            moved[inside] = kept / inside.strip("/")
            with contextlib.suppress(shutil.Error):  # sockets can't be copied
                shutil.copytree(box.writable[inside], moved[inside], symlinks=True)
        box = replace(box, writable={**box.writable, **moved})
        enter = kept / "enter"
        enter.write_text(box.shell_script(argv))
        enter.chmod(0o755)
        text = f"{action.name}: failed: {why}\n{_tail(kept / 'log')}\n"
        return text + f"  whole log: {kept / 'log'}\n  look inside its sandbox: {enter}"


def _name(path: str) -> str:
    return path.removeprefix("out/")


def _last_line(log: Path) -> str:
    with open(log, "rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 400))
        lines = stream.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(character for character in last if character.isprintable())


def _tail(log: Path) -> str:
    with open(log, "rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 16384))
        lines = stream.read().decode(errors="replace").splitlines()
    return "\n".join(f"  | {line}" for line in lines[-LOG_LINES:])
