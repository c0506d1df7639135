"""A real gRPC server of the Remote Execution API, in memory, that can be told to misbehave.

It works as the specification says until a test changes one of its attributes. Streams that hang
end when the server does.
"""

import contextlib
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import zstandard
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.build.bazel.remote.execution.v2 import (
    remote_execution_pb2_grpc as reapi_grpc,
)
from buildgrid.common.protos.google.bytestream import bytestream_pb2 as bytestream
from buildgrid.common.protos.google.bytestream import bytestream_pb2_grpc as bytestream_grpc
from buildgrid.common.protos.google.longrunning import operations_pb2 as operations
from buildgrid.common.protos.google.longrunning import operations_pb2_grpc as operations_grpc
from google.protobuf.empty_pb2 import Empty

from thaw.digest import Digest
from thaw.nodes import from_proto, to_proto
from thaw.remote import newer

PIECE = 32 << 10  # bytes in a ReadResponse
Hook = Callable[[Any], None]  # is given the call's context


class HostileServer:
    """Attributes are what it knows, what it offers, and how it lies."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None, unix: str = "") -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.results: dict[str, reapi.ActionResult] = {}
        self.calls: Counter[str] = Counter()
        self.requests: list[tuple[str, Any]] = []
        self.metadata: dict[str, str | bytes] = {}  # of the last call
        # What it offers
        self.instance = ""
        self.zstd = False
        self.zstd_batch_update = False
        self.max_batch = 0
        self.digest_function = reapi.DigestFunction.SHA256
        self.api = (2, 2)
        self.update_enabled = True
        self.exec_enabled = True
        self.headers: dict[str, str] = {}  # demanded of every call
        # How it misbehaves
        self.hooks: dict[str, Hook] = {}  # method -> called first
        self.content: dict[Digest, bytes] = {}  # sent instead of a blob's own bytes
        self.wire: dict[Digest, bytes] = {}  # sent instead of its compressed form
        self.unasked: list[bytes] = []  # sent besides in every batch
        self.break_after: list[int] = []  # for each Read: bytes until the stream breaks
        self.refuse_offset = False
        self.ignore_offset = False
        self.endless = False
        self.pause = 0.0  # seconds between pieces of a Read
        self.piece = PIECE
        self.committed: int | None = None
        self.script: list[Callable[[], Iterator[operations.Operation]]] = []  # for executions
        self.cancelled: list[str] = []
        self.ended = threading.Event()

        self._server = grpc.server(ThreadPoolExecutor(40), options=[("grpc.so_reuseport", 0)])
        reapi_grpc.add_CapabilitiesServicer_to_server(_Capabilities(self), self._server)
        reapi_grpc.add_ActionCacheServicer_to_server(_ActionCache(self), self._server)
        reapi_grpc.add_ContentAddressableStorageServicer_to_server(_Cas(self), self._server)  # type: ignore[abstract]
        reapi_grpc.add_ExecutionServicer_to_server(_Execution(self), self._server)
        bytestream_grpc.add_ByteStreamServicer_to_server(_ByteStream(self), self._server)  # type: ignore[abstract]
        operations_grpc.add_OperationsServicer_to_server(_Operations(self), self._server)  # type: ignore[abstract]
        place = f"unix:{unix}" if unix else "127.0.0.1:0"
        if credentials is None:
            self.port = self._server.add_insecure_port(place)
        else:
            self.port = self._server.add_secure_port(place, credentials)
        scheme = "grpc" if credentials is None else "grpcs"
        self.address = place if unix else f"{scheme}://127.0.0.1:{self.port}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self.ended.set()
        self._server.stop(0).wait()

    def put(self, data: bytes) -> Digest:
        digest = Digest.of_bytes(data)
        self.blobs[digest] = data
        return digest

    # Ways to misbehave

    def fail(self, method: str, code: grpc.StatusCode, times: int = 10**9, said: str = "") -> None:
        """The next calls of a method end with an error."""
        left = [times]

        def hook(context: Any) -> None:
            left[0] -= 1
            if left[0] >= 0:
                context.abort(code, said or "as told")

        self.hooks[method] = hook

    def hang(self, method: str) -> threading.Event:
        """A method never answers. The event tells that it was called."""
        called = threading.Event()

        def hook(context: Any) -> None:
            called.set()
            self.wait(context)

        self.hooks[method] = hook
        return called

    def wait(self, context: Any) -> None:
        """Until the client hangs up or the server ends."""
        while context.is_active() and not self.ended.wait(0.02):
            pass

    def enter(self, method: str, request: Any, context: Any) -> None:
        self.calls[method] += 1
        self.requests.append((method, request))
        self.metadata = dict(context.invocation_metadata())
        for name, value in self.headers.items():
            if self.metadata.get(name) != value:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        if method in self.hooks:
            self.hooks[method](context)


class _Part:
    def __init__(self, server: HostileServer) -> None:
        self.server = server


class _Capabilities(_Part, reapi_grpc.CapabilitiesServicer):
    def GetCapabilities(
        self, request: reapi.GetCapabilitiesRequest, context: Any
    ) -> reapi.ServerCapabilities:
        server = self.server
        server.enter("GetCapabilities", request, context)
        answer = reapi.ServerCapabilities()
        cache = answer.cache_capabilities
        cache.digest_function.append(server.digest_function)
        cache.action_cache_update_capabilities.update_enabled = server.update_enabled
        cache.max_batch_total_size_bytes = server.max_batch
        if server.zstd:
            cache.MergeFromString(bytes([newer.SUPPORTED_COMPRESSORS << 3 | 2, 2, 0, newer.ZSTD]))
        if server.zstd_batch_update:
            field = newer.BATCH_UPDATE_COMPRESSORS << 3
            cache.MergeFromString(bytes([field | 2, 1, newer.ZSTD]))
        answer.execution_capabilities.digest_function = reapi.DigestFunction.SHA256
        answer.execution_capabilities.exec_enabled = server.exec_enabled
        answer.low_api_version.major = server.api[0]
        answer.high_api_version.major = server.api[1]
        return answer


class _ActionCache(_Part, reapi_grpc.ActionCacheServicer):
    def GetActionResult(
        self, request: reapi.GetActionResultRequest, context: Any
    ) -> reapi.ActionResult:
        self.server.enter("GetActionResult", request, context)
        found = self.server.results.get(request.action_digest.hash)
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such result")
        assert found is not None
        return found

    def UpdateActionResult(
        self, request: reapi.UpdateActionResultRequest, context: Any
    ) -> reapi.ActionResult:
        self.server.enter("UpdateActionResult", request, context)
        self.server.results[request.action_digest.hash] = request.action_result
        return request.action_result


class _Cas(_Part, reapi_grpc.ContentAddressableStorageServicer):
    def FindMissingBlobs(
        self, request: reapi.FindMissingBlobsRequest, context: Any
    ) -> reapi.FindMissingBlobsResponse:
        self.server.enter("FindMissingBlobs", request, context)
        return reapi.FindMissingBlobsResponse(
            missing_blob_digests=[
                digest
                for digest in request.blob_digests
                if from_proto(digest) not in self.server.blobs
            ]
        )

    def BatchReadBlobs(
        self, request: reapi.BatchReadBlobsRequest, context: Any
    ) -> reapi.BatchReadBlobsResponse:
        server = self.server
        server.enter("BatchReadBlobs", request, context)
        answer = reapi.BatchReadBlobsResponse()
        zstd = newer.ZSTD in newer.numbers(request, 3)
        for message in request.digests:
            digest = from_proto(message)
            response = answer.responses.add(digest=message)
            if digest not in server.blobs:
                response.status.code = 5
                continue
            data = server.content.get(digest, server.blobs[digest])
            if zstd:
                data = server.wire.get(digest) or zstandard.compress(data)
                response.MergeFromString(bytes([newer.RESPONSE_COMPRESSOR << 3, newer.ZSTD]))
            response.data = data
        for data in server.unasked:
            answer.responses.add(digest=to_proto(Digest.of_bytes(data)), data=data)
        return answer

    def BatchUpdateBlobs(
        self, request: reapi.BatchUpdateBlobsRequest, context: Any
    ) -> reapi.BatchUpdateBlobsResponse:
        self.server.enter("BatchUpdateBlobs", request, context)
        answer = reapi.BatchUpdateBlobsResponse()
        for entry in request.requests:
            data = entry.data
            if newer.ZSTD in newer.numbers(entry, 3):
                data = zstandard.decompress(data)
            response = answer.responses.add(digest=entry.digest)
            if Digest.of_bytes(data) == from_proto(entry.digest):
                self.server.put(data)
            else:
                response.status.code = 3
        return answer


class _ByteStream(_Part, bytestream_grpc.ByteStreamServicer):
    def Read(
        self, request: bytestream.ReadRequest, context: Any
    ) -> Iterator[bytestream.ReadResponse]:
        server = self.server
        server.enter("Read", request, context)
        zstd, digest = self._name(request.resource_name, context)
        if digest not in server.blobs:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such blob")
        offset = request.read_offset
        if offset and server.refuse_offset:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "only from the start")
        data = server.content.get(digest, server.blobs[digest])
        data = data[0 if server.ignore_offset else offset :]
        if zstd:
            data = server.wire.get(digest) or zstandard.compress(data)
        left = server.break_after.pop(0) if server.break_after else None
        for start in range(0, len(data), server.piece):
            if left is not None and start >= left:
                context.abort(grpc.StatusCode.UNAVAILABLE, "connection lost")
            yield bytestream.ReadResponse(data=data[start : start + server.piece])
            if server.pause:
                server.ended.wait(server.pause)
        while server.endless and context.is_active():
            yield bytestream.ReadResponse(data=bytes(server.piece))

    def Write(
        self, requests: Iterator[bytestream.WriteRequest], context: Any
    ) -> bytestream.WriteResponse:
        server = self.server
        first = next(requests)
        server.enter("Write", first, context)
        zstd, digest = self._name(first.resource_name, context)
        if server.committed is not None:
            return bytestream.WriteResponse(committed_size=server.committed)
        data, finished = first.data, first.finish_write
        for request in requests:
            assert request.write_offset == len(data)
            data += request.data
            finished = request.finish_write
        if not finished:
            return bytestream.WriteResponse(committed_size=len(data))
        blob = zstandard.ZstdDecompressor().decompressobj().decompress(data) if zstd else data
        if Digest.of_bytes(blob) != digest:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not that blob")
        server.put(blob)
        return bytestream.WriteResponse(committed_size=len(data))

    def _name(self, name: str, context: Any) -> tuple[bool, Digest]:
        instance = self.server.instance + "/" if self.server.instance else ""
        if not name.startswith(instance):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such instance")
        parts = name.removeprefix(instance).split("/")
        if parts[0] == "uploads":
            parts = parts[2:]
        zstd = parts[:2] == ["compressed-blobs", "zstd"]
        if (zstd and not self.server.zstd) or not (zstd or parts[0] == "blobs"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no such resource: {name}")
        return zstd, Digest.parse("/".join(parts[-2:]))


class _Execution(_Part, reapi_grpc.ExecutionServicer):
    def Execute(
        self, request: reapi.ExecuteRequest, context: Any
    ) -> Iterator[operations.Operation]:
        self.server.enter("Execute", request, context)
        yield from self._play(context)

    def WaitExecution(
        self, request: reapi.WaitExecutionRequest, context: Any
    ) -> Iterator[operations.Operation]:
        self.server.enter("WaitExecution", request, context)
        yield from self._play(context)

    def _play(self, context: Any) -> Iterator[operations.Operation]:
        """The next scene of the script; without one, nothing happens."""
        if not self.server.script:
            self.server.wait(context)
            return
        for operation in self.server.script.pop(0)():
            yield operation
        if not operation.done:
            context.abort(grpc.StatusCode.UNAVAILABLE, "connection lost")


class _Operations(_Part, operations_grpc.OperationsServicer):
    def CancelOperation(self, request: operations.CancelOperationRequest, context: Any) -> Empty:
        self.server.cancelled.append(request.name)
        return Empty()


def operation(stage: int, response: reapi.ExecuteResponse | None = None) -> operations.Operation:
    """One message of an execution's stream."""
    message = operations.Operation(name="op-1", done=response is not None)
    message.metadata.Pack(reapi.ExecuteOperationMetadata(stage=stage))  # type: ignore[arg-type]
    if response is not None:
        message.response.Pack(response)
    return message


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for what another thread does. Fails when it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.01)


def temporary_files(top: Path) -> Callable[[], Any]:
    """What ``Store.temporary_file`` is to the client; leftovers can be counted in ``top``."""

    @contextlib.contextmanager
    def temporary() -> Iterator[Path]:
        descriptor, name = tempfile.mkstemp(dir=top)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    return temporary
