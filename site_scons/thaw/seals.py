"""Seals: how a large file is seen to be good again, quicker than by SHA-256.

SHA-256 of a bundle takes twice as long as copying it. When a large blob was found to be what its
digest says, BLAKE3 of the same bytes, keyed with the SHA-256, is noted as its seal. The next check
reads all of the file again, but hashes it with BLAKE3, in a quarter of the time. A flipped bit in
the file gives another BLAKE3; one in the seal gives a wrong seal; both lead back to SHA-256. So a
seal can make a check quicker, but never make it pass.

They are in ``seals/<sha256>``, can be removed at any time, and are made again by use.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from thaw.digest import UNKNOWN_SIZE, Digest

LARGE = 4 << 20  # bytes: below, SHA-256 takes milliseconds

Update = Callable[[memoryview], None]
Feed = Callable[[Update], None]  # calls it with every piece of a file


class Seals:
    """The seals of one store."""

    def __init__(self, top: Path) -> None:
        top.mkdir(exist_ok=True)
        self._top = top

    def good(self, digest: Digest, feed: Feed, again: Feed) -> bool:
        """Whether the bytes that ``feed`` gives are what the digest says.

        ``again`` gives them once more, if it takes SHA-256 to say no. Raises what they raise.
        """
        check = _Check(digest, self._top / digest.hash, anew=False)
        feed(check.update)
        found = check.good()
        if found or not check.by_seal:
            return found
        check = _Check(digest, self._top / digest.hash, anew=True)
        again(check.update)
        return check.good()

    def prune(self, is_there: Callable[[Digest], bool]) -> None:
        """Remove the seals of blobs that are gone."""
        for seal in self._top.iterdir():
            if not is_there(Digest(seal.name, UNKNOWN_SIZE)):
                seal.unlink(missing_ok=True)


class _Check:
    """Is given a file's bytes as they are read, then says whether they are what they should be."""

    def __init__(self, digest: Digest, seal: Path, anew: bool) -> None:
        self._digest, self._path = digest, seal
        self._known = b"" if anew or digest.size < LARGE else _read(seal)
        self._sha = None if self._known else hashlib.sha256()
        self._seal = None
        if digest.size >= LARGE:
            from blake3 import blake3  # late: most runs check nothing large

            self._seal = blake3(key=bytes.fromhex(digest.hash))

    def update(self, data: memoryview) -> None:
        for hasher in (self._sha, self._seal):
            if hasher is not None:
                hasher.update(data)

    @property
    def by_seal(self) -> bool:
        """Whether only a seal was looked at: then a no is to be checked anew."""
        return self._sha is None

    def good(self) -> bool:
        """Call once, at the end."""
        seal = self._seal.hexdigest().encode() if self._seal is not None else b""
        if self._sha is None:
            return seal == self._known
        found = self._sha.hexdigest() == self._digest.hash
        if found and seal:
            with contextlib.suppress(OSError):  # a full disk: the next check is slow, too
                _write(self._path, seal)
        return found


def _read(seal: Path) -> bytes:
    try:
        return seal.read_bytes()
    except OSError:
        return b""


def _write(seal: Path, value: bytes) -> None:
    """Not durable, and not even whole after a crash: a wrong seal is no harm."""
    temporary = seal.with_name(f".{seal.name}.{os.getpid()}")
    temporary.write_bytes(value)
    temporary.replace(seal)
