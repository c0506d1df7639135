"""Directory trees: taken in, described, unpacked for sandboxes, laid out for people."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from google.protobuf.message import DecodeError

from thaw import interrupt
from thaw.blobs import Blobs, MissingBlob
from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.files import Look, copy_file, read_file, remove
from thaw.nodes import FileNode, Node, TreeNode, capture_tree, encode, from_proto

DIRECTORY_MODE = 0o755  # as an action sees it, whatever the user's umask


class Trees(Blobs):
    """Artifacts made of blobs; ``trees/`` has those that sandboxes mount."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        (top / "trees").mkdir(exist_ok=True)

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
        """Each directory of a tree, parents first, with its relative path.

        Raises MissingBlob for a message that is missing, or does not describe a tree: one may
        come from anybody's server.
        """
        tree = self._tree_message(node.tree)
        if Digest.of_bytes(encode(tree.root)).hash != node.root.hash:
            raise MissingBlob(node.root)
        children = {Digest.of_bytes(encode(child)).hash: child for child in tree.children}
        pending = [("", tree.root)]
        while pending:
            path, directory = pending.pop()
            if not _is_sound(directory):
                self.discard(node.tree)
                raise MissingBlob(node.tree)
            yield path, directory
            for child in directory.directories:
                if child.digest.hash not in children:
                    self.discard(node.tree)
                    raise MissingBlob(from_proto(child.digest))
                pending.append((os.path.join(path, child.name), children[child.digest.hash]))

    def _tree_message(self, tree: Digest) -> reapi.Tree:
        try:
            return reapi.Tree.FromString(self.read(tree))
        except DecodeError as error:
            self.discard(tree)
            raise MissingBlob(tree) from error

    def tree_node(self, tree: Digest) -> TreeNode | None:
        """The artifact that a Tree message describes, or None if it is not here."""
        try:
            message = self._tree_message(tree)
        except MissingBlob:
            return None
        return TreeNode(self.put_bytes(encode(message.root)), tree)

    def _unpacked_path(self, node: TreeNode) -> Path:
        return self.top / "trees" / self.path(node.root).name

    def unpacked(self, node: TreeNode) -> Path:
        """A read-only directory with the tree's files. Unpacked once. Raises MissingBlob."""
        final = self._unpacked_path(node)
        with self.using():
            self.use(self._path(node.tree, False))  # what is used of a result keeps all of it
            if final.is_dir():
                self.use(str(final))
                return final
        with self.lock(f"tree-{node.root.hash}"):
            if not final.is_dir():
                with self.temporary_directory() as work:
                    top = work / "tree"
                    self._unpack(node, top)
                    self.clear(final)
                    top.rename(final)
            self.use(str(final))
        return final

    def forget_unpacked(self, node: TreeNode) -> None:
        """Have the tree unpacked anew when it is next asked for."""
        self.set_aside(self._unpacked_path(node))

    def _unpack(self, node: TreeNode, top: Path) -> None:
        directories = []
        for path, directory in self.read_tree(node):
            self._unpack_directory(top / path, directory)
            directories.append(top / path)
        for made in reversed(directories):
            made.chmod(DIRECTORY_MODE)
            self._stamp(made)

    def _unpack_directory(self, path: Path, directory: reapi.Directory) -> None:
        path.mkdir()
        for link in directory.symlinks:
            (path / link.name).symlink_to(link.target)
            self._stamp(path / link.name)
        for file in directory.files:
            source = self.ensure(FileNode(from_proto(file.digest), file.is_executable))
            target = path / file.name
            try:
                os.link(source, target)
            except FileNotFoundError as error:
                raise MissingBlob(from_proto(file.digest)) from error
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
        files: list[tuple[FileNode, Path]] = []
        try:
            for path, directory in self.read_tree(node):
                (top / path).mkdir()
                for link in directory.symlinks:
                    (top / path / link.name).symlink_to(link.target)
                for file in directory.files:
                    found = FileNode(from_proto(file.digest), file.is_executable)
                    files.append((found, top / path / file.name))
            files.sort(key=lambda file: -file[0].digest.size)  # the last ones end together
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for _ in pool.map(lambda file: self._copy_out(*file), files):
                    interrupt.check()
        except MissingBlob:
            self.forget_unpacked(node)  # it shares its files with the damaged blobs
            raise

    def _copy_out(self, node: FileNode, target: Path) -> None:
        source = self.ensure(node)

        def copy(look: Look) -> None:
            copy_file(source, target, node.executable, look)

        try:
            good = self._seals.good(node.digest, copy, lambda look: read_file(target, look))
        except (FileNotFoundError, PermissionError) as error:
            if error.filename != str(source):
                raise
            good = False
        if not good:
            self.set_aside(source)
            raise MissingBlob(node.digest)

    def complete(self, node: Node) -> bool:
        """Whether everything an artifact is made of is here."""
        if isinstance(node, FileNode):
            return any(self.keep(node.digest, x) for x in (node.executable, not node.executable))
        if not (self.keep(node.tree) and self.keep(node.root)):
            return False
        with self.using():
            try:
                if self._unpacked_path(node).is_dir():
                    return True
                return all(
                    self.has(from_proto(file.digest), file.is_executable)
                    or self.has(from_proto(file.digest), not file.is_executable)
                    for _, directory in self.read_tree(node)
                    for file in directory.files
                )
            except MissingBlob:
                return False


def _is_sound(directory: reapi.Directory) -> bool:
    """Whether every name is one, of one thing, in this directory and nowhere else."""
    names = [file.name for file in directory.files]
    names += [child.name for child in directory.directories]
    names += [link.name for link in directory.symlinks]
    return len(set(names)) == len(names) and not any(
        name in ("", ".", "..") or "/" in name or "\0" in name for name in names
    )
