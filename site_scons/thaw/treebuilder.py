"""Directory trees put together from archives, straight into the store, without unpacking twice.

Members are vetted as they come: nothing may lie outside the tree, and only files, directories,
symbolic and hard links are taken. Owners, times and special mode bits are dropped.
"""

import lzma
import shutil
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import cast

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw.digest import CHUNK, Digest
from thaw.errors import ThawError
from thaw.nodes import FileNode, TreeNode, encode, from_proto, to_proto
from thaw.store import Store

# Debian's merged /usr: these top-level names are links into usr/.
MERGED = ("bin", "lib", "lib64", "sbin")


# What reading a damaged tar archive can raise, whatever its compression.
DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError)


def damaged(origin: str, error: Exception) -> Exception:
    """What to raise for an error of ``DAMAGED``: about the archive, or itself if the disk's."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return ThawError(
        f"{origin}: damaged archive: {error}",
        remedy="its SHA-256 is as locked: check its origin, and correct the lock",
    )


class TreeBuilder:
    """A directory tree in memory whose files are already in the store.

    A level maps a name to a FileNode, a symbolic link's target (str) or a further level (dict).
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._top: dict[str, object] = {}

    def add_file(self, path: str, data: bytes, executable: bool = False) -> None:
        self._put(path, FileNode(self._store.put_bytes(data), executable))

    def add_link(self, path: str, target: str) -> None:
        self._put(path, target)

    def drop(self, path: str) -> None:
        """Leave a file or directory out. Raises ThawError if there is none."""
        *parents, name = _parts(path)
        if self._directory(parents).pop(name, None) is None:
            raise ThawError(f"{path}: to be dropped, but nothing has this path")

    def add_tar(
        self, archive: tarfile.TarFile, origin: str, prefix: str = "", strip: int = 0
    ) -> None:
        """Add every member below ``prefix``, without its first ``strip`` directories.

        Raises ThawError naming ``origin`` and the member for one that is not safe.
        """
        try:
            for member in archive:
                name = _safe_name(member.name, origin, strip)
                if name:
                    self._add_member(archive, member, f"{prefix}/{name}", origin, prefix, strip)
            # tarfile stops at the end mark, or quietly where a header is cut off. What is left is
            # read for the compression's own checksum and end.
            while archive.fileobj is not None and archive.fileobj.read(CHUNK):
                pass
        except DAMAGED as error:
            raise damaged(origin, error) from error

    def _add_member(
        self,
        archive: tarfile.TarFile,
        member: tarfile.TarInfo,
        path: str,
        origin: str,
        prefix: str,
        strip: int,
    ) -> None:
        if member.isdir():
            self._directory(_parts(path))
        elif member.issym():
            self._put(path, member.linkname)
        elif member.islnk():
            linked = _safe_name(member.linkname, origin, strip)
            self._put(path, self._get(f"{prefix}/{linked}", origin))
        elif member.isfile():
            stream = archive.extractfile(member)
            assert stream is not None  # tarfile gives one for every regular file
            executable = bool(member.mode & 0o100)
            if member.size <= 8 * CHUNK:
                digest = self._store.put_bytes(stream.read(), executable)
                self._put(path, FileNode(digest, executable))
            else:
                with self._store.temporary_file() as temporary:
                    with open(temporary, "wb") as writer:
                        shutil.copyfileobj(stream, writer, CHUNK)
                    digest = self._store.put_file(temporary, executable, move=True)
                self._put(path, FileNode(digest, executable))
        else:
            raise ThawError(
                f"{origin}: member {member.name} is a device node or another special file",
                remedy="the archive is not to be trusted: check its origin",
            )

    def add_tree(self, prefix: str, node: TreeNode) -> None:
        """Add the files of another tree below ``prefix``."""
        for path, directory in self._store.read_tree(node):
            level = self._directory(_parts(f"{prefix}/{path}"))
            for file in directory.files:
                level[file.name] = FileNode(from_proto(file.digest), file.is_executable)
            for link in directory.symlinks:
                level[link.name] = link.target

    def finish(self) -> TreeNode:
        """Describe the tree in Directory and Tree messages, and store them."""
        children: dict[str, reapi.Directory] = {}

        def describe(level: dict[str, object]) -> reapi.Directory:
            message = reapi.Directory()
            for name, entry in sorted(level.items()):
                if isinstance(entry, FileNode):
                    digest = to_proto(entry.digest)
                    message.files.add(name=name, digest=digest, is_executable=entry.executable)
                elif isinstance(entry, str):
                    message.symlinks.add(name=name, target=entry)
                else:
                    child = describe(cast(dict[str, object], entry))
                    child_digest = Digest.of_bytes(encode(child))
                    children.setdefault(child_digest.hash, child)
                    message.directories.add(name=name, digest=to_proto(child_digest))
            return message

        root = describe(self._top)
        tree = reapi.Tree(root=root, children=children.values())
        return TreeNode(self._store.put_bytes(encode(root)), self._store.put_bytes(encode(tree)))

    def _directory(self, parts: list[str]) -> dict[str, object]:
        level = self._top
        if parts and parts[0] in MERGED:
            parts = ["usr", *parts]
        for part in parts:
            entry = level.setdefault(part, {})
            if not isinstance(entry, dict):
                entry = level[part] = {}
            level = entry
        return level

    def _put(self, path: str, entry: FileNode | str) -> None:
        *parents, name = _parts(path)
        if not parents and name in MERGED and entry != f"usr/{name}":
            raise ThawError(f"{path}: would replace the link to usr/{name}")
        self._directory(parents)[name] = entry

    def _get(self, path: str, origin: str) -> FileNode | str:
        *parents, name = _parts(path)
        entry = self._directory(parents).get(name)
        if not isinstance(entry, FileNode | str):
            raise ThawError(f"{origin}: hard link to {path}, which is not in the archive before it")
        return entry


def _parts(path: str) -> list[str]:
    parts = [part for part in PurePosixPath(path.lstrip("/")).parts if part != "."]
    if len(parts) > 1 and parts[0] in MERGED:
        return ["usr", *parts]
    return parts


def _safe_name(name: str, origin: str, strip: int) -> str:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        raise ThawError(
            f"{origin}: member {name} lies outside the archive's own directory",
            remedy="the archive is not to be trusted: check its origin",
        )
    return "/".join(parts[strip:])
