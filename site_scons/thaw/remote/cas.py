"""Blobs of a server's content-addressable storage: which are there, many at once, there and back.

Spec: ContentAddressableStorage. Small blobs go together in messages below the server's limit,
large ones alone through ByteStream. A blob is handed on when its bytes are what its name says.
"""

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import zstandard
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.build.bazel.remote.execution.v2 import (
    remote_execution_pb2_grpc as reapi_grpc,
)

from thaw import progress
from thaw.digest import Digest
from thaw.nodes import from_proto, to_proto
from thaw.remote import parallel
from thaw.remote.bytestream import Check, Download, Moved, Source, open_source, upload
from thaw.remote.capabilities import Capabilities
from thaw.remote.channel import Channel
from thaw.remote.failure import CallFailed, Lie
from thaw.remote.newer import ACCEPT_ZSTD, IS_ZSTD, RESPONSE_COMPRESSOR, ZSTD, numbers
from thaw.store import MissingBlob

QUESTIONS = 4000  # digests in one FindMissingBlobs: 300 kB
OVERHEAD = 160  # bytes of a message that a blob takes besides its own
EMPTY = Digest.of_bytes(b"")
Temporary = Callable[[], AbstractContextManager[Path]]
Save = Callable[[Path, Digest], None]

_CODES = {1: "CANCELLED", 2: "UNKNOWN", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND",
          7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 10: "ABORTED", 13: "INTERNAL",
          14: "UNAVAILABLE", 16: "UNAUTHENTICATED"}  # fmt: skip


