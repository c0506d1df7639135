"""One large blob there or back, in pieces. Spec: google.bytestream, and the API's resource names.

What comes is hashed as it is written and never believed beyond the digest's size; what goes is
hashed as it is sent, and the last piece is held back until the digest is right.
"""

import hashlib
import io
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard
from buildgrid.common.protos.google.bytestream import bytestream_pb2 as bytestream
from buildgrid.common.protos.google.bytestream import bytestream_pb2_grpc as bytestream_grpc

from thaw.digest import Digest
from thaw.remote.channel import Channel
from thaw.remote.failure import CallFailed, Lie
from thaw.remote.watchdog import Watch
from thaw.store import MissingBlob

PIECE = 256 << 10  # bytes in a message
MEGABYTE = 1 << 20
Source = Path | bytes
Moved = Callable[[int], None]  # told of uncompressed bytes; negative when they come again
Check = Callable[[], None]  # raises to stop a transfer


def resource(channel: Channel, digest: Digest, zstd: bool, upload: str = "") -> str:
    """The name of a blob in ByteStream calls. ``upload``: a random name, for writing."""
    parts = [channel.settings.instance, f"uploads/{upload}" if upload else ""]
    parts += ["compressed-blobs/zstd" if zstd else "blobs", str(digest)]
    return "/".join(part for part in parts if part)


def open_source(source: Source) -> AbstractContextManager[BinaryIO]:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


class Download:
    """A blob on its way into ``sink``, which can seek and is empty."""

    def __init__(
        self,
        channel: Channel,
        digest: Digest,
        sink: BinaryIO,
        zstd: bool,
        moved: Moved,
        check: Check,
    ) -> None:
        self._channel, self._digest, self._sink, self._zstd = channel, digest, sink, zstd
        self._moved, self._check = moved, check
        self._stub = bytestream_grpc.ByteStreamStub(channel.grpc)
        self._hasher = hashlib.sha256()
        self._count = 0  # bytes in the sink
        self._wire = 0
        self._resumed = False  # whether they came in more than one stream

    def run(self) -> None:
        """Raises MissingBlob (the server has it not), Lie, CallFailed, Interrupted."""
        try:
            self._to_the_end()
        except Lie:
            if not self._resumed:
                raise
            self._restart()  # not every server knows how to go on in the middle
            self._to_the_end()

    def _to_the_end(self) -> None:
        """Have all bytes, going on where a stream broke."""
        retry, best = self._channel.retry(), 0
        while self._count < self._digest.size or not self._is_whole():
            before = self._count
            try:
                self._stream()
            except CallFailed as error:
                if error.code == "NOT_FOUND":
                    raise MissingBlob(self._digest) from None
                refused = before > 0 and error.code in _NOT_FROM_THE_MIDDLE
                if self._count > best + MEGABYTE:
                    retry.progress()
                    best = self._count
                if not retry.again(error, passes=refused):
                    raise
                if refused:
                    self._restart()
                self._resumed = self._count > 0

    def _is_whole(self) -> bool:
        """True, once all bytes are here. Raises Lie for others."""
        if self._hasher.hexdigest() != self._digest.hash:
            raise Lie(f"gave other bytes for blob {self._digest}")
        return True

    def _restart(self) -> None:
        self._moved(-self._count)
        self._sink.seek(0)
        self._sink.truncate()
        self._hasher = hashlib.sha256()
        self._count = 0
        self._resumed = False

    def _stream(self) -> None:
        """Read from where we are. Raises CallFailed when the stream ends before the blob does."""
        request = bytestream.ReadRequest(
            resource_name=resource(self._channel, self._digest, self._zstd),
            read_offset=self._count,  # of the uncompressed blob, in either form
        )
        self._wire = 0
        metadata = self._channel.metadata()
        with self._channel.watched(lambda _: self._stub.Read(request, metadata=metadata)) as (
            call,
            watch,
        ):
            pieces = self._pieces(call, watch)
            for data in _unpacked(pieces) if self._zstd else pieces:
                self._take(data)
        if self._count < self._digest.size:
            raise CallFailed("UNAVAILABLE", "a stream ended early")

    def _pieces(self, call: Any, watch: Watch) -> Iterator[bytes]:
        for answer in call:
            self._check()
            watch.move(len(answer.data))
            self._wire += len(answer.data)
            self._channel.traffic.add(received=len(answer.data))
            if self._wire > 2 * self._digest.size + MEGABYTE:
                raise Lie(f"gives more and more bytes for blob {self._digest}")
            yield answer.data

    def _take(self, data: bytes) -> None:
        if self._count + len(data) > self._digest.size:
            raise Lie(f"gave more bytes than blob {self._digest} has")
        self._sink.write(data)
        self._hasher.update(data)
        self._count += len(data)
        self._moved(len(data))


