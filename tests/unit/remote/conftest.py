"""A hostile server, and a client of it whose words and files can be looked at."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile_server import HostileServer
from remote_client import Client

from thaw import interrupt, progress
from thaw.remote import retry
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
def connect(
    server: HostileServer, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], Client]]:
    """Makes clients with a time-out in seconds. They lose little time between tries."""
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)
    directory = tmp_path / "temporary"
    directory.mkdir()
    made: list[Client] = []

    def connect(timeout: int) -> Client:
        settings = parse("--remote-cache", server.address, timeout=timeout, environment={})
        made.append(Client(settings, directory))
        return made[-1]

    yield connect
    for client in made:
        client.remote.close()


@pytest.fixture
def client(connect: Callable[[int], Client]) -> Client:
    return connect(20)


@pytest.fixture
def hasty_client(connect: Callable[[int], Client]) -> Client:
    return connect(1)


@pytest.fixture
def control_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Append to it to press Ctrl-C."""
    pressed: list[bool] = []
    monkeypatch.setattr(interrupt, "pending", lambda: bool(pressed))
    yield pressed
