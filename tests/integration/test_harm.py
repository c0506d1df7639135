"""One file of a cache is harmed, in every way we know: the next build is as if it had not been.

``maker`` gives a directory and a file, ``user`` lists all that it sees of them. Each part of the
cache that they leave is harmed in turn. Then both are built from nothing, or ``user`` is changed,
so that it runs on what was made before.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import harm
import pytest
from rig import Tools

from thaw.digest import Digest
from thaw.inventory import Kind, take
from thaw.nodes import FileNode, TreeNode
from thaw.step import Manifest, Step
from thaw.store import Store

MAKE = """
mkdir -p /out/t/sub; echo text > /out/t/sub/file; ln -s sub/file /out/t/link
printf '#!/bin/sh\\necho tool\\n' > /out/t/tool; chmod +x /out/t/tool
cp /out/t/tool /out/x
"""
USE = """
cd /src; t/tool; ./x
find t x -printf '%p %m %T@ %l\\n' | sort > /out/x
cat t/sub/file t/tool x >> /out/x; echo {word} >> /out/x
"""


class Graph:
    """The two steps on ``top``/cache, with manifests and results below ``top``/out."""

    def __init__(self, tools: Tools, top: Path) -> None:
        self.tools, self.cache, self.out = tools, top / "cache", top / "out"

    def build(self, word: str, *steps: str) -> bytes:
        """What ``user`` gives, by a new process, which takes the toolchain to be good."""
        engine = self.tools.engine(self.cache)
        engine.executor.here.verifier._good.add(Manifest.read(self.tools.manifest).outputs["root"])
        for name in steps:
            engine.run_step(self._step(name, word), self.out / f"{name}.json")
        engine.lay_out("user", self.out / "user.json", {"x": self.out / "x"})
        engine.lay_out("maker", self.out / "maker.json", {"t": self.out / "t"})
        assert subprocess.check_output([self.out / "t/tool"]) == b"tool\n"
        assert (self.out / "t/link").read_text() == "text\n"
        return (self.out / "x").read_bytes()

    def _step(self, name: str, word: str) -> Step:
        maker = str(self.out / "maker.json")
        inputs = {f"/src/{output}": {"manifest": maker, "output": output} for output in ("t", "x")}
        if name == "maker":
            return Step(name, ("bash", "-euc", MAKE), self.tools.manifest, {}, ("t", "x"))
        argv = ("bash", "-euc", USE.format(word=word))
        return Step(name, argv, self.tools.manifest, inputs, ("x",))


@pytest.fixture(scope="module")
def built(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    graph = Graph(tools, tmp_path_factory.mktemp("built"))
    graph.build("same", "maker", "user")
    return graph


@pytest.fixture(scope="module")
def right(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What ``user`` gives where nothing was ever harmed."""
    graph = Graph(tools, tmp_path_factory.mktemp("right"))
    return {word: graph.build(word, "maker", "user") for word in ("same", "changed")}


def place(graph: Graph, part: str) -> Path:
    """Where a part of the cache is."""
    store = Store(graph.cache)
    outputs = Manifest.read(graph.out / "maker.json").outputs
    tree, file = outputs["t"], outputs["x"]
    assert isinstance(tree, TreeNode)
    assert isinstance(file, FileNode)
    unpacked = store.top / "trees" / tree.root.hash
    entries = {len(item.roots): item.path for item in take(store.top).of(Kind.RESULT)}
    return {
        "file": store.path(file.digest, True),
        "file of a tree": store.path(Digest.of_bytes(b"text\n")),
        "tree": store.path(tree.tree),
        "root of a tree": store.path(tree.root),
        "unpacked file": unpacked / "sub/file",
        "unpacked tool": unpacked / "tool",
        "result of the maker": Path(entries[2]),
        "result of the user": Path(entries[1]),
        "generation": store.top / "generation",
    }[part]


PARTS = ["file", "file of a tree", "tree", "root of a tree", "unpacked file", "unpacked tool"]
PARTS += ["result of the maker", "result of the user", "generation"]
CASES = [
    (part, how)
    for part in PARTS
    for how in harm.EVERY
    if not (how is harm.lose_shelf and part == "generation")
]


@pytest.mark.parametrize("word", ["same", "changed"])
@pytest.mark.parametrize(("part", "how"), CASES)
def test_what_is_harmed_is_never_used(
    built: Graph,
    right: dict[str, bytes],
    tmp_path: Path,
    part: str,
    how: Callable[[Path], object],
    word: str,
) -> None:
    subprocess.run(["cp", "-a", built.cache, tmp_path / "cache"], check=True)
    graph = Graph(built.tools, tmp_path)
    shutil.copytree(built.out, graph.out, symlinks=True)
    how(place(graph, part))
    if word == "same":
        shutil.rmtree(graph.out)
        assert graph.build("same", "maker", "user") == right["same"]
    else:
        assert graph.build("changed", "user") == right["changed"]
    assert graph.build(word, "maker", "user") == right[word]
