"""Artifacts: files and directory trees by digest, in the Remote Execution API's messages.

Spec: build.bazel.remote.execution.v2 (Directory, Tree). Only what the API can say is kept of a
file: its bytes and whether it is executable. Owners, times and other mode bits do not exist, so
they cannot differ between two builds.
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw.digest import Digest
from thaw.errors import ThawError

# 2026-01-01 00:00:00 UTC, in seconds: the date of everything that must have one.
SOURCE_DATE_EPOCH = 1767225600

SaveFile = Callable[[Path, bool], Digest]
SaveBytes = Callable[[bytes], Digest]


@dataclass(frozen=True, slots=True)
class FileNode:
    """One file."""

    digest: Digest
    executable: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"file": str(self.digest), "executable": self.executable}


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A directory: the digest of its root Directory message, and of its Tree message."""

    root: Digest
    tree: Digest

    def to_json(self) -> dict[str, Any]:
        return {"tree": str(self.tree), "root": str(self.root)}


Node = FileNode | TreeNode


def node_from_json(value: Mapping[str, Any]) -> Node:
    """The inverse of ``to_json``. Raises ValueError, KeyError."""
    if "file" in value:
        return FileNode(Digest.parse(value["file"]), bool(value["executable"]))
    return TreeNode(Digest.parse(value["root"]), Digest.parse(value["tree"]))


def to_proto(digest: Digest) -> reapi.Digest:
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size)


def from_proto(message: reapi.Digest) -> Digest:
    return Digest(message.hash, message.size_bytes)


def encode(message: Any) -> bytes:
    """Canonical bytes of a protobuf message: what digests are taken of."""
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def capture_tree(top: Path, save_file: SaveFile, save_bytes: SaveBytes) -> TreeNode:
    """Save every file below ``top`` and describe the directory.

    Raises ThawError for anything that is not a file, a directory or a symbolic link, and for a
    name that the API can't say.
    """
    children: dict[str, reapi.Directory] = {}

    def walk(directory: Path) -> reapi.Directory:
        message = reapi.Directory()
        for entry in sorted(os.scandir(directory), key=lambda e: e.name):
            path = directory / entry.name
            if entry.is_symlink():
                message.symlinks.add(name=entry.name, target=os.readlink(path))
            elif entry.is_dir():
                child = walk(path)
                digest = Digest.of_bytes(encode(child))
                children.setdefault(digest.hash, child)
                message.directories.add(name=entry.name, digest=to_proto(digest))
            elif entry.is_file():
                executable = bool(entry.stat().st_mode & stat.S_IXUSR)
                message.files.add(
                    name=entry.name,
                    digest=to_proto(save_file(path, executable)),
                    is_executable=executable,
                )
            else:
                raise ThawError(f"{path}: not a file, directory or symbolic link")
        return message

    try:
        root = walk(top)
    except UnicodeEncodeError as error:
        raise ThawError(f"{top}: has a name or link that is not UTF-8: {error.object!r}") from error
    tree = reapi.Tree(root=root, children=children.values())
    return TreeNode(save_bytes(encode(root)), save_bytes(encode(tree)))


def in_order(tree: reapi.Tree) -> reapi.Tree:
    """The same tree with its children as ``capture_tree`` orders them: servers differ in that.

    Raises KeyError if a child is missing.
    """
    given = {Digest.of_bytes(encode(child)).hash: child for child in tree.children}
    ordered: dict[str, reapi.Directory] = {}

    def add(directory: reapi.Directory) -> None:
        for entry in directory.directories:
            if entry.digest.hash not in ordered:
                add(given[entry.digest.hash])
                ordered[entry.digest.hash] = given[entry.digest.hash]

    add(tree.root)
    return reapi.Tree(root=tree.root, children=ordered.values())


def build_tree(files: Mapping[str, Node], save_bytes: SaveBytes, base: bytes = b"") -> Digest:
    """The digest of the Directory that has ``files`` at their paths, on top of ``base``.

    ``base`` is an encoded Directory; a top-level name of ``files`` replaces the one in it.
    Directories of other artifacts are referred to by digest, never read.
    """
    nested: dict[str, Any] = {}
    for path, node in files.items():
        *parents, name = PurePosixPath(path.lstrip("/")).parts
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise ThawError(f"input {path}: lies inside another input")
        if name in level:
            raise ThawError(f"input {path}: given twice")
        level[name] = node

    def encode_level(level: Mapping[str, Any], base: bytes = b"") -> Digest:
        message = reapi.Directory.FromString(base)
        files = {f.name: f for f in message.files if f.name not in level}
        directories = {d.name: d for d in message.directories if d.name not in level}
        for name, value in level.items():
            if isinstance(value, FileNode):
                files[name] = reapi.FileNode(
                    name=name, digest=to_proto(value.digest), is_executable=value.executable
                )
            else:
                digest = value.root if isinstance(value, TreeNode) else encode_level(value)
                directories[name] = reapi.DirectoryNode(name=name, digest=to_proto(digest))
        result = reapi.Directory(
            files=[files[n] for n in sorted(files)],
            directories=[directories[n] for n in sorted(directories)],
            symlinks=message.symlinks,
        )
        return save_bytes(encode(result))

    return encode_level(nested, base)
