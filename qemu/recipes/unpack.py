"""Unpack a source archive, refusing any member that could reach outside its destination.

Usage: unpack.py ARCHIVE DEST [--exclude=PATTERN...]

The archive's single top directory is stripped, as every source archive has one. Members whose
name (after stripping) matches a shell pattern, in which `*` matches `/` too, are vetted but not
written. Refused, with the member's name: absolute paths, `..`, links that leave the destination,
device nodes and FIFOs (the `data` filter of Python's tarfile, PEP 706, which would otherwise
silently make absolute names relative).
"""

import argparse
import lzma
import os
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

# What reading an archive can raise, whatever its compression.
DAMAGED = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


def vetted(archive: tarfile.TarFile, dest: str) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        parts = member.name.split("/")
        if member.name.startswith("/") or ".." in parts:
            raise tarfile.OutsideDestinationError(member, os.path.join(dest, member.name))
        stripped = "/".join(part for part in parts if part not in ("", "."))
        _, _, rest = stripped.partition("/")
        if not rest:
            if not member.isdir():
                raise tarfile.SpecialFileError(member)
            continue
        link = member.linkname
        if member.islnk():
            link = link.partition("/")[2]
        yield member.replace(name=rest, linkname=link, deep=False)


def unpack(archive_path: str, dest: str, exclude: Sequence[str] = ()) -> None:
    """Unpack archive_path into dest; sys.exit with one message if it is damaged or unsafe."""
    os.makedirs(dest, exist_ok=True)
    try:
        with tarfile.open(archive_path) as archive:
            for member in vetted(archive, dest):
                if any(fnmatchcase(member.name, pattern) for pattern in exclude):
                    tarfile.data_filter(member, dest)
                else:
                    archive.extract(member, dest, filter="data")
            # tarfile stops at the end mark, or quietly where a header is cut off. What is left is
            # read for the compression's own checksum and end.
            while archive.fileobj is not None and archive.fileobj.read(1 << 20):
                pass
    except DAMAGED as error:
        sys.exit(
            f"{archive_path}: refused: {type(error).__name__}: {error}\n"
            "The archive is damaged or unsafe: check its origin and its SHA-256 in the lock."
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("archive")
    parser.add_argument("dest")
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN")
    arguments = parser.parse_args()
    unpack(arguments.archive, arguments.dest, arguments.exclude)
