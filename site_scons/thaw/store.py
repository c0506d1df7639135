"""The content-addressed store and the action cache on disk.

Layout, below the cache directory (``$XDG_CACHE_HOME/thaw``, else ``~/.cache/thaw``)::

    cas/ab/<sha256>        a blob, read-only (``thaw.blobs``)
    cas/ab/<sha256>.x      the same blob with the executable bit (a hard link has one mode)
    ac/ab/<action digest>  the action's result (``thaw.results``)
    trees/<root digest>/   a directory unpacked from the store: hard links to blobs, read-only
                           (``thaw.trees``)
    damaged/               what was found not to be what its name says
    running/               a locked file for each process that uses the cache (``thaw.workspace``)
    locks/                 flock files: one action runs once, whoever asks for it
    tmp/                   work in progress; what a killed process left is removed by the next
                           (build directories are in memory instead where there is plenty: see
                           ``thaw.memory``)
    failed/<name>/         the kept sandbox of the last failure of each action
    ccache/<toolchain>/    compiler output below the action
    generation             the random name of this cache

Everything appears under its final name by rename or link, whole, or not at all: a killed
process leaves only files in ``tmp/``. Blobs are immutable, so readers need no locks.
"""

from pathlib import Path

from thaw.blobs import MissingBlob
from thaw.errors import ThawError
from thaw.nodes import TreeNode
from thaw.results import Results
from thaw.trees import Trees

__all__ = ["LAYOUT", "MissingBlob", "Store"]

LAYOUT = "v1"


class Store(Trees, Results):
    """Blobs, trees and action results in one directory. Safe to use from many processes."""

    def __init__(self, top: Path) -> None:
        try:
            super().__init__(top / LAYOUT)
            for name in ("failed", "ccache"):
                (self.top / name).mkdir(exist_ok=True)
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise ThawError(
                f"{top}: cannot be the cache directory: {error.strerror}{where}",
                remedy="name another one with --disk-cache=DIR",
            ) from error

    def ccache(self, toolchain: TreeNode) -> Path:
        """A toolchain's compiler cache.

        Apart by toolchain: another compiler's objects can't even be looked up.
        """
        path = self.top / "ccache" / toolchain.root.hash[:16]
        with self.using():
            path.mkdir(exist_ok=True)
            self.use(str(path))
        return path
