"""Toolchains: what a step's root file system is made of, from a lock to a tree.

``<name>.yaml`` says what is asked for, ``<name>.lock`` (JSON) which exact files that is. Debian
packages are unpacked without running their scripts; what a step needs of what those would have
done stands in the yaml as ``links`` and ``files``.

The tree is the result of an action like any other: its key is that of a Command
``thaw-toolchain`` whose input root holds the packages, so it is cached, and with a warm cache
nothing is downloaded to know it.
"""

import json
import os
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw import interrupt, progress, yamlfile
from thaw.digest import UNKNOWN_SIZE, Digest
from thaw.errors import ThawError
from thaw.fetch import Fetcher, Source
from thaw.nodes import FileNode, Node, TreeNode, build_tree, encode, to_proto
from thaw.store import Store
from thaw.treebuilder import DAMAGED, MERGED, TreeBuilder, damaged

# Changes whenever the same packages would give another tree.
UNPACKER = "1"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["suite", "packages"],
    "properties": {
        "suite": {"type": "string"},
        "packages": {"type": "array", "items": {"type": "string"}},
        "links": {"type": "object", "additionalProperties": {"type": "string"}},
        "files": {"type": "object", "additionalProperties": {"type": "string"}},
        "drop": {"type": "array", "items": {"type": "string"}},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "archives": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["url", "sha256", "to"],
                "properties": {
                    "url": {"type": "string"},
                    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    "size": {"type": "integer", "minimum": 1},
                    "strip": {"type": "integer", "minimum": 0},
                    "to": {"type": "string"},
                },
            },
        },
        "installed": {
            "type": "object",
            "additionalProperties": False,
            "required": ["variable", "to"],
            "properties": {"variable": {"type": "string"}, "to": {"type": "string"}},
        },
    },
}


@dataclass(frozen=True)
class Toolchain:
    """A toolchain's description and lock, read and checked.

    installed: a directory of this machine that takes the place of the archives, or None
    """

    name: str
    spec: Mapping[str, Any]
    packages: tuple[Source, ...]
    archives: tuple[Source, ...]
    installed: Path | None

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.spec.get("env", {}))

    @property
    def sources(self) -> tuple[Source, ...]:
        return self.packages if self.installed else self.packages + self.archives


def read(path: Path) -> Toolchain:
    """Read ``<name>.yaml`` and its lock. Raises ThawError."""
    spec = yamlfile.load(path, SCHEMA)
    lock_path = path.with_suffix(".lock")
    lock = read_lock(lock_path)
    if lock["suite"] != spec["suite"] or lock["asked"] != sorted(spec["packages"]):
        raise ThawError(
            f"{lock_path}: was made for other packages than {path} asks for",
            remedy="renew it: ./sconsw relock",
        )
    packages = [Source.from_json(e["debian"].rpartition("/")[2], e) for e in lock["packages"]]
    archives = [
        Source(_file_name(a), Digest(a["sha256"], a.get("size", UNKNOWN_SIZE)), url=a["url"])
        for a in spec.get("archives", [])
    ]
    return Toolchain(path.stem, spec, tuple(packages), tuple(archives), _installed(spec, path))


def _file_name(archive: Mapping[str, Any]) -> str:
    # A release's archives are all called the same: the name in a --distdir has its hash.
    return f"{archive['sha256'][:12]}-{archive['url'].rpartition('/')[2]}"


def read_lock(path: Path) -> dict[str, Any]:
    try:
        lock = json.loads(path.read_text())
        lock["asked"], lock["suite"]
        for package in lock["packages"]:
            package["debian"], Digest.parse(f"{package['sha256']}/{package['size']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ThawError(
            f"{path}: no usable lock: {type(error).__name__}: {error}",
            remedy="make it: ./sconsw relock",
        ) from error
    return dict(lock)


