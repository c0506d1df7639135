"""A client of a remote service whose files can be looked at."""

import random
from pathlib import Path

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from hostile_server import temporary_files

from thaw.digest import Digest
from thaw.remote.service import Remote
from thaw.remote.settings import RemoteSettings
from thaw.store import MissingBlob

MEGABYTE = 1 << 20
ACTION = Digest.of_bytes(b"action")
RESULT = reapi.ActionResult(stdout_raw=b"log")


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that can't be compressed, the same in every run."""
    return random.Random(seed).randbytes(size)


class Client:
    """A Remote and what it brought."""

    def __init__(self, settings: RemoteSettings, directory: Path) -> None:
        self.remote = Remote(settings)
        self.directory = directory
        self.saved: dict[Digest, bytes] = {}

    def fetch(self, *digests: Digest) -> dict[Digest, bytes]:
        def save(path: Path, digest: Digest) -> None:
            self.saved[digest] = path.read_bytes()

        try:
            self.remote.fetch(digests, "test", temporary_files(self.directory), save)
        finally:
            assert list(self.directory.iterdir()) == []
        return self.saved

    def upload(self, *blobs: bytes) -> bool:
        return self.remote.upload({Digest.of_bytes(data): data for data in blobs}, "test")


def is_as_an_empty_cache(client: Client) -> None:
    """Every call has an answer, and none needs the server."""
    assert client.remote.offline
    assert client.remote.get_result(ACTION, "kernel") is None
    assert client.remote.missing([ACTION]) == {ACTION}
    assert not client.upload(b"x")
    assert not client.remote.can_upload()
    client.remote.put_result(ACTION, RESULT)
    assert client.remote.execute(ACTION, "kernel", False, lambda _: None) is None
    with pytest.raises(MissingBlob):
        client.fetch(ACTION)
    with pytest.raises(MissingBlob):
        client.remote.read(ACTION)
