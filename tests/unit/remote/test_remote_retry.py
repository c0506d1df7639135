"""What is tried again, and for how long."""

import grpc
import pytest
from hostile_server import HostileServer
from remote_client import Client

from thaw.remote import retry
from thaw.remote.failure import CallFailed
from thaw.remote.retry import BUSY, TRIES, Retry


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)


def test_a_broken_connection_gets_a_few_tries() -> None:
    tries = Retry(timeout=60)
    assert [tries.again(CallFailed("UNAVAILABLE", "")) for _ in range(TRIES)] == [
        *[True] * (TRIES - 1),
        False,
    ]


def test_what_does_not_pass_gets_none() -> None:
    assert not Retry(timeout=60).again(CallFailed("INVALID_ARGUMENT", ""))
    assert Retry(timeout=60).again(CallFailed("INVALID_ARGUMENT", ""), passes=True)


def test_a_busy_server_is_waited_for_until_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("thaw.remote.retry.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "thaw.remote.retry.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    tries, count = Retry(timeout=60), 0
    while tries.again(CallFailed(BUSY, "")):
        count += 1
    assert count > TRIES
    assert 60 < now[0] < 70


def test_thirty_refusals_are_no_reason_to_do_without_a_server(
    server: HostileServer, client: Client, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = server.put(b"wanted")
    for method in ("GetCapabilities", "BatchReadBlobs"):
        server.fail(method, grpc.StatusCode.RESOURCE_EXHAUSTED, times=30, said="limit exceeded")
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.001)
    assert client.fetch(blob) == {blob: b"wanted"}
    assert said == []
