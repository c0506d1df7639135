"""What a cache directory holds: each thing with its size, its last use, and what it keeps alive.

Reading it is no use of it: files are opened so that their access times stay.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from google.protobuf.message import DecodeError

from thaw.digest import Digest
from thaw.nodes import FileNode, Node, TreeNode, encode, from_proto
from thaw.results import parse_entry

BLOCK = 4096  # bytes: what a small file or a directory takes at least
UNIT = 512  # bytes in one of ``st_blocks``


class Kind(IntEnum):
    """In the order in which things of the same last use go: nothing before what needs it."""

    RESULT = 0  # an entry of the action cache
    TREE = 1  # an unpacked directory
    BLOB = 2
    CCACHE = 3
    FAILED = 4
    DAMAGED = 5
    WORK = 6  # in progress, or not ours: never evicted


NAMES = {
    Kind.RESULT: "results of actions",
    Kind.TREE: "unpacked trees",
    Kind.BLOB: "files",
    Kind.CCACHE: "compiler caches",
    Kind.FAILED: "sandboxes of failures",
    Kind.DAMAGED: "damaged",
    Kind.WORK: "work in progress",
}


@dataclass(slots=True)
class Item:
    """One thing in the cache.

    size: bytes on disk that go with it; those of hard links count as the blob's
    own: when it was last used itself, in nanoseconds of the epoch
    used: when it, or what needs it, was last used
    roots: further files whose use is its use
    holds: names of the blobs that it needs
    """

    kind: Kind
    path: str
    size: int
    own: int
    used: int
    roots: tuple[str, ...] = ()
    holds: frozenset[str] = frozenset()


@dataclass
class Inventory:
    """Everything in a cache directory. Blobs by name: ``<sha256>`` or ``<sha256>.x``."""

    top: Path
    items: list[Item] = field(default_factory=list)
    blobs: dict[str, Item] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)

    def of(self, kind: Kind) -> list[Item]:
        return [item for item in self.items if item.kind == kind]


def take(top: Path) -> Inventory:
    """Look at all of a cache directory. Raises OSError."""
    found = Inventory(top)
    by_inode = {}
    for shelf in _paths(top / "cas"):
        for path, entry in _entries(shelf):
            with contextlib.suppress(FileNotFoundError):
                about = entry.stat(follow_symlinks=False)
                used = about.st_atime_ns
                found.blobs[entry.name] = Item(Kind.BLOB, path, _size(about), used, used)
                by_inode[about.st_ino] = entry.name
    found.items += found.blobs.values()
    for shelf in _paths(top / "ac"):
        for path in _paths(shelf):
            with contextlib.suppress(FileNotFoundError):
                found.items.append(_result(path, found))
    for path in _paths(top / "trees"):
        with contextlib.suppress(FileNotFoundError):
            found.items.append(_tree(path, by_inode))
    kinds = {"ccache": Kind.CCACHE, "failed": Kind.FAILED, "damaged": Kind.DAMAGED}
    for name, kind in kinds.items():
        found.items += [_whole(kind, path) for path in _paths(top / name)]
    listed = {"cas", "ac", "trees", *kinds}
    found.items += [_whole(Kind.WORK, p) for p in _paths(top) if os.path.basename(p) not in listed]
    for item in found.items:
        for name in item.holds & found.blobs.keys():
            found.blobs[name].used = max(found.blobs[name].used, item.used)
    return found


def last_use(item: Item) -> int:
    """When it was last used itself, as of now, in nanoseconds. Raises OSError if it is gone."""
    used = os.lstat(item.path).st_atime_ns
    for path in item.roots:
        with contextlib.suppress(OSError):
            used = max(used, os.lstat(path).st_atime_ns)
    return used


def blobs_of(top: Path, node: Node) -> Iterator[str]:
    """Names of the blobs that an artifact is made of, as far as its messages are here."""
    if isinstance(node, FileNode):
        yield _file_name(node)
        return
    yield from (node.tree.hash, node.root.hash)
    with contextlib.suppress(DecodeError):
        tree = reapi.Tree.FromString(_blob(top, node.tree))
        for directory in (tree.root, *tree.children):
            for file in directory.files:
                yield f"{file.digest.hash}.x" if file.is_executable else file.digest.hash


def _result(path: str, found: Inventory) -> Item:
    """An entry of the action cache. It is used when one of its outputs is."""
    about = os.lstat(path)
    result = parse_entry(os.path.basename(path), _read(path)) or reapi.ActionResult()
    nodes = list(_outputs(found.top, result))
    direct = [n.tree.hash if isinstance(n, TreeNode) else _file_name(n) for n in nodes]
    roots = [found.blobs[name] for name in direct if name in found.blobs]
    holds = {name for node in nodes for name in blobs_of(found.top, node)}
    holds |= {result.stdout_digest.hash, result.stderr_digest.hash}
    used = max([about.st_atime_ns, *(item.own for item in roots)])
    paths = tuple(item.path for item in roots)
    return Item(Kind.RESULT, path, _size(about), used, used, paths, frozenset(holds))


def _outputs(top: Path, result: reapi.ActionResult) -> Iterator[Node]:
    for file in result.output_files:
        yield FileNode(from_proto(file.digest), file.is_executable)
    for directory in result.output_directories:
        tree = from_proto(directory.tree_digest)
        with contextlib.suppress(DecodeError):
            message = reapi.Tree.FromString(_blob(top, tree))
            yield TreeNode(Digest.of_bytes(encode(message.root)), tree)


def _tree(top: str, by_inode: dict[int, str]) -> Item:
    """An unpacked tree: its directories, and files that are no links to blobs."""
    about = os.lstat(top)
    used, size, holds, pending = about.st_atime_ns, BLOCK, set(), [top]
    while pending:
        for path, entry in _entries(pending.pop()):
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
                size += BLOCK
            elif entry.inode() in by_inode:
                holds.add(by_inode[entry.inode()])
            elif not entry.is_symlink():
                with contextlib.suppress(OSError):
                    size += _size(entry.stat(follow_symlinks=False))
    return Item(Kind.TREE, top, size, used, used, (), frozenset(holds))


def _whole(kind: Kind, top: str) -> Item:
    """A file or a directory with all in it, whose last use is when something in it changed."""
    with contextlib.suppress(OSError):
        about = os.lstat(top)
        used, size, pending = max(about.st_atime_ns, about.st_mtime_ns), _size(about), [top]
        while pending:
            for path, entry in _entries(pending.pop()):
                with contextlib.suppress(OSError):
                    about = entry.stat(follow_symlinks=False)
                    used, size = max(used, about.st_mtime_ns), size + _size(about)
                    if stat.S_ISDIR(about.st_mode):
                        pending.append(path)
        return Item(kind, top, size, used, used)
    return Item(kind, top, 0, 0, 0)


def _entries(directory: str | Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What is in a directory, with paths; nothing if it is none, is a link, or is gone."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME
    try:
        descriptor = os.open(directory, flags)
    except OSError:
        return
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                yield f"{directory}/{entry.name}", entry
    finally:
        os.close(descriptor)


def _paths(directory: str | Path) -> list[str]:
    return [path for path, _ in _entries(directory)]


def _blob(top: Path, digest: Digest) -> bytes:
    return _read(top / "cas" / digest.hash[:2] / digest.hash)


def _file_name(node: FileNode) -> str:
    return f"{node.digest.hash}.x" if node.executable else node.digest.hash


def _size(about: os.stat_result) -> int:
    return max(about.st_size, about.st_blocks * UNIT)


def _read(path: str | Path) -> bytes:
    """A file's bytes, without marking it as used; empty if it can't be read."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOATIME)
        with open(descriptor, "rb") as stream:
            return stream.read()
    return b""
