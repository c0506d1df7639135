"""Runs actions on a Remote Execution API service: the same action, its input root uploaded.

Spec: build.bazel.remote.execution.v2, Execution. Only what the service does not have is sent, and
of the outputs only digests come back.
"""

from collections.abc import Callable
from pathlib import Path

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.google.rpc import code_pb2

from thaw import progress
from thaw.action import Action, Encoded
from thaw.artifacts import Artifacts
from thaw.digest import Digest
from thaw.local import ActionFailed, tail
from thaw.nodes import Node, TreeNode, from_proto
from thaw.outputs import DIRECTORY
from thaw.remote import vet
from thaw.remote.failure import Lie
from thaw.remote.service import Remote
from thaw.store import MissingBlob
from thaw.trace import span

# What services answer when an input is no longer there.
LOST = (code_pb2.FAILED_PRECONDITION, code_pb2.NOT_FOUND)


class RemoteRunner:
    """Runs actions on ``service``, whose storage is that of the artifacts' remote."""

    def __init__(self, artifacts: Artifacts, service: Remote) -> None:
        self._artifacts, self._service = artifacts, service
        self._uploaded: set[Digest] = set()  # root directories and files known to be there

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
        shown: list[str] = []

        def on_stage(stage: str) -> None:
            if shown[-1:] != [stage]:
                progress.say(f"[remote] {name}: {stage}")
                shown.append(stage)
            ticker.tick(stage)

        try:
            with span(name, "run"):
                return self._service.execute(digest, name, False, on_stage)
        finally:
            ticker.close()

    def _offer(self, action: Action, encoded: Encoded, prepare: Callable[[], None]) -> bool:
        """Have the whole input root on the service. Whether that could be done."""
        remote = self._artifacts.remote
        assert remote is not None  # as the constructor says
        nodes = [action.toolchain, *action.inputs.values()]
        new = [node for node in nodes if _name(node) not in self._uploaded]
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
            if not remote.upload({digest: blobs[digest] for digest in wanted}, action.name):
                return False
        self._uploaded.update(map(_name, new))
        return True

    @staticmethod
    def _absent(blobs: dict[Digest, Path | bytes], wanted: set[Digest]) -> list[Digest]:
        places = [(digest, blobs[digest]) for digest in sorted(wanted)]
        return [d for d, place in places if isinstance(place, Path) and not place.exists()]

    def _check(self, action: Action, response: reapi.ExecuteResponse) -> reapi.ActionResult | None:
        """The result of a command that did what was asked. Raises ActionFailed."""
        result = response.result
        why = ""
        if response.status.code == code_pb2.DEADLINE_EXCEEDED:
            why = f"not finished in time: {response.status.message}"
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
        text = f"{action.name}: failed on {self._service.address}: {why}\n"
        if response.message:
            text += f"  the service says: {response.message}\n"
        result = response.result
        logs = [("", result.stdout_raw, result.stdout_digest)]
        logs.append(("", result.stderr_raw, result.stderr_digest))
        for name, server_log in sorted(response.server_logs.items()):
            logs.append((f"  {name}, a log of the service:\n", b"", server_log.digest))
        for title, raw, digest in logs:
            data = raw or self._read(from_proto(digest))
            if data:
                text += f"{title}{tail(data)}\n"
        return text + "  look inside its sandbox: run it here, without --remote-executor"

    def _read(self, digest: Digest) -> bytes:
        try:
            return self._service.read(digest) if digest.size else b""
        except MissingBlob:
            return b"(its log is gone)"


def _name(node: Node) -> Digest:
    return node.root if isinstance(node, TreeNode) else node.digest
