"""Digests: SHA-256 and size, as the Remote Execution API names content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CHUNK = 1 << 20


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
        name, _, size = text.partition("/")
        if len(name) != 64 or not size.isdigit():
            raise ValueError(f"not a digest: {text!r}")
        return cls(name, int(size))

    @classmethod
    def of_bytes(cls, data: bytes) -> Self:
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    @classmethod
    def of_file(cls, path: Path | str) -> Self:
        """Reads the file through once. Raises OSError."""
        with open(path, "rb") as stream:
            hasher = hashlib.file_digest(stream, "sha256")
            return cls(hasher.hexdigest(), stream.tell())
