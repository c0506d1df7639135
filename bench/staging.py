"""A toolchain's files into the store, out of it as a root file system, and checked."""

import argparse
import random
import shutil
from pathlib import Path

from measure import Case, measure, run

from thaw.integrity import Verifier
from thaw.nodes import TreeNode
from thaw.store import Store

FILES_PER_DIRECTORY = 40
MEDIAN_SIZE = 2500  # bytes; the mean is about 8 kB, as in a tree of headers, scripts and tools
SPREAD = 1.5  # of the normal distribution of the sizes' logarithms


def write_tree(top: Path, count: int) -> int:
    """A directory with so many files, the same every time; how many bytes they have."""
    chance = random.Random(1)
    total = 0
    for number in range(count):
        directory = top / f"d{number // FILES_PER_DIRECTORY % 97}/{number // FILES_PER_DIRECTORY}"
        if number % FILES_PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        path = directory / f"file{number}"
        size = round(MEDIAN_SIZE * chance.lognormvariate(0, SPREAD))
        path.write_bytes(chance.randbytes(size))
        path.chmod(0o755 if number % 10 == 0 else 0o644)
        total += size
    return total


def compare(options: argparse.Namespace, top: Path) -> None:
    """The section ``staging``."""
    tree, cache, copy = top / "tree", top / "cache", top / "copy"
    total = write_tree(tree, options.files)
    captured: list[TreeNode] = []

    def clear(path: Path) -> None:
        run(["rm", "-rf", str(path)], top)

    def fresh() -> None:
        clear(cache)
        Store(cache)

    def capture() -> None:
        node = Store(cache).capture(tree)
        assert isinstance(node, TreeNode)  # a directory was captured
        captured[:] = [node]

    def pack_up() -> None:
        for path in (cache / "v1/trees").iterdir():
            clear(path)

    def copy_with(*command: str) -> Case:
        return Case(
            " ".join(command),
            lambda: run([*command, str(tree), str(copy)], top),
            prepare=lambda: clear(copy),
        )

    title = f"{options.files} files, {total / 1e6:.0f} MB, of a toolchain"
    measure(
        title,
        [
            copy_with("cp", "-r"),
            copy_with("cp", "-al"),
            Case("sha256sum", lambda: run(["sh", "-c", SHA256SUM], tree)),
            Case("store: take in, new", capture, prepare=fresh),
            Case("store: take in, known", capture),
            Case(
                "store: unpack",
                lambda: Store(cache).unpacked(captured[0]),
                prepare=pack_up,
            ),
            Case("store: unpacked already", lambda: Store(cache).unpacked(captured[0])),
            Case("store: read and check all", lambda: Verifier(Store(cache)).check(captured)),
        ],
        options.rounds,
        "cp -r",
    )
    shutil.rmtree(tree)


SHA256SUM = "find . -type f -print0 | xargs -0 sha256sum"
