"""What happens on a disk that is too small. Run by test_interruption.py, on one:

full_disk.py SCENARIO TOOLS DISK
"""

import sys
from pathlib import Path
from typing import Any

from rig import Tools

from thaw import executor
from thaw.errors import ThawError
from thaw.step import Engine, Step

BIG = 60_000_000  # bytes: more than the disk has


def run(engine: Engine, tools: Tools, script: str, name: str = "small", **more: Any) -> bool:
    """Whether the step's result came from the cache."""
    step = Step(
        name, ("sh", "-euc", script), tools.manifest, more.pop("inputs", {}), ("x",), **more
    )
    return engine.run_step(step, engine.store.top.parent / f"{name}.json").cached


def fails(engine: Engine, tools: Tools, script: str, **more: Any) -> None:
    """A step fails for want of space, and the cache is as good as before."""
    small = "echo small > /out/x"
    assert not run(engine, tools, small)
    try:
        run(engine, tools, script, name="big", **more)
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
    executor.REBUILD_SPACE = 0
    fails(tools.engine(disk / "cache"), tools, f"head -c {BIG} /dev/zero > /out/x")


def full_input(tools: Tools, disk: Path) -> None:
    executor.REBUILD_SPACE = 0
    big = disk.parent / "big"
    with big.open("wb") as stream:
        stream.truncate(BIG)
    inputs = {"/src/big": {"file": str(big)}}
    fails(tools.engine(disk / "cache"), tools, "cp /src/big /out/x", inputs=inputs)


def full_result(tools: Tools, disk: Path) -> None:
    executor.REBUILD_SPACE = 0
    target = disk / "out/big"
    script = f"head -c {BIG * 2 // 3} /dev/zero > /out/x"
    fails(tools.engine(disk / "cache"), tools, script, lay_out={"x": str(target)})
    assert list(target.parent.iterdir()) == []


if __name__ == "__main__":
    globals()[sys.argv[1]](Tools.read(Path(sys.argv[2])), Path(sys.argv[3]))
