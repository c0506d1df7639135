"""A server that is down, slow or wrong costs one line."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from hostile_server import HostileServer, temporary_files, until
from remote_client import ACTION, MEGABYTE, RESULT, Client, is_as_an_empty_cache, noise

from thaw import interrupt
from thaw.digest import Digest
from thaw.remote import watchdog
from thaw.remote.settings import parse
from thaw.store import MissingBlob

LARGE = noise(3 * MEGABYTE)
ZEROS = bytes(3 * MEGABYTE)


# Down


def test_an_unused_server_is_not_even_connected_to(server: HostileServer, client: Client) -> None:
    client.fetch()
    client.remote.close()
    assert not server.calls


def test_a_server_that_is_down_costs_one_line(tmp_path: Path, said: list[str]) -> None:
    with HostileServer() as server:
        address = server.address
    client = Client(parse("--remote-cache", address, timeout=1), tmp_path)
    assert client.remote.get_result(ACTION, "kernel") is None
    is_as_an_empty_cache(client)
    assert said == [
        f"[remote] {address}: cannot be reached (Connection refused): going on without it"
    ]


def test_a_name_that_nobody_knows_costs_one_line(tmp_path: Path, said: list[str]) -> None:
    client = Client(parse("--remote-cache", "grpcs://cache.invalid", timeout=1), tmp_path)
    is_offline = client.remote.get_result(ACTION, "kernel") is None and client.remote.offline
    assert is_offline and len(said) == 1 and "(Domain name not found)" in said[0]


@pytest.mark.parametrize(
    "method", ["GetActionResult", "FindMissingBlobs", "BatchReadBlobs", "Read"]
)
def test_a_server_that_goes_down_in_the_middle_costs_one_line(
    method: str, server: HostileServer, client: Client, said: list[str]
) -> None:
    blobs = [server.put(b"small"), server.put(LARGE)]
    server.fail(method, grpc.StatusCode.UNAVAILABLE, said="shutting down")
    client.remote.get_result(ACTION, "kernel")
    client.remote.missing(blobs)
    if not client.remote.offline:
        with pytest.raises(MissingBlob):
            client.fetch(*blobs)
    is_as_an_empty_cache(client)
    assert said == [
        f"[remote] {server.address}: cannot be reached (shutting down): going on without it"
    ]


# Slow


@pytest.mark.parametrize(
    "method", ["GetCapabilities", "GetActionResult", "FindMissingBlobs", "BatchReadBlobs", "Read",
               "BatchUpdateBlobs", "Write"]
)  # fmt: skip
def test_a_server_that_never_answers_is_given_up_after_the_time_out(
    method: str, server: HostileServer, hasty_client: Client, said: list[str]
) -> None:
    server.hang(method)
    blobs = [server.put(b"small"), server.put(LARGE)]
    hasty_client.remote.get_result(ACTION, "kernel")
    if not hasty_client.remote.offline:
        hasty_client.upload(b"other", noise(2 * MEGABYTE, 7))
    if not hasty_client.remote.offline:
        with pytest.raises(MissingBlob):
            hasty_client.fetch(*blobs)
    is_as_an_empty_cache(hasty_client)
    assert len(said) == 1
    assert "does not answer in time (1 s)" in said[0] or "stands still: no byte in 1 s" in said[0]


def test_a_trickle_is_as_good_as_nothing(
    server: HostileServer, hasty_client: Client, said: list[str]
) -> None:
    digest = server.put(LARGE)
    server.piece, server.pause = 10, 0.02
    with pytest.raises(MissingBlob):
        hasty_client.fetch(digest)
    is_as_an_empty_cache(hasty_client)
    assert len(said) == 1 and "is too slow: under 10 kB/s" in said[0]


def test_a_large_blob_that_makes_progress_has_all_the_time_it_needs(
    server: HostileServer, hasty_client: Client, said: list[str]
) -> None:
    digest = server.put(LARGE)
    server.pause = 0.03  # for each of 96 pieces: three times the time-out
    assert hasty_client.fetch(digest)[digest] == LARGE
    assert said == []


# Wrong


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: setattr(s, "digest_function", reapi.DigestFunction.MD5), "SHA-256"),
        (lambda s: setattr(s, "api", (3, 3)), "version 3 to 3 of the API"),
        (lambda s: setattr(s, "api", (1, 1)), "version 1 to 1 of the API"),
        (lambda s: s.fail("GetCapabilities", grpc.StatusCode.UNIMPLEMENTED), "does not offer"),
        (lambda s: s.headers.update(authorization="Bearer x"), "wants other credentials"),
    ],
)
def test_a_server_that_is_not_ours_to_use_costs_one_line(
    change: Callable[[HostileServer], None],
    text: str,
    server: HostileServer,
    client: Client,
    said: list[str],
) -> None:
    change(server)
    assert client.remote.get_result(ACTION, "kernel") is None
    is_as_an_empty_cache(client)
    assert len(said) == 1 and text in said[0]


def test_a_web_server_in_its_place_costs_one_line(tmp_path: Path, said: list[str]) -> None:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    client = Client(parse("--remote-cache", f"grpc://127.0.0.1:{web.server_port}"), tmp_path)
    assert client.remote.get_result(ACTION, "kernel") is None
    is_as_an_empty_cache(client)
    assert len(said) == 1
    web.shutdown()
    web.server_close()


def test_a_socket_that_nobody_answers_at_costs_one_line(tmp_path: Path, said: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"grpc://127.0.0.1:{deaf.getsockname()[1]}"
        client = Client(parse("--remote-cache", address, timeout=1), tmp_path)
        assert client.remote.get_result(ACTION, "kernel") is None
    is_as_an_empty_cache(client)
    assert len(said) == 1


# Not permitted


def test_a_server_that_permits_no_uploads_is_still_read_from(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    digest = server.put(b"here")
    server.fail("BatchUpdateBlobs", grpc.StatusCode.PERMISSION_DENIED)
    assert not client.upload(b"new")
    assert not client.upload(b"newer")
    client.remote.put_result(ACTION, RESULT)
    assert not client.remote.can_upload()
    assert client.fetch(digest) == {digest: b"here"}
    assert said == [f"[remote] {server.address}: does not permit uploads: only reading from it"]


def test_a_cache_that_takes_no_results_is_not_offered_any(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    server.update_enabled = False
    assert not client.remote.can_upload()
    client.remote.put_result(ACTION, RESULT)
    assert server.results == {} and said == []


def test_a_result_that_was_put_is_got(server: HostileServer, client: Client) -> None:
    assert client.remote.get_result(ACTION, "kernel") is None
    client.remote.put_result(ACTION, RESULT)
    assert client.remote.get_result(ACTION, "kernel") == RESULT
    assert client.remote.traffic.results == 1
    assert client.remote.traffic.downloaded == RESULT.ByteSize()


# Here


def test_ctrl_c_ends_every_waiting_call_within_a_second(
    server: HostileServer, said: list[str], tmp_path: Path, control_c: list[bool]
) -> None:
    client = Client(parse("--remote-cache", server.address), tmp_path)
    small, large = server.put(b"small"), server.put(LARGE)
    called = [server.hang(m) for m in ("GetActionResult", "Read", "BatchReadBlobs", "Write")]
    with ThreadPoolExecutor() as pool:
        waiting: list[Future[Any]] = [
            pool.submit(client.remote.get_result, ACTION, "kernel"),
            pool.submit(client.remote.read, large),
            pool.submit(client.remote.read, small),
            pool.submit(client.upload, noise(2 * MEGABYTE, 5)),
            pool.submit(client.remote.execute, ACTION, "kernel", False, lambda _: None),
        ]
        until(lambda: all(event.is_set() for event in called) and server.calls["Execute"] > 0)
        control_c.append(True)
        pressed = time.monotonic()
        for future in waiting:
            assert isinstance(future.exception(), interrupt.Interrupted)
        assert time.monotonic() - pressed < 1 + watchdog.POLL
    assert said == []


def test_a_full_disk_here_is_not_the_servers_fault(
    server: HostileServer, client: Client, said: list[str], tmp_path: Path
) -> None:
    digests = [server.put(noise(1000, i)) for i in range(9)] + [server.put(LARGE)]

    def save(path: Path, digest: Digest) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        client.remote.fetch(digests, "test", temporary_files(client.directory), save)
    assert said == [] and not client.remote.offline
    assert list(client.directory.iterdir()) == []


def test_what_the_engine_finds_wrong_turns_the_server_off_once(
    client: Client, said: list[str]
) -> None:
    client.remote.distrust("kernel: its tree has no root")
    client.remote.distrust("again")
    is_as_an_empty_cache(client)
    assert len(said) == 1 and "its tree has no root: going on without it" in said[0]
