"""Messages of a server are looked at before they are believed."""

import re
from collections.abc import Collection
from typing import Any

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from google.protobuf.message import DecodeError

from thaw.digest import Digest
from thaw.nodes import encode, from_proto
from thaw.remote.failure import Lie

ENTRIES = 2_000_000  # in a tree, as unpacked
DEPTH = 200  # directories in directories


def digest(message: reapi.Digest) -> Digest:
    """A well-formed digest. Raises Lie."""
    if re.fullmatch(r"[0-9a-f]{64}", message.hash) is None or message.size_bytes < 0:
        raise Lie(f"gave a digest that is none: {message.hash[:80]!r}")
    return from_proto(message)


def check_result(answer: reapi.ActionResult, outputs: Collection[str]) -> None:
    """A result has every promised output (path as in the Command) once, and no other.

    Raises Lie.
    """
    if answer.exit_code != 0:
        raise Lie(f"gave the result of an action that failed: exit code {answer.exit_code}")
    links: tuple[Any, ...] = (
        *answer.output_symlinks,
        *answer.output_file_symlinks,
        *answer.output_directory_symlinks,
    )
    paths = [entry.path for entry in (*answer.output_files, *answer.output_directories, *links)]
    if sorted(paths) != sorted(set(outputs)):
        raise Lie("gave a result with other outputs than the action has")
    if links:
        raise Lie("gave a result with a symbolic link as output")
    for file in answer.output_files:
        digest(file.digest)
    for directory in answer.output_directories:
        digest(directory.tree_digest)
    for log in (answer.stdout_digest, answer.stderr_digest):
        if log.hash:
            digest(log)


def check_directory(message: reapi.Directory) -> None:
    """Names are plain and given once, digests well-formed. Raises Lie."""
    files: list[Any] = [*message.files, *message.directories]
    names = [entry.name for entry in (*files, *message.symlinks)]
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise Lie(f"gave a directory with the name {name[:80]!r}")
    if len(set(names)) != len(names):
        raise Lie("gave a directory that has a name twice")
    for link in message.symlinks:
        if not link.target or "\0" in link.target:
            raise Lie(f"gave a symbolic link without a target: {link.name!r}")
    for entry in files:
        digest(entry.digest)


def check_tree(data: bytes) -> None:
    """An encoded Tree has every directory, and is neither too large nor too deep to unpack.

    Sizes are summed over the messages, not over what they unpack to: a few hundred bytes can
    stand for 2^60 files. Raises Lie.
    """
    try:
        message = reapi.Tree.FromString(data)
    except DecodeError:
        raise Lie("gave a tree that can't be read") from None
    children: dict[str, reapi.Directory] = {}
    for child in message.children:
        check_directory(child)
        children[Digest.of_bytes(encode(child)).hash] = child
    check_directory(message.root)
    known: dict[str, tuple[int, int]] = {}  # hash -> entries below it, directories below it

    def measure(top: reapi.Directory, level: int) -> tuple[int, int]:
        if level > DEPTH:
            raise Lie(f"gave a tree deeper than {DEPTH} directories")
        count, depth = len(top.files) + len(top.symlinks) + len(top.directories), 0
        for entry in top.directories:
            name = entry.digest.hash
            if name not in children:
                raise Lie(f"gave a tree without its directory {entry.name!r}")
            if name not in known:
                known[name] = measure(children[name], level + 1)
            below, deep = known[name]
            count, depth = count + below, max(depth, deep + 1)
            if count > ENTRIES or depth > DEPTH:
                raise Lie(f"gave a tree with more than {ENTRIES} entries or {DEPTH} levels")
        return count, depth

    measure(message.root, 0)
