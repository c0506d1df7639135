"""Artifacts: known by digest everywhere, here in bytes only when someone needs them.

A result of a remote cache is a few digests. What a sandbox mounts or a person wants in ``out/`` is
brought into the store then, and not before.
"""

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw import outputs as output_messages
from thaw.digest import Digest
from thaw.nodes import FileNode, Node, TreeNode, encode, from_proto, in_order
from thaw.store import MissingBlob, Store
from thaw.trace import span

if TYPE_CHECKING:  # gRPC takes a while to import, and most runs have no server
    from thaw.remote.service import Remote


class Artifacts:
    """The store, and the server that has what is not in it."""

    def __init__(self, store: Store, remote: "Remote | None" = None) -> None:
        self.store = store
        self.remote = remote

    def bring(self, nodes: Iterable[Node], what: str) -> None:
        """Have all that the artifacts are made of in the store. Raises MissingBlob, Interrupted."""
        absent = [node for node in nodes if not self.store.complete(node)]
        if not absent:
            return
        trees = [node for node in absent if isinstance(node, TreeNode)]
        self._fetch_trees([node.tree for node in trees if not self.store.has(node.tree)], what)
        wanted: dict[Digest, bool] = {}
        for node in absent:
            files = self._files(node, what) if isinstance(node, TreeNode) else [node]
            for file in files:
                if not (self.store.has(file.digest) or self.store.has(file.digest, True)):
                    wanted[file.digest] = file.executable
        self._fetch(wanted, what, lambda path, d: self.store.adopt(path, d, wanted[d]))

    def message(self, tree: Digest, what: str) -> reapi.Tree:
        """A Tree message. Raises MissingBlob."""
        if not self.store.has(tree):
            self._fetch_trees([tree], what)
        return reapi.Tree.FromString(self.store.read(tree))

    def _files(self, node: TreeNode, what: str) -> list[FileNode]:
        """The files of a tree whose message is here. Raises MissingBlob."""
        root = encode(reapi.Tree.FromString(self.store.read(node.tree)).root)
        if self.store.put_bytes(root) != node.root and self.remote is not None:
            self.remote.distrust(f"{what}: gave another root directory than its tree has")
        return [
            FileNode(from_proto(file.digest), file.is_executable)
            for _, directory in self.store.read_tree(node)
            for file in directory.files
        ]

    def _fetch_trees(self, trees: Collection[Digest], what: str) -> None:
        """Fetch Tree messages; one that no honest server has never gets into the store."""
        if not trees:
            return
        from thaw.remote import vet
        from thaw.remote.failure import Lie

        def save(path: Path, digest: Digest) -> None:
            vet.check_tree(path.read_bytes())
            self.store.adopt(path, digest)

        try:
            self._fetch(trees, what, save)
        except Lie as lie:
            assert self.remote is not None  # it lied
            self.remote.distrust(f"{what}: {lie}")
            raise MissingBlob(next(iter(trees))) from lie

    def _fetch(
        self, wanted: Collection[Digest], what: str, save: Callable[[Path, Digest], None]
    ) -> None:
        if not wanted:
            return
        if self.remote is None:
            raise MissingBlob(next(iter(wanted)))
        size = sum(digest.size for digest in wanted)
        if size > shutil.disk_usage(self.store.top).free:
            self.remote.distrust(f"{what}: names {size} bytes, more than fits here")
        with span(what, "fetch"):
            self.remote.fetch(wanted, what, self.store.temporary_file, save)

    # Results of the remote cache

    def find(self, action: Digest, name: str, promised: Iterable[str]) -> reapi.ActionResult | None:
        """What a server says an action gave, or None. It has the promised outputs."""
        if self.remote is None:
            return None
        paths = [output_messages.DIRECTORY + output for output in promised]
        with span(name, "lookup"):
            return self.remote.get_result(action, name, paths)

    def outputs(self, result: reapi.ActionResult, name: str) -> dict[str, Node]:
        """A server's result as artifacts. Raises MissingBlob."""
        from thaw.remote import roots

        known = roots.roots_of(result)

        def tree_of(tree: Digest) -> TreeNode:
            if tree in known:
                # The root directory of a toolchain is part of its users' keys.
                return TreeNode(self.store.put_bytes(known[tree]), tree)
            message = in_order(self.message(tree, name))
            root = self.store.put_bytes(encode(message.root))
            return TreeNode(root, self.store.put_bytes(encode(message)))

        return output_messages.from_result(result, tree_of)

    def publish(
        self,
        action: Digest,
        messages: Mapping[Digest, bytes],
        result: reapi.ActionResult,
        outputs: Iterable[Node],
        name: str,
    ) -> None:
        """Give a result to the server, blobs first. Raises MissingBlob for one damaged here."""
        from thaw.remote import roots

        assert self.remote is not None  # its caller looked
        blobs: dict[Digest, Path | bytes] = dict(messages)
        tops: dict[Digest, bytes] = {}
        for node in outputs:
            blobs.update(self.blobs(node, name))
            if isinstance(node, TreeNode):
                tops[node.tree] = self.store.read(node.root)
                blobs[node.tree] = self.store.path(node.tree)
        given = roots.with_roots(result, tops)
        if given.HasField("stdout_digest"):
            log = from_proto(given.stdout_digest)
            if self.store.intact(log) or not self.remote.missing([log]):
                blobs[log] = self.store.path(log)
            else:
                given.ClearField("stdout_digest")  # no reason to run the action again
        with span(name, "upload"):
            if self.remote.upload(blobs, name):
                self.remote.put_result(action, given)

    def blobs(self, node: Node, what: str) -> dict[Digest, Path | bytes]:
        """Every blob of an artifact, directories included, with where it is or should be."""
        if isinstance(node, FileNode):
            return {node.digest: self._place(node)}
        message = self.message(node.tree, what)
        found: dict[Digest, Path | bytes] = {}
        for directory in (message.root, *message.children):
            data = encode(directory)
            found[Digest.of_bytes(data)] = data
            for file in directory.files:
                node = FileNode(from_proto(file.digest), file.is_executable)
                found[node.digest] = self._place(node)
        return found

    def set_aside(self, nodes: Iterable[Node], digest: Digest) -> None:
        """Take a damaged blob out of the store, and what was unpacked of it."""
        for node in nodes:
            if isinstance(node, TreeNode):
                self.store.forget_unpacked(node)
        for executable in (False, True):
            self.store.intact(digest, executable)

    def _place(self, file: FileNode) -> Path:
        other = self.store.has(file.digest, not file.executable)
        mine = self.store.has(file.digest, file.executable) or not other
        return self.store.path(file.digest, file.executable == mine)
