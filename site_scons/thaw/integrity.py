"""Nothing from the store is used unread: a flipped bit must not reach a result.

Before an action runs, every file it will see is hashed, once in a process, and all else that the
action could see of it is compared. What is not as it should be is set aside, so that it counts as
missing and is made again. A time stamp would be cheaper, but a disk that loses bits does not
change time stamps.
"""

import os
import stat
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from thaw import interrupt
from thaw.nodes import FileNode, Node, TreeNode, from_proto
from thaw.store import MissingBlob, Store
from thaw.trees import DIRECTORY_MODE

BATCH = 50  # files: what a thread takes at a time

File = tuple[str, FileNode]


class Verifier:
    """Checks artifacts of one store, and remembers for this process which were good."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._good: set[Node] = set()
        self._guard = threading.Lock()

    def check(self, nodes: Iterable[Node]) -> None:
        """Raises MissingBlob for a damaged artifact, which is out of the store then."""
        with self._guard:  # two actions that start together share the work
            for node in nodes:
                if node not in self._good:
                    if isinstance(node, FileNode):
                        self._check_file(node)
                    else:
                        self._check_tree(node)
                    self._good.add(node)

    def _check_file(self, node: FileNode) -> None:
        path = self._store.ensure(node)
        if not self._store.is_good(str(path), node):
            self._store.set_aside(path)
            raise MissingBlob(node.digest)

    def _check_tree(self, node: TreeNode) -> None:
        top = self._store.unpacked(node)
        try:
            bad = _bad(self._store, list(self._members(node, top)))
        except MissingBlob:
            self._store.forget_unpacked(node)
            raise
        if bad:
            self._store.forget_unpacked(node)
            for file in bad:  # the blob may be the same file, or a good one to unpack again
                self._store.intact(file.digest, file.executable)
            raise MissingBlob(bad[0].digest)

    def _members(self, node: TreeNode, top: Path) -> Iterator[File]:
        """Every file of an unpacked tree. Raises MissingBlob if all else is not as it should be."""
        for path, directory in self._store.read_tree(node):
            here = os.path.join(top, path) if path else f"{top}/."
            names = {file.name for file in directory.files}
            names |= {child.name for child in directory.directories}
            names |= {link.name for link in directory.symlinks}
            try:
                about = os.lstat(here)
                same = stat.S_ISDIR(about.st_mode) and set(os.listdir(here)) == names
                same = same and stat.S_IMODE(about.st_mode) == DIRECTORY_MODE
                links = all(os.readlink(f"{here}/{k.name}") == k.target for k in directory.symlinks)
            except OSError as error:
                raise MissingBlob(node.root) from error
            if not (same and links):
                raise MissingBlob(node.root)
            for file in directory.files:
                node_of_file = FileNode(from_proto(file.digest), file.is_executable)
                yield f"{here}/{file.name}", node_of_file


def _bad(store: Store, files: list[File]) -> list[FileNode]:
    """The files that are not what they should be."""

    def bad_of(batch: list[File]) -> list[FileNode]:
        interrupt.check()
        return [node for path, node in batch if not store.is_good(path, node)]

    batches = [files[i : i + BATCH] for i in range(0, len(files), BATCH)]
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        return [node for found in pool.map(bad_of, batches) for node in found]
    finally:
        pool.shutdown(cancel_futures=True)
