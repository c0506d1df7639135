"""A hostile server, and a client of it whose words and files can be looked at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_server import HostileServer
from remote_client import Client

from thaw import interrupt, progress
from thaw.remote import channel
from thaw.remote.settings import parse


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines a person sees."""
    lines: list[str] = []
    monkeypatch.setattr(progress, "say", lines.append)
    return lines


@pytest.fixture
def client(
    server: HostileServer, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client with a time-out of one second, that loses little time between tries."""
    monkeypatch.setattr(channel, "FIRST_WAIT", 0.01)
    directory = tmp_path / "temporary"
    directory.mkdir()
    client = Client(parse("--remote-cache", server.address, timeout=1), directory)
    yield client
    client.remote.close()


@pytest.fixture
def control_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Append to it to press Ctrl-C."""
    pressed: list[bool] = []
    monkeypatch.setattr(interrupt, "pending", lambda: bool(pressed))
    yield pressed
