"""Runs actions on a Remote Execution API service: the same action, its input root uploaded.

Spec: build.bazel.remote.execution.v2, Execution. Only what the service does not have is sent, and
of the outputs only digests come back.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.google.rpc import code_pb2

from thaw import progress, trace
from thaw.action import Action, Encoded
from thaw.artifacts import Artifacts
from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.local import ActionFailed, LocalRunner, tail
from thaw.nodes import Node, TreeNode, from_proto
from thaw.outputs import DIRECTORY
from thaw.remote import vet
from thaw.remote.failure import Lie, clean
from thaw.remote.service import Remote
from thaw.store import MissingBlob
from thaw.trace import span

# What services answer when an input is no longer there.
LOST = (code_pb2.FAILED_PRECONDITION, code_pb2.NOT_FOUND)


class RemoteRunner:
    """Runs actions on ``service``, whose storage is that of the artifacts' remote.

    here: prepares the sandbox in which a person can look at a failure
    """

    def __init__(self, artifacts: Artifacts, service: Remote, here: LocalRunner) -> None:
        self._artifacts, self._service, self._here = artifacts, service, here
        self._uploaded: set[Digest] = set()  # root directories and files known to be there
        self._guard = threading.Lock()  # one action sends new artifacts

    def execute(
        self, action: Action, encoded: Encoded, prepare: Callable[[], None]
    ) -> reapi.ActionResult | None:
        """Run the command there. None if the service failed: it is then to be run here.

        Raises ActionFailed, MissingBlob, ThawError, Interrupted.
        """
        response = None
        for attempt in range(2):
            if not self._offer(action, encoded, prepare):
                return None
            response = self._execute(encoded.digest, action.name)
            if response is None or response.status.code not in LOST:
                break
            self._uploaded.clear()  # it has forgotten something that it had
            if attempt:
                self._service.distrust(f"{action.name}: loses inputs: {response.status.message}")
                return None
        if response is None:
            return None
        return self._check(action, response)

    def _execute(self, digest: Digest, name: str) -> reapi.ExecuteResponse | None:
        ticker = progress.Ticker(name)
        stages: list[tuple[str, float]] = []  # and when each began

        def on_stage(stage: str) -> None:
            if not stages or stages[-1][0] != stage:
                if stage != "completed":
                    progress.say(f"[remote] {name}: {stage}")
                stages.append((stage, time.monotonic()))
            ticker.tick(stage)

        try:
            with span(name, "run"):
                return self._service.execute(digest, name, False, on_stage)
        finally:
            ticker.close()
            ends = [began for _, began in stages[1:]] + [time.monotonic()]
            # A service that is gone before it said anything has no stage.
            for (stage, began), end in zip(stages, ends, strict=False):
                trace.add(name, stage, began, end)

    def _offer(self, action: Action, encoded: Encoded, prepare: Callable[[], None]) -> bool:
        """Have the whole input root on the service. Whether that could be done."""
        remote = self._artifacts.remote
        assert remote is not None  # as the constructor says
        nodes = [action.toolchain, *action.inputs.values()]
        if self._uploaded.issuperset(map(_name, nodes)):
            return self._send(remote, action, encoded, [], prepare)
        with self._guard:  # actions that start together have the same toolchain: sent once
            new = [node for node in nodes if _name(node) not in self._uploaded]
            sent = self._send(remote, action, encoded, new, prepare)
            if sent:
                self._uploaded.update(map(_name, new))
            return sent

    def _send(
        self,
        remote: Remote,
        action: Action,
        encoded: Encoded,
        new: list[Node],
        prepare: Callable[[], None],
    ) -> bool:
        blobs: dict[Digest, Path | bytes] = dict(encoded.blobs)
        with span(action.name, "upload"):
            for node in new:
                blobs.update(self._artifacts.blobs(node, action.name))
            wanted = remote.missing(blobs)
            if self._absent(blobs, wanted):
                prepare()
                for node in new:  # what was fetched has a place now
                    blobs.update(self._artifacts.blobs(node, action.name))
            absent = self._absent(blobs, wanted)
            if absent:
                raise MissingBlob(absent[0])
            return remote.upload({digest: blobs[digest] for digest in wanted}, action.name)

    @staticmethod
    def _absent(blobs: dict[Digest, Path | bytes], wanted: set[Digest]) -> list[Digest]:
        places = [(digest, blobs[digest]) for digest in sorted(wanted)]
        return [d for d, place in places if isinstance(place, Path) and not place.exists()]

    def _check(self, action: Action, response: reapi.ExecuteResponse) -> reapi.ActionResult | None:
        """The result of a command that did what was asked. Raises ActionFailed."""
        result = response.result
        why = ""
        if response.status.code == code_pb2.DEADLINE_EXCEEDED:
            why = f"not finished in time: {clean(response.status.message)}"
        elif response.status.code:
            name = code_pb2.Code.Name(code_pb2.Code.ValueType(response.status.code))
            self._service.distrust(f"{action.name}: {name}: {response.status.message}")
            return None
        elif result.exit_code:
            why = f"exit code {result.exit_code}"
        else:
            made = {*(f.path for f in result.output_files)}
            made |= {d.path for d in result.output_directories}
            missing = [name for name in action.outputs if DIRECTORY + name not in made]
            if missing:
                why = f"it did not make {', '.join(missing)}"
        if why:
            raise ActionFailed(self._failure(action, response, why))
        try:
            vet.check_result(result, [DIRECTORY + name for name in action.outputs])
        except Lie as lie:
            self._service.distrust(f"{action.name}: {lie}")
            return None
        return result

    def _failure(self, action: Action, response: reapi.ExecuteResponse, why: str) -> str:
        result = response.result
        log = result.stdout_raw or self._read(result.stdout_digest)
        log += result.stderr_raw or self._read(result.stderr_digest)
        text = f"{action.name}: failed on {self._service.address}: {why}\n{tail(log)}\n"
        if response.message:
            text += f"  the service says: {clean(response.message)}\n"
        for name, entry in sorted(response.server_logs.items()):
            text += f"  its log {clean(name)}:\n{tail(self._read(entry.digest))}\n"
        try:
            return text + self._here.way_in(action, log)
        except (MissingBlob, ThawError):
            return text + "  look inside its sandbox: run it here, without --remote-executor"

    def _read(self, message: reapi.Digest) -> bytes:
        try:
            return self._service.read(from_proto(message)) if message.size_bytes else b""
        except MissingBlob:
            return b"(its log is gone)\n"


def _name(node: Node) -> Digest:
    return node.root if isinstance(node, TreeNode) else node.digest
