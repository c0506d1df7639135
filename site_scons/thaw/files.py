"""Operations on files that leave nothing half done, or say where they failed."""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from thaw.digest import pieces

PIECE = 2 << 20  # bytes of a copy that are written while the next are hashed

Look = Callable[[memoryview], None]


def copy_file(source: Path, target: Path, executable: bool, look: Look) -> None:
    """Copy bytes, sharing blocks where the file system can (reflink).

    ``look`` is called with every piece that was copied.
    """
    with open(source, "rb", buffering=0) as reader, open(target, "wb") as writer:
        os.fchmod(writer.fileno(), 0o755 if executable else 0o644)
        try:
            fcntl.ioctl(writer, 0x40049409, reader.fileno())  # FICLONE
        except OSError:
            _copy(reader, writer, look)
            return
    read_file(target, look)


def read_file(path: Path, look: Look) -> None:
    """Call ``look`` with every piece of a file. Raises OSError."""
    with open(path, "rb", buffering=0) as stream:
        for piece in pieces(stream.fileno()):
            look(piece)


def _copy(reader: FileIO, writer: BinaryIO, look: Look) -> None:
    """Looks at a piece while the one before is written: on two cores, not much slower than cp."""
    if os.fstat(reader.fileno()).st_size <= PIECE:
        data = reader.readall()
        look(memoryview(data))
        writer.write(data)
        return
    piece, other = memoryview(bytearray(PIECE)), memoryview(bytearray(PIECE))
    with ThreadPoolExecutor(1) as pool:
        writing: Future[int] | None = None
        while count := reader.readinto(piece):
            if writing:
                writing.result()
            writing = pool.submit(writer.write, piece[:count])
            look(piece[:count])
            piece, other = other, piece
        if writing:
            writing.result()


def open_regular(path: Path | str) -> int:
    """A descriptor of a regular file, never of what a link points to. Raises OSError."""
    # Not blocking: something may have put a FIFO there.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a file so that readers see the old or the new one.

    durable: even after a power failure. Not needed, and not cheap, where a torn file is noticed
    and can be done without.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, 0o644)
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(descriptor)
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)
        raise


def move_away(path: Path | str, to: Path | str) -> None:
    """Rename, though it be a directory that nobody may write to. Raises OSError."""
    try:
        os.rename(path, to)
    except PermissionError:
        os.chmod(path, 0o755)
        os.rename(path, to)


def remove(path: Path) -> None:
    """Remove a file or a directory, read-only parts included."""
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o755)
        for directory, names, _ in os.walk(path):
            for name in names:  # before os.walk looks into them
                if not os.path.islink(os.path.join(directory, name)):
                    os.chmod(os.path.join(directory, name), 0o755)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
