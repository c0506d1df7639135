"""The content-addressed store and the action cache on disk.

Layout, below the cache directory (``$XDG_CACHE_HOME/thaw``, else ``~/.cache/thaw``)::

    cas/ab/<sha256>        a blob, read-only
    cas/ab/<sha256>.x      the same blob with the executable bit (a hard link has one mode)
    ac/ab/<action digest>  an encoded ActionResult message
    trees/<root digest>/   a directory unpacked from the store: hard links to blobs, read-only
    locks/                 flock files: one action runs once, whoever asks for it
    tmp/                   work in progress; emptied when no process holds it (build directories
                           are in memory instead where there is plenty: see ``thaw.memory``)
    failed/<name>/         the kept sandbox of the last failure of each action
    ccache/                compiler output below the action

Everything appears under its final name by rename or link, whole, or not at all: a killed
process leaves only files in ``tmp/``. Blobs are immutable, so readers need no locks.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from google.protobuf.message import DecodeError

from thaw import interrupt, memory
from thaw.digest import UNKNOWN_SIZE, Digest
from thaw.errors import ThawError
from thaw.files import copy_file, remove, write_atomically
from thaw.nodes import (
    SOURCE_DATE_EPOCH,
    FileNode,
    Node,
    TreeNode,
    capture_tree,
    encode,
    find_part,
    from_proto,
)

LAYOUT = "v1"
LOCK_POLL = 0.1  # seconds between tries for a lock that is taken


class MissingBlob(Exception):
    """A blob that should be in the store is not, or is not what its name says."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"blob {digest} is missing or damaged")
        self.digest = digest


