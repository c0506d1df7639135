"""An engine of a test's own, in this process or in one that a test may kill.

A test that damages, fills or interrupts a cache has an empty one to itself. Only the real
toolchain's unpacked tree is shared, by a symbolic link. Run as a program, it runs one step:

    rig.py TOOLS CACHE STEP MANIFEST      (TOOLS and STEP: JSON files)

It behaves as a build tool does: steps run in a worker thread, Ctrl-C is only noted.
"""

import signal
import sys
import threading
from dataclasses import dataclass
from json import dumps, loads
from pathlib import Path

from thaw import interrupt, progress
from thaw.artifacts import Artifacts
from thaw.errors import ThawError
from thaw.executor import Executor
from thaw.fetch import Fetcher
from thaw.local import LocalRunner
from thaw.nodes import TreeNode
from thaw.step import Engine, Manifest, Step
from thaw.store import Store


@dataclass(frozen=True)
class Tools:
    """The real toolchain in the shared cache: its manifest, tree, messages, and bubblewrap."""

    manifest: str
    tree: str
    blobs: tuple[str, ...]
    bwrap: tuple[str, ...]

    def engine(self, cache: Path) -> Engine:
        """An engine on a cache that has this toolchain and nothing else."""
        store = Store(cache)
        for blob in self.blobs:
            store.put_file(Path(blob))
        link = store.top / "trees" / Path(self.tree).name
        if not link.is_symlink():
            link.symlink_to(self.tree)
        artifacts = Artifacts(store)
        here = LocalRunner(artifacts, lambda: self.bwrap, 8)
        return Engine(store, Fetcher(store), Executor(artifacts, here))

    def write(self, path: Path) -> Path:
        path.write_text(dumps(vars(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> "Tools":
        value = loads(path.read_text())
        return cls(value["manifest"], value["tree"], tuple(value["blobs"]), tuple(value["bwrap"]))

    @classmethod
    def of(cls, shared: Engine, manifest: Path) -> "Tools":
        root = Manifest.read(manifest).outputs["root"]
        assert isinstance(root, TreeNode)
        blobs = tuple(str(shared.store.path(digest)) for digest in (root.root, root.tree))
        tree = str(shared.store.unpacked(root))
        return cls(str(manifest), tree, blobs, shared.executor.here.bwrap())


def main(tools: Path, cache: Path, step: Path, manifest: Path) -> int:
    signal.signal(signal.SIGINT, lambda *_: None)
    interrupt.install()
    codes = [1]

    def run() -> None:
        try:
            engine = Tools.read(tools).engine(cache)
            result = engine.run_step(Step.from_json(step.read_text()), manifest)
            progress.say("cached" if result.cached else "built")
            codes.append(0)
        except interrupt.Interrupted as error:
            progress.say(str(error))
            codes.append(130)
        except ThawError as error:
            progress.say(f"error: {error}")
            codes.append(2)

    worker = threading.Thread(target=run)
    worker.start()
    worker.join()
    return codes[-1]


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