_NOT_FROM_THE_MIDDLE = ("OUT_OF_RANGE", "INVALID_ARGUMENT", "UNIMPLEMENTED")


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decompressed, a bounded piece at a time however well it was compressed. Raises Lie."""
    source = cast(BinaryIO, _Reader(pieces))  # read() is all it takes
    decompressor = zstandard.ZstdDecompressor()
    with decompressor.stream_reader(source, read_size=PIECE, read_across_frames=True) as reader:
        while True:
            try:
                data = reader.read(MEGABYTE)
            except zstandard.ZstdError as error:
                raise Lie(f"gave what is not zstd: {error}") from None
            if not data:
                return
            yield data


class _Reader:
    """The pieces of a stream as a file, for zstandard."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, _size: int = -1) -> bytes:
        return next((piece for piece in self._pieces if piece), b"")


def upload(
    channel: Channel, digest: Digest, source: Source, zstd: bool, moved: Moved, check: Check
) -> None:
    """Raises MissingBlob (what is here is not that blob), CallFailed, Interrupted."""
    # Each try has its own state: the thread that sends the one before may not have ended yet.
    channel.retrying(lambda: _Upload(channel, digest, source, zstd, moved, check).run())


class _Upload:
    """A try to send a blob."""

    def __init__(
        self,
        channel: Channel,
        digest: Digest,
        source: Source,
        zstd: bool,
        moved: Moved,
        check: Check,
    ) -> None:
        self._channel, self._digest, self._source, self._zstd = channel, digest, source, zstd
        self._moved, self._check = moved, check
        self._stub = bytestream_grpc.ByteStreamStub(channel.grpc)
        self._count = self._wire = 0
        self._damaged = False

    def run(self) -> None:
        metadata = self._channel.metadata()
        try:
            with self._channel.watched(
                lambda watch: self._stub.Write.future(self._requests(watch), metadata=metadata)
            ) as (call, _):
                committed = call.result().committed_size
        except CallFailed as error:
            self._moved(-self._count)
            self._check()
            if self._damaged:
                raise MissingBlob(self._digest) from None
            if error.code == "ALREADY_EXISTS":
                return
            raise
        self._check()
        if self._damaged:
            raise MissingBlob(self._digest)
        # A server that has the blob by now answers before it has read it all.
        whole = {self._digest.size, *((-1, self._wire) if self._zstd else ())}
        if committed not in whole:
            raise CallFailed("UNAVAILABLE", f"it kept {committed} bytes of blob {self._digest}")

    def _requests(self, watch: Watch) -> Iterator[bytestream.WriteRequest]:
        """Runs in a thread of gRPC's: it ends early instead of raising."""
        name = resource(self._channel, self._digest, self._zstd, str(uuid.uuid4()))
        try:
            for data, last in self._pieces():
                yield bytestream.WriteRequest(
                    resource_name=name, write_offset=self._wire, finish_write=last, data=data
                )
                self._wire += len(data)
                self._channel.traffic.add(sent=len(data))
                watch.move(len(data))
                self._check()
        except MissingBlob:
            self._damaged = True
        except Exception:  # of the check, which the caller asks as well
            return

    def _pieces(self) -> Iterator[tuple[bytes, bool]]:
        """What goes over the wire, and whether it is the end. Raises MissingBlob before that."""
        hasher = hashlib.sha256()
        compressor = zstandard.ZstdCompressor().compressobj() if self._zstd else None
        held = b""
        try:
            with open_source(self._source) as stream:
                while data := stream.read(PIECE):
                    hasher.update(data)
                    self._count += len(data)
                    self._moved(len(data))
                    packed = compressor.compress(data) if compressor else data
                    if packed and held:
                        yield held, False
                        held = b""
                    held += packed
        except OSError:
            raise MissingBlob(self._digest) from None
        if Digest(hasher.hexdigest(), self._count) != self._digest:
            raise MissingBlob(self._digest)
        yield held + (compressor.flush() if compressor else b""), True
