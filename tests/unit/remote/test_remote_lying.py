"""What a server gives is looked at: no wrong byte is handed on, and a liar is left."""

import time
from collections.abc import Callable

import grpc
import pytest
import zstandard
from hostile_server import HostileServer, until
from remote_client import ACTION, MEGABYTE, RESULT, Client, is_as_an_empty_cache, noise

from thaw.digest import Digest
from thaw.store import MissingBlob

LARGE = noise(3 * MEGABYTE)
ZEROS = bytes(3 * MEGABYTE)


def flipped(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


def bomb(size: int) -> bytes:
    """A few kB of zstd that stand for ``size`` zeros."""
    compressor = zstandard.ZstdCompressor().compressobj()
    parts = [compressor.compress(bytes(MEGABYTE)) for _ in range(size // MEGABYTE)]
    return b"".join(parts) + compressor.flush()


@pytest.mark.parametrize("zstd", [False, True])
@pytest.mark.parametrize("data", [noise(1000), LARGE])
@pytest.mark.parametrize("lie", [flipped, lambda data: data + b"more", lambda data: data[:-1]])
def test_no_byte_of_a_false_blob_is_handed_on(
    lie: Callable[[bytes], bytes],
    data: bytes,
    zstd: bool,
    server: HostileServer,
    client: Client,
    said: list[str],
) -> None:
    server.zstd = zstd
    digest = server.put(data)
    server.content[digest] = lie(data)
    with pytest.raises(MissingBlob):
        client.fetch(digest)
    assert client.saved == {}
    is_as_an_empty_cache(client)
    assert len(said) == 1


def test_after_a_lie_the_other_transfers_end_too(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    large, small = server.put(LARGE), server.put(noise(1000))
    server.content[small] = flipped(noise(1000))
    server.pause = 0.1  # for each of 96 pieces
    server.hooks["BatchReadBlobs"] = lambda _: until(lambda: server.calls["Read"] > 0)
    with pytest.raises(MissingBlob):
        client.fetch(large, small)
    assert client.remote.traffic.received < len(LARGE) / 2
    assert len(said) == 1


def test_a_server_that_goes_on_forever_is_left(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    digest = server.put(LARGE)
    server.endless = True
    with pytest.raises(MissingBlob):
        client.fetch(digest)
    assert client.remote.traffic.received < len(LARGE) + MEGABYTE
    assert len(said) == 1 and "more bytes than blob" in said[0]


@pytest.mark.parametrize("size", [1000, 3 * MEGABYTE])
def test_a_compression_bomb_is_not_unpacked(
    size: int, server: HostileServer, client: Client, said: list[str]
) -> None:
    server.zstd = True
    digest = server.put(bytes(size))
    server.wire[digest] = bomb(2000 * MEGABYTE)
    started = time.process_time()
    with pytest.raises(MissingBlob):
        client.fetch(digest)
    assert time.process_time() - started < 0.5  # to unpack it all takes longer
    assert client.saved == {}
    assert len(said) == 1


def test_empty_frames_without_end_are_left(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    server.zstd = True
    digest = server.put(ZEROS)
    server.wire[digest] = b"\x50\x2a\x4d\x18\x00\x00\x00\x00" * (2 * MEGABYTE)
    with pytest.raises(MissingBlob):
        client.fetch(digest)
    assert len(said) == 1 and "more and more bytes" in said[0]


@pytest.mark.parametrize("size", [1000, 3 * MEGABYTE])
def test_what_is_not_zstd_is_refused(
    size: int, server: HostileServer, client: Client, said: list[str]
) -> None:
    server.zstd = True
    digest = server.put(bytes(size))
    server.wire[digest] = noise(200)
    with pytest.raises(MissingBlob):
        client.fetch(digest)
    assert len(said) == 1 and "not zstd" in said[0]


def test_a_blob_that_nobody_asked_for_is_not_saved(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    digest = server.put(b"asked for")
    server.unasked = [b"not asked for"]
    with pytest.raises(MissingBlob):
        client.fetch(digest)
    assert Digest.of_bytes(b"not asked for") not in client.saved
    assert len(said) == 1 and "nobody asked for" in said[0]


def test_the_same_blob_twice_is_saved_once(server: HostileServer, client: Client) -> None:
    digest = server.put(b"asked for")
    server.unasked = [b"asked for"]
    with pytest.raises(MissingBlob):
        client.fetch(digest)
    assert list(client.saved) == [digest]


def test_missing_blobs_that_were_not_asked_about_are_ignored(
    server: HostileServer, client: Client
) -> None:
    digest = server.put(b"here")
    real = server.put(b"really")
    del server.blobs[real]
    assert client.remote.missing([digest, real]) == {real}


def test_a_result_with_other_outputs_is_not_believed(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    server.results[ACTION.hash] = RESULT
    assert client.remote.get_result(ACTION, "kernel", ["out/bzImage"]) is None
    is_as_an_empty_cache(client)
    assert len(said) == 1 and "other outputs" in said[0] and "kernel" in said[0]


def test_what_the_server_says_cannot_write_on_the_terminal_or_fill_it(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    words = "\x1b]0;owned\x07\n[built] everything\n" + "long " * 1000
    server.fail("GetActionResult", grpc.StatusCode.FAILED_PRECONDITION, said=words)
    client.remote.get_result(ACTION, "kernel")
    assert len(said) == 1 and said[0].isprintable() and len(said[0]) < 500
