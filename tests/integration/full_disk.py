"""What happens on a disk that is too small. Run by test_interruption.py, on one:

full_disk.py SCENARIO TOOLS DISK
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rig import Tools

from thaw import gc, local
from thaw.errors import ThawError
from thaw.step import Engine, Step
from thaw.store import Store

BIG = 60_000_000  # bytes: more than the disk has


def run(engine: Engine, tools: Tools, script: str, name: str = "small", **more: Any) -> bool:
    """Whether the step's result came from the cache."""
    step = Step(
        name, ("sh", "-euc", script), tools.manifest, more.pop("inputs", {}), ("x",), **more
    )
    return engine.run_step(step, engine.store.top.parent / f"{name}.json").cached


def fails(engine: Engine, tools: Tools, work: Callable[[], object]) -> None:
    """Something fails for want of space, and the cache is as good as before."""
    small = "echo small > /out/x"
    assert not run(engine, tools, small)
    try:
        work()
    except ThawError as error:
        print(error)
    else:
        raise AssertionError("there was space enough")
    assert run(engine, tools, small), "what was in the cache before is lost"
    assert not run(engine, tools, "echo other > /out/x"), "there is no space for a small result"
    left = [path.name for path in (engine.store.top / "tmp").iterdir()]
    assert left == [], left


def too_small(tools: Tools, disk: Path) -> None:
    try:
        run(tools.engine(disk / "cache"), tools, "exit 1")
    except ThawError as error:
        print(error)


def full_step(tools: Tools, disk: Path) -> None:
    local.REBUILD_SPACE = 0
    engine = tools.engine(disk / "cache")
    fails(engine, tools, lambda: run(engine, tools, f"head -c {BIG} /dev/zero > /out/x", "big"))


def full_input(tools: Tools, disk: Path) -> None:
    local.REBUILD_SPACE = 0
    big = disk.parent / "big"
    with big.open("wb") as stream:
        stream.truncate(BIG)
    inputs = {"/src/big": {"file": str(big)}}
    engine = tools.engine(disk / "cache")
    fails(engine, tools, lambda: run(engine, tools, "cp /src/big /out/x", "big", inputs=inputs))


def full_result(tools: Tools, disk: Path) -> None:
    local.REBUILD_SPACE = 0
    target = disk / "out/big"
    engine = tools.engine(disk / "cache")
    run(engine, tools, f"head -c {BIG * 2 // 3} /dev/zero > /out/x", "big")
    manifest = engine.store.top.parent / "big.json"
    fails(engine, tools, lambda: engine.lay_out("big", manifest, {"x": target}))
    assert list(target.parent.iterdir()) == []


def evict_on_full(tools: Tools, disk: Path) -> None:
    """Eviction needs no space: of a disk without a free byte, it makes one with many."""
    store = Store(disk / "cache")
    old = store.put_bytes(bytes(BIG // 3))
    os.utime(store.path(old), (1e9, 1e9))
    del store
    with contextlib.suppress(OSError), open(disk / "ballast", "wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    assert shutil.disk_usage(disk).free == 0
    print(gc.collect(Store(disk / "cache"), gc.Limits(size=1_000_000)))
    assert shutil.disk_usage(disk).free >= BIG // 3


if __name__ == "__main__":
    globals()[sys.argv[1]](Tools.read(Path(sys.argv[2])), Path(sys.argv[3]))
