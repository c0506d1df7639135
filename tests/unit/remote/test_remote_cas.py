"""Blobs to a server and back, over real gRPC, with whatever the server offers."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from hostile_server import HostileServer
from remote_client import MEGABYTE, Client, noise

from thaw.digest import Digest
from thaw.remote.cas import QUESTIONS
from thaw.remote.settings import parse
from thaw.store import MissingBlob

LARGE = noise(5 * MEGABYTE)
PLAIN = b"all the same " * 300_000  # compresses well
BLOBS = [b"", b"x", PLAIN, LARGE, *(noise(1000 * i, i) for i in range(1, 30))]


def offer_nothing(server: HostileServer) -> None:
    pass


def offer_zstd(server: HostileServer) -> None:
    server.zstd = True


def offer_zstd_for_all(server: HostileServer) -> None:
    server.zstd = server.zstd_batch_update = True


def offer_small_batches(server: HostileServer) -> None:
    server.max_batch = 3000


def offer_no_batches(server: HostileServer) -> None:
    server.max_batch = 1


@pytest.mark.parametrize(
    "offer",
    [offer_nothing, offer_zstd, offer_zstd_for_all, offer_small_batches, offer_no_batches],
)
def test_what_goes_up_comes_down_the_same(
    offer: Callable[[HostileServer], None], server: HostileServer, client: Client
) -> None:
    offer(server)
    assert client.upload(*BLOBS)
    assert set(server.blobs.values()) == set(BLOBS)
    assert client.fetch(*server.blobs) == server.blobs
    for digest, data in server.blobs.items():
        assert client.remote.read(digest) == data


def test_zstd_is_used_where_it_is_offered_and_only_there(
    server: HostileServer, client: Client
) -> None:
    server.zstd = True
    client.upload(PLAIN)
    client.fetch(*server.blobs)
    assert client.remote.traffic.uploaded == client.remote.traffic.downloaded == len(PLAIN)
    assert client.remote.traffic.sent + client.remote.traffic.received < len(PLAIN) / 100


def test_without_zstd_every_byte_goes_over_the_wire(server: HostileServer, client: Client) -> None:
    client.upload(PLAIN)
    client.fetch(*server.blobs)
    assert client.remote.traffic.sent > len(PLAIN) < client.remote.traffic.received


def test_only_what_the_server_has_not_is_sent(server: HostileServer, client: Client) -> None:
    server.put(LARGE)
    client.upload(LARGE, b"new")
    assert client.remote.traffic.uploaded == 3
    client.upload(LARGE, b"new")
    assert client.remote.traffic.blobs_uploaded == 1


def test_a_batch_never_exceeds_the_servers_limit(server: HostileServer, client: Client) -> None:
    server.max_batch = 20_000
    client.upload(*(noise(1000, i) for i in range(100)))
    client.fetch(*server.blobs)
    messages = [r for m, r in server.requests if m == "BatchUpdateBlobs"]
    assert len(messages) > 5
    assert all(message.ByteSize() <= 20_000 for message in messages)
    reads = [r for m, r in server.requests if m == "BatchReadBlobs"]
    assert all(sum(d.size_bytes for d in read.digests) <= 20_000 for read in reads)


def test_questions_about_60000_blobs_fit_in_messages(server: HostileServer, client: Client) -> None:
    digests = [Digest.of_bytes(b"%d" % i) for i in range(60_000)]
    present = {server.put(b"7"), server.put(b"59999")}
    assert client.remote.missing(digests) == set(digests) - present
    questions = [r for m, r in server.requests if m == "FindMissingBlobs"]
    assert len(questions) == 60_000 // QUESTIONS
    assert all(question.ByteSize() < 4 * MEGABYTE for question in questions)


def test_the_instance_name_is_in_every_resource(
    server: HostileServer, tmp_path: Path, said: list[str]
) -> None:
    server.instance = "team/main"
    server.zstd = True
    client = Client(parse("--remote-cache", server.address, instance="team/main"), tmp_path)
    assert client.upload(LARGE, b"small")
    assert client.fetch(*server.blobs) == server.blobs
    assert {r.instance_name for _, r in server.requests if hasattr(r, "instance_name")} == {
        "team/main"
    }
    client.remote.close()


def test_an_evicted_blob_is_a_miss_after_the_others_came(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    here = [server.put(b"small"), server.put(LARGE)]
    gone = [Digest.of_bytes(b"gone"), Digest.of_bytes(noise(2 * MEGABYTE, 9))]
    with pytest.raises(MissingBlob) as caught:
        client.fetch(gone[1], here[0], gone[0], here[1])
    assert caught.value.digest == gone[1]
    assert set(client.saved) == set(here)
    for digest in gone:
        with pytest.raises(MissingBlob):
            client.remote.read(digest)
    assert said == [] and not client.remote.offline


# Streams that break


@pytest.mark.parametrize("zstd", [False, True])
def test_a_broken_download_goes_on_where_it_stopped(
    zstd: bool, server: HostileServer, client: Client, said: list[str]
) -> None:
    server.zstd = zstd
    digest = server.put(LARGE)
    server.break_after = [2 * MEGABYTE, 2 * MEGABYTE]
    assert client.fetch(digest)[digest] == LARGE
    offsets = [r.read_offset for m, r in server.requests if m == "Read"]
    assert len(offsets) == 3 and 0 == offsets[0] < offsets[1] < offsets[2]
    assert said == []


def test_a_server_that_starts_only_at_the_start_is_asked_for_all_again(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    digest = server.put(LARGE)
    server.break_after = [2 * MEGABYTE]
    server.refuse_offset = True
    assert client.fetch(digest)[digest] == LARGE
    assert said == []


def test_a_server_that_ignores_where_to_go_on_is_asked_for_all_again(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    digest = server.put(LARGE)
    server.break_after = [2 * MEGABYTE]
    server.ignore_offset = True
    assert client.fetch(digest)[digest] == LARGE
    assert said == []


def test_a_stream_that_never_gets_further_is_given_up(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    digest = server.put(LARGE)
    server.break_after = [2 * MEGABYTE] * 99
    server.refuse_offset = True
    with pytest.raises(MissingBlob):
        client.fetch(digest)
    assert server.calls["Read"] < 10
    assert len(said) == 1


def test_a_stream_that_ends_early_without_an_error_is_a_broken_one(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    digest = server.put(LARGE)
    server.content[digest] = LARGE[:-100]
    server.hooks["Read"] = lambda _: server.content.clear() if server.calls["Read"] == 2 else None
    assert client.fetch(digest)[digest] == LARGE
    assert said == []


@pytest.mark.parametrize(
    "method", ["GetCapabilities", "FindMissingBlobs", "BatchReadBlobs", "BatchUpdateBlobs", "Read",
               "Write"]
)  # fmt: skip
def test_what_is_unavailable_twice_is_asked_a_third_time(
    method: str, server: HostileServer, client: Client, said: list[str]
) -> None:
    server.fail(method, grpc.StatusCode.UNAVAILABLE, times=2)
    assert client.upload(b"small", LARGE)
    assert client.fetch(*server.blobs) == server.blobs
    assert server.calls[method] == 3
    assert said == []


def test_an_upload_that_someone_else_finished_first_is_done(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    server.committed = len(LARGE)
    assert client.upload(LARGE)
    server.zstd, server.committed = True, -1
    client.remote.close()
    assert client.upload(LARGE)
    assert said == []


def test_an_upload_of_which_the_server_kept_less_is_not_done(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    server.committed = 7
    assert not client.upload(LARGE)
    assert len(said) == 1 and "it kept 7 bytes" in said[0]


# Damage here


@pytest.mark.parametrize("zstd", [False, True])
@pytest.mark.parametrize("size", [100, 5 * MEGABYTE])
@pytest.mark.parametrize("what", ["flipped", "short", "long", "gone"])
def test_a_file_damaged_here_is_not_sent_under_its_old_name(
    what: str, size: int, zstd: bool, server: HostileServer, client: Client, tmp_path: Path
) -> None:
    server.zstd = zstd
    data = noise(size)
    damaged = {"flipped": data[:-1] + bytes([data[-1] ^ 1]), "short": data[:-1], "long": data * 2}
    path = tmp_path / "blob"
    if what in damaged:
        path.write_bytes(damaged[what])
    with pytest.raises(MissingBlob) as caught:
        client.remote.upload({Digest.of_bytes(data): path}, "test")
    assert caught.value.digest == Digest.of_bytes(data)
    assert server.blobs == {}
    assert not client.remote.offline
