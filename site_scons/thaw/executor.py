"""Has actions done: looked up here, then in the remote cache, and only then run, there or here.

An action's result is stored only when its command succeeded and every declared output is there.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw import outputs as output_messages
from thaw import progress
from thaw.action import Action
from thaw.artifacts import Artifacts
from thaw.digest import Digest
from thaw.local import LocalRunner
from thaw.nodes import Node, TreeNode
from thaw.store import MissingBlob
from thaw.trace import span

if TYPE_CHECKING:  # gRPC takes a while to import, and most runs have no server
    from thaw.remote.runner import RemoteRunner

NOT_SHAREABLE = {"thaw-shareable": "no"}  # platform properties of what must stay on this machine


@dataclass(frozen=True)
class Result:
    """What an action gave, and how it was come by.

    outcome: "built", "cached", "remote-cached" or "remote-built"
    seconds: of wall time in this run
    took: seconds that the command took when it ran, if known
    damaged: its result in the cache was not whole, and it was run again
    """

    action: Digest
    outputs: dict[str, Node]
    outcome: str
    seconds: float
    took: float | None = None
    damaged: bool = False

    @property
    def cached(self) -> bool:
        return self.outcome in ("cached", "remote-cached")


@dataclass(frozen=True)
class _Found:
    outputs: dict[str, Node]
    outcome: str
    message: reapi.ActionResult


class _Once:
    """One action's way through the executor."""

    def __init__(self, digest: Digest, name: str, promised: tuple[str, ...], shared: bool) -> None:
        self.digest, self.name, self.promised, self.shared = digest, name, promised, shared
        self.damaged = False
        self.started = time.monotonic()

    def result(self, found: _Found) -> Result:
        seconds = time.monotonic() - self.started
        took = output_messages.seconds_of(found.message)
        return Result(self.digest, found.outputs, found.outcome, seconds, took, self.damaged)


class Executor:
    """Has actions done on one store.

    elsewhere: runs actions on a remote service, or None
    upload: give results that were made here to the remote cache
    """

    def __init__(
        self,
        artifacts: Artifacts,
        here: LocalRunner,
        elsewhere: "RemoteRunner | None" = None,
        *,
        upload: bool = False,
    ) -> None:
        self.artifacts, self.here, self._elsewhere = artifacts, here, elsewhere
        self._store = artifacts.store
        self._upload = upload

    def run(self, action: Action, prepare: Callable[[], None], *, whole: bool = False) -> Result:
        """The action's outputs, from a cache or by running it.

        ``prepare`` brings inputs that are locked but not yet here; it is called only when the
        action must run. With ``whole`` the outputs' bytes are here afterwards, too. Raises
        ThawError, Interrupted, MissingBlob.
        """
        with span(action.name, "key"):
            encoded = action.encode(self._store.read(action.toolchain.root))
        shared = not NOT_SHAREABLE.items() <= dict(action.platform).items()
        once = _Once(encoded.digest, action.name, action.outputs, shared)

        def make() -> _Found:
            if self._elsewhere and shared:
                done = self._elsewhere.execute(action, encoded, prepare)
                if done is not None:
                    try:
                        outputs = self.artifacts.outputs(done, action.name)
                        if whole:
                            self.artifacts.bring(outputs.values(), action.name)
                        done = output_messages.with_trees(done, outputs)
                        return _Found(outputs, "remote-built", done)
                    except MissingBlob as error:
                        progress.say(f"[remote] {action.name}: {error}: running it here")
            with span(action.name, "download"):
                prepare()
            began = time.time()
            outputs, log = self.here.execute(action)
            return self._save(encoded.digest, outputs, log, began)

        return self._result(once, make, encoded.blobs, whole)

    def builtin(
        self,
        name: str,
        digest: Digest,
        make: Callable[[], dict[str, Node]],
        *,
        shared: bool = True,
        whole: bool = False,
    ) -> Result:
        """As ``run``, for the few actions that this program does itself; output ``root``."""

        def save() -> _Found:
            began = time.time()
            with span(name, "run"):
                outputs = make()
            return self._save(digest, outputs, b"", began)

        return self._result(_Once(digest, name, ("root",), shared), save, {}, whole)

    def _result(
        self, once: _Once, make: Callable[[], _Found], messages: Mapping[Digest, bytes], whole: bool
    ) -> Result:
        found = self._lookup(once, whole)
        if found is None:
            with self._lock(once):
                # Another build may have made it while this one waited.
                found = self._lookup_here(once) or make()
        if once.shared and found.outcome != "remote-cached":
            try:
                self._publish(once, found, messages)
            except MissingBlob as error:  # damaged here: not sent, and made again
                if once.damaged:
                    raise
                once.damaged = True
                self.artifacts.set_aside(found.outputs.values(), error.digest)
                return self._result(once, make, messages, whole)
        return once.result(found)

    def _lookup(self, once: _Once, whole: bool) -> _Found | None:
        with span(once.name, "lookup"):
            found = self._lookup_here(once)
        if found or not once.shared:
            return found
        message = self.artifacts.find(once.digest, once.name, once.promised)
        if message is None:
            return None
        try:
            outputs = self.artifacts.outputs(message, once.name)
            if whole:
                self.artifacts.bring(outputs.values(), once.name)
        except MissingBlob:
            return None
        return _Found(outputs, "remote-cached", message)

    def _lookup_here(self, once: _Once) -> _Found | None:
        """What the action gave before, if all of it is still here; else it is forgotten."""
        with self._store.using():
            message = self._store.get_result(once.digest)
            if message is None:
                return None
            with contextlib.suppress(MissingBlob):
                outputs = output_messages.from_result(message, self._tree_of)
                promised = set(outputs) == set(once.promised) and not message.exit_code
                if promised and all(map(self._store.complete, outputs.values())):
                    return _Found(outputs, "cached", message)
            progress.say(f"[damage] {once.name}: its result in the cache is not whole: set aside")
            self._store.discard_result(once.digest)
        once.damaged = True
        return None

    def _tree_of(self, tree: Digest) -> TreeNode:
        node = self._store.tree_node(tree)
        if node is None:
            raise MissingBlob(tree)
        return node

    def _save(self, digest: Digest, outputs: dict[str, Node], log: bytes, began: float) -> _Found:
        """Make an action's outputs its result."""
        stored = self._store.put_bytes(log) if log else None
        message = output_messages.to_result(outputs, stored, began, time.time())
        self._store.put_result(digest, message)
        return _Found(outputs, "built", message)

    def _publish(self, once: _Once, found: _Found, messages: Mapping[Digest, bytes]) -> None:
        """Give a result to the remote cache, unless it has one such as we describe it."""
        remote = self.artifacts.remote
        if not self._upload or remote is None or not remote.can_upload():
            return
        cached = found.outcome == "cached"
        if cached and self.artifacts.find(once.digest, once.name, once.promised):
            return
        self.artifacts.publish(
            once.digest, messages, found.message, found.outputs.values(), once.name
        )

    @contextlib.contextmanager
    def _lock(self, once: _Once) -> Iterator[None]:
        """Hold the action's lock: whoever asks second waits and finds the first one's result."""

        def waiting() -> None:
            progress.say(f"[wait]   {once.name}: another build is running it")

        with contextlib.ExitStack() as stack:
            with span(once.name, "wait"):
                stack.enter_context(self._store.lock(f"action-{once.digest.hash}", waiting))
            yield
