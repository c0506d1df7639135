"""One action on a server's workers. Spec: Execution.

The stream of an execution is quiet for as long as the action takes. A quiet server is asked
something else from time to time, to know that it lives; a broken stream is taken up again with
WaitExecution.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.build.bazel.remote.execution.v2 import (
    remote_execution_pb2_grpc as reapi_grpc,
)
from buildgrid.common.protos.google.longrunning import operations_pb2 as operations
from buildgrid.common.protos.google.longrunning import operations_pb2_grpc as operations_grpc
from buildgrid.common.protos.google.rpc import status_pb2
from google.protobuf.message import DecodeError

from thaw import interrupt
from thaw.digest import Digest
from thaw.nodes import to_proto
from thaw.remote import capabilities
from thaw.remote.channel import Channel
from thaw.remote.failure import CallFailed, Lie

POLL = 0.2  # seconds between looks at Ctrl-C
# Some servers do not say more than that they have it.
STAGES = {0: "accepted", 1: "looked up", 2: "queued", 3: "executing", 4: "completed"}
OnStage = Callable[[str], None]

# What these say is about the action, not about the server.
_OF_THE_ACTION = {"INVALID_ARGUMENT": 3, "NOT_FOUND": 5, "FAILED_PRECONDITION": 9}


class Execution:
    """One action there. ``run`` is called once."""

    def __init__(
        self, channel: Channel, action: Digest, skip_cache: bool, on_stage: OnStage
    ) -> None:
        self._channel = channel
        self._action = action
        self._skip_cache = skip_cache
        self._on_stage = on_stage
        self._stub = reapi_grpc.ExecutionStub(channel.grpc)
        self._operation = ""  # its name on the server, once known
        self._stage = -1

    def run(self) -> reapi.ExecuteResponse:
        """Raises CallFailed, Lie, Interrupted (the server is asked to stop too)."""
        retry = self._channel.retry()
        while True:
            try:
                return self._follow()
            except CallFailed as error:
                # A server that was started anew, or can't go on, is asked from the beginning.
                lost = bool(self._operation) and error.code in ("NOT_FOUND", "UNIMPLEMENTED")
                if error.code in _OF_THE_ACTION and not lost:
                    return reapi.ExecuteResponse(status=_status(error))
                try:
                    again = retry.again(error, passes=lost)
                except interrupt.Interrupted:
                    self._cancel()
                    raise
                if not again:
                    raise
                if lost:
                    self._operation = ""

    def _follow(self) -> reapi.ExecuteResponse:
        instance = self._channel.settings.instance
        metadata = self._channel.metadata(self._action.hash)

        def start(_watch: object) -> Any:
            if self._operation:
                wait = reapi.WaitExecutionRequest(name=self._operation)
                return self._stub.WaitExecution(wait, metadata=metadata)
            request = reapi.ExecuteRequest(
                instance_name=instance,
                skip_cache_lookup=self._skip_cache,
                action_digest=to_proto(self._action),
            )
            return self._stub.Execute(request, metadata=metadata)

        try:
            with self._channel.watched(start, measured=False) as (call, _):
                for operation in self._listen(call):
                    response = self._understand(operation)
                    if response is not None:
                        return response
        except interrupt.Interrupted:
            self._cancel()
            raise
        raise CallFailed("UNAVAILABLE", "the stream of an execution ended early")

    def _listen(self, call: Any) -> Any:
        """The operations of a stream. Raises grpc.RpcError, CallFailed (it died), Interrupted."""
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def read() -> None:
            try:
                for operation in call:
                    arrived.put(operation)
                arrived.put(None)
            except grpc.RpcError as error:
                arrived.put(error)

        threading.Thread(target=read, name="remote-execution", daemon=True).start()
        last = time.monotonic()
        while True:
            try:
                found = arrived.get(timeout=POLL)
            except queue.Empty:
                interrupt.check()
                self._tell()
                if time.monotonic() - last > self._channel.settings.timeout:
                    capabilities.ask(self._channel)  # raises if the server is gone
                    last = time.monotonic()
                continue
            last = time.monotonic()
            if found is None:
                return
            if isinstance(found, grpc.RpcError):
                raise found
            yield found

    def _understand(self, operation: operations.Operation) -> reapi.ExecuteResponse | None:
        """Tell of the stage; the response, if it is done. Raises Lie."""
        self._operation = operation.name or self._operation
        metadata, response = reapi.ExecuteOperationMetadata(), reapi.ExecuteResponse()
        try:
            if operation.metadata.Unpack(metadata):
                self._show(metadata.stage)
            if not operation.done:
                return None
            if operation.HasField("error"):
                response.status.CopyFrom(operation.error)
            elif not operation.response.Unpack(response):
                raise Lie("ended an execution without a response")
        except DecodeError:
            raise Lie("gave an operation that can't be read") from None
        self._show(4)
        self._channel.traffic.add(received=operation.ByteSize())
        return response

    def _show(self, stage: int) -> None:
        if stage != self._stage and stage in STAGES:
            self._stage = stage
            self._tell()

    def _tell(self) -> None:
        """Said again and again, so that who listens can show that the action is alive."""
        self._on_stage(STAGES.get(self._stage, "submitted"))

    def _cancel(self) -> None:
        """Ask the server to stop. It may not know how, and we do not wait long."""
        if self._operation:
            stub = operations_grpc.OperationsStub(self._channel.grpc)
            request = operations.CancelOperationRequest(name=self._operation)
            with contextlib.suppress(grpc.RpcError, ValueError):
                stub.CancelOperation(
                    request, timeout=1, metadata=self._channel.metadata(self._action.hash)
                )


def _status(error: CallFailed) -> status_pb2.Status:
    with contextlib.suppress(DecodeError):
        if error.details:
            return status_pb2.Status.FromString(error.details)
    return status_pb2.Status(code=_OF_THE_ACTION[error.code], message=error.said)