class Cas:
    """The storage of one server."""

    def __init__(self, channel: Channel, capabilities: Capabilities) -> None:
        self._channel = channel
        self._can = capabilities
        self._stub = reapi_grpc.ContentAddressableStorageStub(channel.grpc)

    def missing(self, digests: Collection[Digest]) -> set[Digest]:
        """Those that the server has not. Raises CallFailed, Interrupted."""
        asked = list(dict.fromkeys(digests))
        missing: set[Digest] = set()

        def ask(part: list[Digest]) -> None:
            request = reapi.FindMissingBlobsRequest(
                instance_name=self._channel.settings.instance, blob_digests=map(to_proto, part)
            )
            answer = self._channel.call(self._stub.FindMissingBlobs, request)
            missing.update(map(from_proto, answer.missing_blob_digests))

        parts = [asked[i : i + QUESTIONS] for i in range(0, len(asked), QUESTIONS)]
        parallel.run([lambda _, part=part: ask(part) for part in parts])  # type: ignore[misc]
        return missing & set(asked)

    def batches(self, digests: Iterable[Digest]) -> Iterator[list[Digest]]:
        """Groups that fit in a message; a blob that fits in none is alone."""
        batch: list[Digest] = []
        size = 0
        for digest in sorted(digests, key=lambda digest: digest.size):
            size += digest.size + OVERHEAD
            if batch and size > self._can.batch:
                yield batch
                batch, size = [], digest.size + OVERHEAD
            batch.append(digest)
        if batch:
            yield batch

    # Down

    def fetch(
        self, digests: Collection[Digest], what: str, temporary: Temporary, save: Save
    ) -> None:
        """Hand every blob to ``save``, as a file that it may take, from threads.

        Raises MissingBlob for the first that the server has not, after the others came; Lie,
        CallFailed, Interrupted, and what ``save`` raises.
        """
        wanted = list(dict.fromkeys(digests))
        absent: set[Digest] = set()

        def keep(digest: Digest, data: bytes) -> None:
            with temporary() as path:
                path.write_bytes(data)
                save(path, digest)

        def large(digest: Digest, moved: Moved, check: Check) -> None:
            with temporary() as path:
                with open(path, "w+b") as sink:
                    Download(self._channel, digest, sink, self._can.zstd, moved, check).run()
                self._came(digest)
                save(path, digest)

        def task(batch: list[Digest], moved: Moved, check: Check) -> None:
            check()
            came: set[Digest] = set()
            if self._is_batch(batch):
                for digest, data in self._read_batch(batch, absent):
                    check()
                    moved(digest.size)
                    keep(digest, data)
                    came.add(digest)
            for digest in batch:  # a server may be short of some of a batch, and say so
                try:
                    if digest not in came and digest not in absent:
                        large(digest, moved, check)
                except MissingBlob:
                    absent.add(digest)

        if EMPTY in wanted:
            keep(EMPTY, b"")
        batches = list(self.batches(digest for digest in wanted if digest != EMPTY))
        with progress.counter(what, sum(digest.size for digest in wanted)) as counter:
            parallel.run(_with(task, batch, counter.add) for batch in reversed(batches))
        for digest in wanted:
            if digest in absent:
                raise MissingBlob(digest)

    def read(self, digest: Digest) -> bytes:
        """One blob. Raises MissingBlob, Lie, CallFailed, Interrupted."""
        if digest == EMPTY:
            return b""
        absent: set[Digest] = set()
        if self._is_batch([digest]):
            for _, data in self._read_batch([digest], absent):
                return data
        if absent:
            raise MissingBlob(digest)
        sink = io.BytesIO()
        Download(self._channel, digest, sink, self._can.zstd, _ignore, _nothing).run()
        self._came(digest)
        return sink.getvalue()

    def _is_batch(self, batch: list[Digest]) -> bool:
        return sum(digest.size + OVERHEAD for digest in batch) <= self._can.batch

    def _came(self, digest: Digest) -> None:
        self._channel.traffic.add(downloaded=digest.size, blobs_downloaded=1)

    def _read_batch(
        self, batch: Collection[Digest], absent: set[Digest]
    ) -> Iterator[tuple[Digest, bytes]]:
        """Those blobs of a batch that came. What the server has not goes to ``absent``."""
        request = reapi.BatchReadBlobsRequest(
            instance_name=self._channel.settings.instance, digests=map(to_proto, batch)
        )
        if self._can.zstd:
            request.MergeFromString(ACCEPT_ZSTD)
        expected = sum(digest.size for digest in batch)
        answer = self._channel.call(self._stub.BatchReadBlobs, request, expected=expected)
        open_ = set(batch)
        for response in answer.responses:
            digest = from_proto(response.digest)
            if digest not in open_:
                raise Lie(f"gave blob {digest.hash[:12]} that nobody asked for")
            open_.remove(digest)
            if response.status.code == 0:
                data = _content(response, digest)
                self._came(digest)
                yield digest, data
            elif _CODES.get(response.status.code) == "NOT_FOUND":
                absent.add(digest)

    # Up

    def upload(self, blobs: Mapping[Digest, Source], what: str) -> None:
        """Send what the server has not. Raises MissingBlob for a blob that is not what its name
        says, CallFailed, Interrupted."""

        def task(batch: list[Digest], moved: Moved, check: Check) -> None:
            check()
            if self._is_batch(batch):
                self._write_batch({digest: _load(digest, blobs[digest]) for digest in batch})
                moved(sum(digest.size for digest in batch))
                return
            for digest in batch:
                zstd = self._can.zstd
                upload(self._channel, digest, blobs[digest], zstd, moved, check)
                self._channel.traffic.add(uploaded=digest.size, blobs_uploaded=1)

        missing = self.missing(blobs)
        batches = list(self.batches(missing))
        with progress.counter(what, sum(digest.size for digest in missing)) as counter:
            parallel.run(_with(task, batch, counter.add) for batch in reversed(batches))

    def _write_batch(self, blobs: dict[Digest, bytes]) -> None:
        def attempt() -> None:
            request = reapi.BatchUpdateBlobsRequest(instance_name=self._channel.settings.instance)
            for digest, data in blobs.items():
                if self._can.zstd_batch_update:
                    data = zstandard.ZstdCompressor().compress(data)
                entry = request.requests.add(digest=to_proto(digest), data=data)
                if self._can.zstd_batch_update:
                    entry.MergeFromString(IS_ZSTD)
            answer = self._channel.call(self._stub.BatchUpdateBlobs, request, tries=1)
            codes = {from_proto(r.digest): r.status.code for r in answer.responses}
            for digest in list(blobs):
                code = codes.get(digest, 2)
                if code:
                    failed = _CODES.get(code, "UNKNOWN")
                    raise CallFailed(failed, f"it did not take blob {digest}")
                del blobs[digest]
                self._channel.traffic.add(uploaded=digest.size, blobs_uploaded=1)

        self._channel.retrying(attempt)


def _with(
    task: Callable[[list[Digest], Moved, Check], None], batch: list[Digest], moved: Moved
) -> parallel.Task:
    return lambda check: task(batch, moved, check)


def _content(response: Any, digest: Digest) -> bytes:
    """A blob out of a batch. Raises Lie."""
    data: bytes = response.data
    if ZSTD in numbers(response, RESPONSE_COMPRESSOR):
        try:
            with zstandard.ZstdDecompressor().stream_reader(data) as reader:
                data = reader.read(digest.size + 1)
        except zstandard.ZstdError as error:
            raise Lie(f"gave what is not zstd: {error}") from None
    if Digest.of_bytes(data) != digest:
        raise Lie(f"gave other bytes for blob {digest}")
    return data


def _load(digest: Digest, source: Source) -> bytes:
    try:
        with open_source(source) as stream:
            data = stream.read(digest.size + 1)
    except OSError:
        raise MissingBlob(digest) from None
    if Digest.of_bytes(data) != digest:
        raise MissingBlob(digest)
    return data


def _ignore(_count: int) -> None:
    pass


def _nothing() -> None:
    pass