def _installed(spec: Mapping[str, Any], path: Path) -> Path | None:
    variable = spec.get("installed", {}).get("variable", "")
    value = os.environ.get(variable, "") if variable else ""
    if not value:
        return None
    if not Path(value).is_dir():
        raise ThawError(
            f"${variable}: {value} is not a directory",
            remedy=f"point it at an installed toolchain, or unset it to use {path}'s archives",
        )
    return Path(value)


def action_digest(toolchain: Toolchain, store: Store) -> Digest:
    """The key of the tree: every package and everything the yaml adds."""
    recipe = {
        key: toolchain.spec[key]
        for key in ("links", "files", "drop", "archives")
        if key in toolchain.spec and not (key == "archives" and toolchain.installed)
    }
    command = reapi.Command(
        arguments=["thaw-toolchain", UNPACKER, json.dumps(recipe, sort_keys=True)]
    )
    # Unpacking order is part of the result when two packages have the same file.
    inputs: dict[str, Node] = {
        f"/{index:04}-{source.name}": FileNode(source.digest)
        for index, source in enumerate(toolchain.packages)
    }
    if toolchain.installed:
        inputs["/installed"] = store.capture(toolchain.installed)
    action = reapi.Action(
        command_digest=to_proto(Digest.of_bytes(encode(command))),
        input_root_digest=to_proto(build_tree(inputs, Digest.of_bytes)),
    )
    return Digest.of_bytes(encode(action))


def unpack(toolchain: Toolchain, store: Store, fetcher: Fetcher) -> TreeNode:
    """Fetch what the lock names and make the tree. Raises ThawError, Interrupted."""
    name = f"toolchain {toolchain.name}"
    fetcher.ensure(toolchain.sources, name)
    trees = _unpack_packages(toolchain, store)
    builder = TreeBuilder(store)
    for link in MERGED:
        builder.add_link(link, f"usr/{link}")
    for tree in trees:
        builder.add_tree("", tree)
    if toolchain.installed:
        captured = store.capture(toolchain.installed)
        assert isinstance(captured, TreeNode)  # _installed only gives directories
        builder.add_tree(toolchain.spec["installed"]["to"], captured)
    else:
        for source, entry in zip(
            toolchain.archives, toolchain.spec.get("archives", []), strict=True
        ):
            try:
                with tarfile.open(store.path(source.digest), "r:*") as archive:
                    builder.add_tar(archive, source.name, entry["to"], entry.get("strip", 0))
            except DAMAGED as error:
                raise damaged(source.name, error) from error
    for path in toolchain.spec.get("drop", []):
        builder.drop(path)
    for path, target in toolchain.spec.get("links", {}).items():
        builder.add_link(path, target)
    for path, text in toolchain.spec.get("files", {}).items():
        builder.add_file(path, text.encode())
    return builder.finish()


def _unpack_packages(toolchain: Toolchain, store: Store) -> list[TreeNode]:
    """One tree a package, in the lock's order."""
    total = sum(source.digest.size for source in toolchain.packages)

    def unpack_one(source: Source) -> TreeNode:
        interrupt.check()
        tree = unpack_package(source, store)
        counter.add(source.digest.size)
        return tree

    with progress.counter(f"unpack toolchain {toolchain.name}", total) as counter:
        pool = ThreadPoolExecutor(os.cpu_count() or 1)
        try:
            return list(pool.map(unpack_one, toolchain.packages))
        finally:
            pool.shutdown(cancel_futures=True)


def unpack_package(source: Source, store: Store) -> TreeNode:
    """The files of one Debian package. Raises ThawError."""
    from debian.arfile import ArError  # late: most builds unpack nothing, and it takes a while
    from debian.debfile import DebError, DebFile

    builder = TreeBuilder(store)
    try:
        with DebFile(filename=str(store.path(source.digest))) as package:
            builder.add_tar(package.data.tgz(), source.name)
    except (ArError, DebError, *DAMAGED) as error:
        raise damaged(source.name, error) from error
    return builder.finish()
