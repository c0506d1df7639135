"""Blobs: content under its digest, and nothing else is ever handed on under it.

Nothing is flushed to the disk on purpose. What a power failure tears is found by its digest like
any other damage, and made again; flushing each of a toolchain's files would cost minutes.
"""

import contextlib
import errno
import os
import re
import shutil
import stat
import time
from pathlib import Path

from thaw.digest import UNKNOWN_SIZE, Digest, pieces
from thaw.files import move_away, open_regular, write_atomically
from thaw.nodes import SOURCE_DATE_EPOCH, FileNode
from thaw.seals import LARGE, Seals, Update
from thaw.workspace import Workspace

MODES = {False: 0o444, True: 0o555}  # by executable: also what an action sees
NOT_DAMAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # what says nothing about the file
HASH = re.compile("[0-9a-f]{64}")


class MissingBlob(Exception):
    """A blob that should be in the store is not, or is not what its name says."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"blob {digest} is missing or damaged")
        self.digest = digest


def read_regular(path: str | Path) -> bytes | None:
    """The bytes of a file of the store, or None if it can't be read for a reason that lies in it.

    Raises FileNotFoundError, and OSError for what does not lie in the file.
    """
    try:
        with open(open_regular(path), "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        _blame(error)
        return None


def _blame(error: OSError) -> bool:
    """False if the file is to blame for an error in reading it; else raises the error."""
    if error.errno in NOT_DAMAGE:
        raise error
    return False


class Blobs(Workspace):
    """The files of ``cas/``."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        (top / "damaged").mkdir(exist_ok=True)
        self._cas = str(top / "cas")
        self._seals = Seals(top / "seals")
        self._used: set[str] = set()
        self.published = 0  # bytes that this process has added, about
        self.generation = self._generation()

    def _generation(self) -> str:
        """A random name that the blobs here got with the first: other blobs have another."""
        path = self.top / "generation"

        def known() -> str:
            text = path.read_text(errors="replace") if path.is_file() else ""
            return text if re.fullmatch("[0-9a-f]{32}", text) else ""

        if not (os.path.isdir(self._cas) and known()):
            with self.lock("generation"):
                if not (os.path.isdir(self._cas) and known()):
                    self.set_aside(path)
                    write_atomically(path, os.urandom(16).hex().encode())
                    self.clear(Path(self._cas))
                    os.makedirs(self._cas, exist_ok=True)
        return known()

    # Looking

    def path(self, digest: Digest, executable: bool = False) -> Path:
        """Where a blob is, or would be. Raises MissingBlob for what is no digest."""
        return Path(self._path(digest, executable))

    def _path(self, digest: Digest, executable: bool) -> str:
        if not HASH.fullmatch(digest.hash):  # from somebody else's message: "../.." for example
            raise MissingBlob(digest)
        return f"{self._cas}/{digest.hash[:2]}/{digest.hash}{'.x' if executable else ''}"

    def has(self, digest: Digest, executable: bool = False) -> bool:
        """Whether the blob is here at its full size."""
        try:
            about = os.lstat(self._path(digest, executable))
        except (OSError, MissingBlob):
            return False
        return stat.S_ISREG(about.st_mode) and digest.size in (about.st_size, UNKNOWN_SIZE)

    def keep(self, digest: Digest, executable: bool = False) -> bool:
        """Whether the blob is here, and thereby stays while this process runs."""
        with self.using():
            found = self.has(digest, executable)
            if found:
                self.use(self._path(digest, executable))
            return found

    def use(self, path: str) -> None:
        """Mark something as used now, by its access time. To be called within ``using``.

        Once in a process is enough: nothing is evicted that a running one has used.
        """
        if path not in self._used:
            with contextlib.suppress(OSError):  # gone, or a file system that can't
                self._stamp(path)
                self._used.add(path)

    def _stamp(self, path: str | Path) -> None:
        """Give a file the one date that actions see, and the access time of now."""
        now = max(time.time(), self.started)  # a clock may be set back
        os.utime(path, (now, SOURCE_DATE_EPOCH), follow_symlinks=False)

    # Reading

    def is_good(self, path: str, node: FileNode) -> bool:
        """Whether a file of the store is what ``node`` says, in all that an action sees of it.

        Raises OSError for what does not lie in the file.
        """
        try:
            descriptor = open_regular(path)
        except OSError as error:
            return _blame(error)
        try:
            about = os.fstat(descriptor)
            return (
                stat.S_IMODE(about.st_mode) == MODES[node.executable]
                and about.st_mtime == SOURCE_DATE_EPOCH
                and node.digest.size in (about.st_size, UNKNOWN_SIZE)
                and self._has_bytes(descriptor, node.digest)
            )
        except OSError as error:
            return _blame(error)
        finally:
            os.close(descriptor)

    def _has_bytes(self, descriptor: int, digest: Digest) -> bool:
        if digest.size < LARGE:
            return Digest.of_descriptor(descriptor).hash == digest.hash

        def feed(update: Update) -> None:
            os.lseek(descriptor, 0, os.SEEK_SET)
            for piece in pieces(descriptor):
                update(piece)

        return self._seals.good(digest, feed, feed)

    def forget_seals(self) -> None:
        """Remove what is noted of blobs that were evicted."""
        self._seals.prune(lambda digest: self.has(digest) or self.has(digest, True))

    def intact(self, digest: Digest, executable: bool = False) -> bool:
        """Whether the blob is here and what its name says: reads it. Else it is set aside."""
        if not self.keep(digest, executable):
            return False
        path = self._path(digest, executable)
        if self.is_good(path, FileNode(digest, executable)):
            return True
        self.set_aside(path)
        return False

    def ensure(self, node: FileNode) -> Path:
        """The path of a file with the right mode. Raises MissingBlob."""
        path = self._path(node.digest, node.executable)
        if not self.keep(node.digest, node.executable):
            if not self.intact(node.digest, not node.executable):
                raise MissingBlob(node.digest)
            with self.temporary_file() as temporary:
                shutil.copyfile(self._path(node.digest, not node.executable), temporary)
                self._publish(temporary, node.digest, node.executable)
        return Path(path)

    def read(self, digest: Digest) -> bytes:
        """The bytes of a blob, checked against its digest. Raises MissingBlob."""
        for executable in (False, True):
            if self.keep(digest, executable):
                path = self._path(digest, executable)
                with contextlib.suppress(FileNotFoundError):
                    data = read_regular(path)
                    if data is not None and Digest.of_bytes(data).hash == digest.hash:
                        return data
                self.set_aside(path)
        raise MissingBlob(digest)

    # Damage

    def discard(self, digest: Digest) -> None:
        """Take a damaged blob out of the store."""
        for executable in (False, True):
            self.set_aside(self._path(digest, executable))

    def set_aside(self, path: str | Path) -> None:
        """Move something damaged to ``damaged/``, for a look at what happened to it.

        Never removed at once: a sandbox of another build may have it mounted.
        """
        aside = self.top / "damaged" / f"{os.path.basename(path)}~{time.time_ns():x}"
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            move_away(path, aside)
            self._stamp(aside)

    def clear(self, path: Path) -> None:
        """Set aside what is not a directory where one belongs."""
        if path.is_symlink() or not path.is_dir():
            self.set_aside(path)

    # Writing

    def put_bytes(self, data: bytes, executable: bool = False) -> Digest:
        digest = Digest.of_bytes(data)
        if not self.keep(digest, executable):
            with self.temporary_file() as temporary:
                temporary.write_bytes(data)
                self._publish(temporary, digest, executable)
        return digest

    def put_file(self, source: Path, executable: bool = False, *, move: bool = False) -> Digest:
        """Add a file. With ``move`` the file is the store's own and is taken, not copied."""
        digest = Digest.of_file(source)
        if self.keep(digest, executable):
            return digest
        if move:
            self._publish(source, digest, executable)
            return digest
        with self.temporary_file() as temporary:
            # The source may be edited while it is read: the digest is that of the copy.
            shutil.copyfile(source, temporary)
            digest = Digest.of_file(temporary)
            self._publish(temporary, digest, executable)
        return digest

    def adopt(self, temporary: Path, digest: Digest, executable: bool = False) -> None:
        """Publish a file of ``temporary_file`` that is known to have this digest.

        The caller has hashed all of it, while it came in.
        """
        if not self.keep(digest, executable):
            self._publish(temporary, digest, executable)

    def _publish(self, temporary: Path, digest: Digest, executable: bool) -> None:
        path = self._path(digest, executable)
        os.chmod(temporary, MODES[executable])
        self._stamp(temporary)
        self.place(temporary, path)
        self._used.add(path)
        self.published += digest.size

    def place(self, temporary: Path, path: str | Path) -> None:
        """Give a finished file its final name, whatever has that name now."""
        try:
            os.rename(temporary, path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            shelf = Path(path).parent
            self.clear(shelf)
            shelf.mkdir(exist_ok=True)
            if os.path.isdir(path):
                self.set_aside(path)
            os.rename(temporary, path)
