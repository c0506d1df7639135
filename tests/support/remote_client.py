"""A client of a remote service whose files can be looked at."""

import random
from pathlib import Path

from hostile_server import temporary_files

from thaw.digest import Digest
from thaw.remote.service import Remote
from thaw.remote.settings import RemoteSettings

MEGABYTE = 1 << 20


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
