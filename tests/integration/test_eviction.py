"""Eviction beside builds that run: real processes, and nobody ever sees a wrong file."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gate import PYTHONPATH, Build, until
from rig import Tools

from thaw.inventory import Kind, take
from thaw.nodes import FileNode
from thaw.outputs import to_result
from thaw.step import Step
from thaw.store import Store

OLD = time.time() - 40 * 86400

COLLECT = """
import sys
from pathlib import Path
from thaw import gc
from thaw.store import Store
gc.BATCH = int(sys.argv[2])
gc.SLACK = 0  # the times here are not of a coarse clock
for _ in range(int(sys.argv[3])):
    text = gc.collect(Store(Path(sys.argv[1])), gc.Limits(size=0))
    print(text, flush=True)
"""

# Results are made, looked up, mounted and read, each time as by a new process.
USE = """
import os, sys
from pathlib import Path
from thaw import outputs
from thaw.integrity import Verifier
from thaw.store import MissingBlob, Store

cache, mine = Path(sys.argv[1]), Path(sys.argv[2])
made = 0
for turn in range(200):
    store = Store(cache)
    text = f"result {turn % 3} " * 50
    action = store.put_bytes(text.encode())
    for _ in range(100):  # at most: whatever is gone is made again
        found = store.get_result(action)
        tree = found.output_directories[0].tree_digest if found else None
        try:
            if tree is None:
                made += 1
                for name in "abc":
                    (mine / name).write_text(text + name)
                node = store.capture(mine)
                store.put_result(action, outputs.to_result({"x": node}, None, 0, 0))
            else:
                node = store.tree_node(outputs.from_proto(tree))
                if node is None or not store.complete(node):
                    store.discard_result(action)
                    continue
            Verifier(store).check([node])
            top = os.open(store.unpacked(node), os.O_PATH)  # as a mount does
            break
        except MissingBlob:
            pass
    else:
        sys.exit("it was never there")
    for _ in range(20):
        for name in "abc":
            assert open(f"/proc/self/fd/{top}/{name}").read() == text + name
    os.close(top)
    for path in (store.top / "running").iterdir():
        if path.name.startswith(f"{os.getpid()}-"):
            path.unlink()  # this process is over, as far as others can see
print(made)
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


def test_a_running_step_keeps_all_that_it_sees(
    tools: Tools, make_step: Callable[..., Step], tmp_path: Path
) -> None:
    for name in ("kept", "also"):
        (tmp_path / "input" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "input" / name).write_text(name)
    inputs: dict[str, dict[str, Any]] = {
        "/src/d": {"dir": str(tmp_path / "input")},
        "/src/f": {"json": ["a file"]},
    }
    then = "cat /src/d/kept /src/d/also /src/f /ccache/runs > /out/x"
    build = Build(tools, make_step, tmp_path, inputs, then)
    process = build.start()
    until(build.is_running)

    said = finish(start(COLLECT, tmp_path / "cache", 100, 1))

    assert re.search("used by this build and by 1 others", said)
    assert build.ccache.is_dir()
    build.open_gate()
    assert finish(process) == "built\n"
    assert finish(build.start()) == "cached\n"


def test_builds_that_race_with_eviction_never_see_a_wrong_file(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    users = [start(USE, cache, tmp_path / name) for name in ("one", "two")]
    while any(process.poll() is None for process in users):
        collector = start(COLLECT, cache, 2, 1000)
        assert collector.stdout is not None
        for _ in range(40):
            collector.stdout.readline()
        collector.kill()
        collector.communicate()
    made = [int(finish(process)) for process in users]
    assert sum(made) > 6, "nothing was ever evicted"


def fill(cache: Path, count: int) -> None:
    """A cache with results that nobody has used for long."""
    store = Store(cache)
    for number in range(count):
        digest = store.put_bytes(f"output {number}".encode())
        action = store.put_bytes(f"action {number}".encode())
        store.put_result(action, to_result({"x": FileNode(digest)}, None, 0, 0))
    for part in ("cas", "ac"):
        for path in (store.top / part).glob("*/*"):
            os.utime(path, (OLD, path.stat().st_mtime))


@pytest.mark.parametrize("left", [55, 30, 5])
def test_a_killed_eviction_leaves_no_result_without_its_files(tmp_path: Path, left: int) -> None:
    fill(tmp_path / "cache", 60)
    process = start(COLLECT, tmp_path / "cache", 1, 1)
    until(lambda: len(list((tmp_path / "cache/v1/ac").glob("*/*"))) <= left)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    found = take(tmp_path / "cache/v1")

    for item in found.of(Kind.RESULT):
        assert item.holds - {""} <= found.blobs.keys()
    assert finish(start(COLLECT, tmp_path / "cache", 100, 1)).startswith("cache-gc: ")
    assert take(tmp_path / "cache/v1").of(Kind.RESULT) == []
    assert list((tmp_path / "cache/v1/tmp").iterdir()) == []


def test_two_evictions_at_once_take_turns(tmp_path: Path) -> None:
    fill(tmp_path / "cache", 20)
    both = [start(COLLECT, tmp_path / "cache", 1, 1) for _ in range(2)]
    said = [finish(process) for process in both]
    counts = re.findall(r"(\d+) results of actions", "".join(said))
    assert sum(map(int, counts)) == 20
