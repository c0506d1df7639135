"""Digests: SHA-256 and size, as the Remote Execution API names content."""

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CHUNK = 1 << 20
UNKNOWN_SIZE = -1  # of a file from outside that only its SHA-256 is known of

_buffers = threading.local()  # one for each thread: making a new one for each file costs more


@dataclass(frozen=True, order=True, slots=True)
class Digest:
    """SHA-256 in lower-case hexadecimal and size in bytes. Written ``hash/size``."""

    hash: str
    size: int

    def __str__(self) -> str:
        return f"{self.hash}/{self.size}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of ``str``. Raises ValueError."""
        found = re.fullmatch(r"([0-9a-f]{64})/([0-9]+)", text)
        if found is None:
            raise ValueError(f"not a digest: {text!r}")
        return cls(found[1], int(found[2]))

    @classmethod
    def of_bytes(cls, data: bytes) -> Self:
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    @classmethod
    def of_file(cls, path: Path | str) -> Self:
        """Reads the file through once. Raises OSError."""
        with open(path, "rb") as stream:
            hasher = hashlib.file_digest(stream, "sha256")
            return cls(hasher.hexdigest(), stream.tell())

    @classmethod
    def of_descriptor(cls, descriptor: int) -> Self:
        """Reads an open file from where it is to its end. Raises OSError."""
        hasher, size = hashlib.sha256(), 0
        for piece in pieces(descriptor):
            hasher.update(piece)
            size += len(piece)
        return cls(hasher.hexdigest(), size)


def pieces(descriptor: int) -> Iterator[memoryview]:
    """An open file from where it is to its end; each piece is good until the next is asked for.

    Raises OSError.
    """
    try:
        buffer: memoryview = _buffers.own
    except AttributeError:
        buffer = _buffers.own = memoryview(bytearray(CHUNK))
    while size := os.readv(descriptor, [buffer]):
        yield buffer[:size]