class Store:
    """Blobs, trees and action results in one directory. Safe to use from many processes."""

    def __init__(self, top: Path) -> None:
        self.top = top / LAYOUT
        try:
            for name in ("cas", "ac", "trees", "locks", "tmp", "failed", "ccache"):
                (self.top / name).mkdir(parents=True, exist_ok=True)
            self._enter()
            self.generation = self._generation()
        except OSError as error:
            raise ThawError(
                f"{top}: cannot be the cache directory: {error.strerror}",
                remedy="name another one with --disk-cache=DIR",
            ) from error

    def _enter(self) -> None:
        """Say that this process uses ``tmp/``, after emptying it if no other one does."""
        path = self.top / "locks" / "tmp"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        weakref.finalize(self, os.close, descriptor)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in [*(self.top / "tmp").iterdir(), *memory.left_behind(self.top)]:
                with contextlib.suppress(OSError):  # a killed process may still be dying
                    remove(left)
        fcntl.flock(descriptor, fcntl.LOCK_SH)

    def _generation(self) -> str:
        """A random name this store got when it was made: another store has another."""
        path = self.top / "generation"
        if not path.exists():
            with self.lock("generation"):
                if not path.exists():
                    write_atomically(path, os.urandom(16).hex().encode())
        return path.read_text()

    # Blobs

    def path(self, digest: Digest, executable: bool = False) -> Path:
        """Where a blob is, or would be."""
        name = digest.hash + (".x" if executable else "")
        return self.top / "cas" / digest.hash[:2] / name

    def has(self, digest: Digest, executable: bool = False) -> bool:
        """Whether the blob is here at its full size."""
        try:
            size = self.path(digest, executable).stat().st_size
            return digest.size in (size, UNKNOWN_SIZE)
        except OSError:
            return False

    def intact(self, digest: Digest) -> bool:
        """Whether the blob is here and what its name says: reads it. A damaged one is removed."""
        path = self.path(digest)
        if not path.exists():
            return False
        if Digest.of_file(path).hash == digest.hash:
            return True
        self.discard(digest)
        return False

    def ensure(self, node: FileNode) -> Path:
        """The path of a file with the right mode. Raises MissingBlob."""
        path = self.path(node.digest, node.executable)
        if not self.has(node.digest, node.executable):
            other = self.path(node.digest, not node.executable)
            if not self.has(node.digest, not node.executable):
                raise MissingBlob(node.digest)
            with self.temporary_file() as temporary:
                shutil.copyfile(other, temporary)
                self._publish(temporary, path, node.executable)
        return path

    def read(self, digest: Digest) -> bytes:
        """The bytes of a blob, checked against its digest. Raises MissingBlob."""
        for executable in (False, True):
            try:
                data = self.path(digest, executable).read_bytes()
            except OSError:
                continue
            if Digest.of_bytes(data) == digest:
                return data
            self.discard(digest)
        raise MissingBlob(digest)

    def discard(self, digest: Digest) -> None:
        """Take a damaged blob out of the store."""
        for executable in (False, True):
            self.path(digest, executable).unlink(missing_ok=True)

    def put_bytes(self, data: bytes, executable: bool = False) -> Digest:
        digest = Digest.of_bytes(data)
        if not self.has(digest, executable):
            with self.temporary_file() as temporary:
                temporary.write_bytes(data)
                self._publish(temporary, self.path(digest, executable), executable)
        return digest

    def put_file(self, source: Path, executable: bool = False, *, move: bool = False) -> Digest:
        """Add a file. With ``move`` the file is the store's own and is taken, not copied."""
        digest = Digest.of_file(source)
        path = self.path(digest, executable)
        if self.has(digest, executable):
            return digest
        if move:
            self._publish(source, path, executable)
            return digest
        with self.temporary_file() as temporary:
            # The source may be edited while it is read: the digest is that of the copy.
            shutil.copyfile(source, temporary)
            digest = Digest.of_file(temporary)
            self._publish(temporary, self.path(digest, executable), executable)
        return digest

    def _publish(self, temporary: Path, path: Path, executable: bool) -> None:
        temporary.chmod(0o555 if executable else 0o444)
        os.utime(temporary, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH))
        path.parent.mkdir(exist_ok=True)
        temporary.rename(path)

    # Trees

    def capture(self, path: Path, *, move: bool = False) -> Node:
        """Add a file or a directory, whole. Symbolic links at the top are refused."""
        if path.is_dir() and not path.is_symlink():
            return capture_tree(
                path, lambda p, x: self.put_file(p, executable=x, move=move), self.put_bytes
            )
        if path.is_symlink() or not path.is_file():
            raise ThawError(f"{path}: not a file or directory")
        executable = bool(path.stat().st_mode & stat.S_IXUSR)
        return FileNode(self.put_file(path, executable, move=move), executable)

    def read_tree(self, node: TreeNode) -> Iterator[tuple[str, reapi.Directory]]:
        """Each directory of a tree, parents first, with its relative path. Raises MissingBlob."""
        tree = reapi.Tree.FromString(self.read(node.tree))
        children = {Digest.of_bytes(encode(child)).hash: child for child in tree.children}
        pending = [("", tree.root)]
        while pending:
            path, directory = pending.pop()
            yield path, directory
            for child in directory.directories:
                if child.digest.hash not in children:
                    raise MissingBlob(from_proto(child.digest))
                pending.append((os.path.join(path, child.name), children[child.digest.hash]))

    def tree_node(self, tree: Digest) -> TreeNode | None:
        """The artifact that a Tree message describes, or None if it is not here."""
        try:
            message = reapi.Tree.FromString(self.read(tree))
        except (MissingBlob, DecodeError):
            return None
        return TreeNode(Digest.of_bytes(encode(message.root)), tree)

    def part(self, node: Node, path: str) -> Node:
        """A file or directory inside a directory. Raises ThawError, MissingBlob."""
        if isinstance(node, TreeNode):
            tree = reapi.Tree.FromString(self.read(node.tree))
            found = find_part(tree, path)
            if isinstance(found, reapi.Tree):
                root = self.put_bytes(encode(found.root))
                return TreeNode(root, self.put_bytes(encode(found)))
            if found is not None:
                return FileNode(from_proto(found.digest), found.is_executable)
        raise ThawError(f"{path}: no such file or directory in the step's output")

    def unpacked(self, node: TreeNode) -> Path:
        """A read-only directory with the tree's files. Unpacked once. Raises MissingBlob."""
        final = self.top / "trees" / node.root.hash
        if final.is_dir():
            return final
        with self.lock(f"tree-{node.root.hash}"):
            if not final.is_dir():
                with self.temporary_directory() as work:
                    top = work / "tree"
                    for path, directory in self.read_tree(node):
                        self._unpack_directory(top / path, directory)
                    top.rename(final)
        return final

    def forget_unpacked(self, node: TreeNode) -> None:
        """Have the tree unpacked anew when it is next asked for."""
        remove(self.top / "trees" / node.root.hash)

    def _unpack_directory(self, path: Path, directory: reapi.Directory) -> None:
        path.mkdir()
        for link in directory.symlinks:
            (path / link.name).symlink_to(link.target)
        for file in directory.files:
            source = self.ensure(FileNode(from_proto(file.digest), file.is_executable))
            target = path / file.name
            try:
                os.link(source, target)
            except OSError as error:
                if error.errno != errno.EMLINK:
                    raise
                shutil.copy2(source, target)

    def lay_out(self, node: Node, target: Path) -> None:
        """Copy an artifact to where a person wants it: edits there never reach the store.

        Replaces what was there, whole or not at all. Raises MissingBlob.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        remove(temporary)
        try:
            if isinstance(node, FileNode):
                self._copy_out(node, temporary)
            else:
                self._copy_tree_out(node, temporary)
            if target.is_dir() or isinstance(node, TreeNode):
                remove(target)
            temporary.rename(target)
        except BaseException as error:
            remove(temporary)
            # A failed write does not say where.
            if isinstance(error, OSError) and str(temporary) in (error.filename or str(temporary)):
                error.filename = str(target)
            raise

    def _copy_tree_out(self, node: TreeNode, top: Path) -> None:
        try:
            for path, directory in self.read_tree(node):
                (top / path).mkdir()
                for link in directory.symlinks:
                    (top / path / link.name).symlink_to(link.target)
                for file in directory.files:
                    found = FileNode(from_proto(file.digest), file.is_executable)
                    self._copy_out(found, top / path / file.name)
        except MissingBlob:
            self.forget_unpacked(node)  # it shares its files with the damaged blobs
            raise

    def _copy_out(self, node: FileNode, target: Path) -> None:
        copy_file(self.ensure(node), target, node.executable)
        if Digest.of_file(target) != node.digest:
            self.discard(node.digest)
            raise MissingBlob(node.digest)

    def complete(self, node: Node) -> bool:
        """Whether everything an artifact is made of is here."""
        if isinstance(node, FileNode):
            return self.has(node.digest) or self.has(node.digest, True)
        if not (self.has(node.tree) and self.has(node.root)):
            return False
        if (self.top / "trees" / node.root.hash).is_dir():
            return True
        try:
            return all(
                self.has(from_proto(file.digest), executable=file.is_executable)
                for _, directory in self.read_tree(node)
                for file in directory.files
            )
        except (MissingBlob, DecodeError):
            return False

    # The action cache

    def get_result(self, action: Digest) -> reapi.ActionResult | None:
        """What an action gave before, or None. A damaged entry is removed."""
        path = self.top / "ac" / action.hash[:2] / action.hash
        try:
            checksum, _, data = path.read_bytes().partition(b"\n")
        except OSError:
            return None
        if Digest.of_bytes(data).hash.encode() != checksum:
            self.discard_result(action)
            return None
        return reapi.ActionResult.FromString(data)

    def discard_result(self, action: Digest) -> None:
        """Take an action's result, whose outputs are gone, out of the action cache."""
        (self.top / "ac" / action.hash[:2] / action.hash).unlink(missing_ok=True)

    def put_result(self, action: Digest, result: reapi.ActionResult) -> None:
        path = self.top / "ac" / action.hash[:2] / action.hash
        path.parent.mkdir(exist_ok=True)
        data = encode(result)
        write_atomically(path, Digest.of_bytes(data).hash.encode() + b"\n" + data)

    # Work space

    @contextlib.contextmanager
    def temporary_file(self) -> Iterator[Path]:
        descriptor, name = tempfile.mkstemp(dir=self.top / "tmp")
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def temporary_directory(self) -> Iterator[Path]:
        path = Path(tempfile.mkdtemp(dir=self.top / "tmp"))
        try:
            yield path
        finally:
            remove(path)

    @contextlib.contextmanager
    def build_directory(self) -> Iterator[Path]:
        """A directory to build in: in memory where there is plenty of it, else in ``tmp/``.

        A source tree is tens of thousands of files; making and removing them is what disks are
        slowest at.
        """
        path = Path(
            tempfile.mkdtemp(prefix=memory.prefix_for(self.top), dir=memory.SHM)
            if memory.is_plenty()
            else tempfile.mkdtemp(dir=self.top / "tmp")
        )
        try:
            yield path
        finally:
            remove(path)

    @contextlib.contextmanager
    def lock(self, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold a lock shared by every process on this store; the kernel drops it at a kill."""
        with open(self.top / "locks" / name, "w") as stream:
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    # Not a blocking flock: in a worker thread that would sleep through Ctrl-C.
                    interrupt.check()
                    if waiting:
                        waiting()
                        waiting = None
                    time.sleep(LOCK_POLL)
            yield
