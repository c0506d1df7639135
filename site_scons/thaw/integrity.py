"""Nothing from the store is used unread: a flipped bit must not reach a result.

Before an action runs, every file it will see is hashed, once in a process. What is not what its
name says is taken out of the store, so that it counts as missing and is made again. A time stamp
would be cheaper, but a disk that loses bits does not change time stamps.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from thaw import interrupt
from thaw.digest import Digest
from thaw.nodes import FileNode, Node, TreeNode, from_proto
from thaw.store import MissingBlob, Store

File = tuple[Path, Digest]


class Verifier:
    """Checks artifacts of one store, and remembers for this process which were good."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._good: set[Digest] = set()
        self._guard = Lock()

    def check(self, nodes: Iterable[Node]) -> None:
        """Raises MissingBlob for a damaged artifact, which is out of the store then."""
        with self._guard:  # two actions that start together share the work
            for node in nodes:
                name = node.digest if isinstance(node, FileNode) else node.root
                if name not in self._good:
                    self._check(node)
                    self._good.add(name)

    def _check(self, node: Node) -> None:
        if isinstance(node, FileNode):
            self._check_files([(self._store.ensure(node), node.digest)])
            return
        try:
            self._check_files(self._files(node))
        except MissingBlob:
            self._store.forget_unpacked(node)  # it shares its files with the blobs
            raise

    def _files(self, node: TreeNode) -> Iterator[File]:
        """Every file of an unpacked tree. Raises MissingBlob if it has others than it should."""
        top = self._store.unpacked(node)
        for path, directory in self._store.read_tree(node):
            here = top / path
            names = {file.name for file in directory.files}
            names |= {child.name for child in directory.directories}
            names |= {link.name for link in directory.symlinks}
            if not here.is_dir() or set(os.listdir(here)) != names:
                raise MissingBlob(node.root)
            if any(os.readlink(here / link.name) != link.target for link in directory.symlinks):
                raise MissingBlob(node.root)
            for file in directory.files:
                yield here / file.name, from_proto(file.digest)

    def _check_files(self, files: Iterable[File]) -> None:
        def is_good(file: File) -> bool:
            interrupt.check()
            path, digest = file
            try:
                return Digest.of_file(path) == digest
            except OSError:
                return False

        every = list(files)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            bad = [f for f, good in zip(every, pool.map(is_good, every), strict=True) if not good]
        for _, digest in bad:
            self._store.discard(digest)
        if bad:
            raise MissingBlob(bad[0][1])
