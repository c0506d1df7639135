"""Killed at every single change of the file system, twice in a row: the next run is right.

A child process does all that is ever done to a cache, and is killed with signal 9 just before its
n-th change. Every n is tried.
"""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from thaw import gc, inventory, locks, outputs
from thaw.digest import Digest
from thaw.gc import Limits
from thaw.integrity import Verifier
from thaw.inventory import Kind
from thaw.nodes import TreeNode
from thaw.store import MissingBlob, Store

CHANGES = ("chmod", "link", "mkdir", "rename", "replace", "rmdir", "symlink", "unlink", "utime")
FILES = {"plain": "text", "sub/deep": "more text", "tool": "#!/bin/sh\n"}
Work = Callable[[Path, Path, Path], None]  # on a cache, a source and a place for results
OLD = 1e9  # seconds of the epoch: longer ago than any build that runs


def build(cache: Path, source: Path, out: Path) -> None:
    """As a build does: looks a result up, or makes it; then unpacks it and lays it out."""
    store = Store(cache)
    action = store.put_bytes(b"the action")
    found = store.get_result(action)
    node = store.tree_node(Digest.parse(str(_tree_of(found)))) if found else None
    if node is None or not store.complete(node):
        store.discard_result(action)
        captured = store.capture(source)
        assert isinstance(captured, TreeNode)
        store.put_result(action, outputs.to_result({"x": captured}, None, 0, 0))
        node = captured
    for _ in range(3):
        try:
            Verifier(store).check([node])
            return store.lay_out(node, out)
        except MissingBlob:  # it is made again, as the engine does
            store.capture(source)
    raise AssertionError("it does not heal")


def _tree_of(result: Any) -> Digest:
    (directory,) = result.output_directories
    return Digest(directory.tree_digest.hash, directory.tree_digest.size_bytes)


def heal(cache: Path, source: Path, out: Path) -> None:
    """A build that finds a file damaged."""
    store = Store(cache)
    path = store.path(store.put_bytes(b"text"))
    path.chmod(0o644)
    path.write_text("test")
    os.utime(path, (path.stat().st_atime, 1767225600))
    path.chmod(0o444)
    del store
    build(cache, source, out)


def evict(cache: Path, source: Path, out: Path) -> None:
    store = Store(cache)
    for part in ("cas", "ac", "trees"):
        for path in (store.top / part).rglob("*"):
            os.utime(path, (OLD, path.lstat().st_mtime), follow_symlinks=False)
    gc.collect(store, Limits(size=0))


def killed_at(number: int, work: Work, *places: Path) -> bool:
    """Whether ``work``, in a child, was killed before the change of that number."""
    child = os.fork()
    if child == 0:
        left = number

        def counted(change: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **more)

        for name in CHANGES:
            setattr(os, name, partial(counted, getattr(os, name)))
        code = 1
        try:
            work(*places)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), "it failed instead of being killed"
    return status != 0


def check(cache: Path, source: Path, out: Path) -> None:
    """Nothing is half there, and a build gives what it should."""
    store = Store(cache)
    assert list((store.top / "tmp").iterdir()) == []
    for item in inventory.take(store.top).of(Kind.RESULT):
        found = store.get_result(Digest(Path(item.path).name, 0))
        assert found is not None
        node = store.tree_node(_tree_of(found))
        assert node is not None
        assert store.complete(node), "an entry outlived what it names"
    build(cache, source, out)
    laid_out = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    assert {name: path.read_text() for name, path in laid_out.items()} == FILES
    assert os.access(laid_out["tool"], os.X_OK)
    locks.remove_unheld(store.top / "locks")
    assert os.listdir(store.top / "locks") == []


@pytest.mark.parametrize("work", [build, heal, evict])
def test_killed_anywhere_twice_the_next_build_is_right(tmp_path: Path, work: Work) -> None:
    source, count, survived = tmp_path / "source", 0, False
    for name, text in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    (source / "tool").chmod(0o755)
    while not survived:
        places = tmp_path / f"cache{count}", source, tmp_path / f"out{count}"
        if work is not build:
            build(*places)
        survived = not killed_at(count, work, *places)
        killed_at(count // 2, work, *places)
        check(*places)
        count += 1
    assert count > 20, "nothing was changed"
