"""Ctrl-C, kill -9, two builds at once, a full disk: nothing half-made is ever used."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gate import PYTHONPATH, Build, until
from rig import Tools

from thaw.step import Step

HERE = Path(__file__).resolve().parent


@pytest.fixture
def build(tools: Tools, make_step: Callable[..., Step], tmp_path: Path) -> Iterator[Build]:
    build = Build(tools, make_step, tmp_path)
    yield build
    assert build.processes() == []
    tools.engine(tmp_path / "cache")  # removes what killed builds left, in memory too


def test_ctrl_c_stops_the_step_and_stores_nothing(build: Build) -> None:
    process = build.start()
    until(build.is_running)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert (process.returncode, said) == (130, "interrupted\n")
    assert build.processes() == []
    assert build.stored_nothing()
    assert list((build.store / "tmp").iterdir()) == []
    assert list((build.store / "failed").iterdir()) == []
    assert build.finish() == "built"


def test_after_kill_9_nothing_runs_on_and_the_next_build_works(build: Build) -> None:
    process = build.start()
    until(build.is_running)
    process.kill()
    process.communicate()
    until(lambda: build.processes() == [])
    assert build.stored_nothing()
    assert list((build.store / "tmp").iterdir()) != []
    assert build.finish() == "built"
    assert list((build.store / "tmp").iterdir()) == []


def test_two_builds_at_once_run_a_step_once(build: Build) -> None:
    first = build.start()
    until(build.is_running)
    second = build.start()
    assert second.stdout is not None
    assert second.stdout.readline() == "[wait]   step: another build is running it\n"
    build.open_gate()
    assert first.communicate(timeout=60)[0] == "built\n"
    assert second.communicate(timeout=60)[0] == "cached\n"
    assert build.runs() == 1


def test_ctrl_c_is_heard_while_waiting_for_another_build(build: Build) -> None:
    first = build.start()
    until(build.is_running)
    second = build.start()
    assert second.stdout is not None
    assert second.stdout.readline().startswith("[wait]")
    os.killpg(second.pid, signal.SIGINT)
    assert second.communicate(timeout=60)[0] == "interrupted\n"
    assert second.returncode == 130
    build.open_gate()
    assert first.communicate(timeout=60)[0] == "built\n"


def test_when_the_first_of_two_builds_is_killed_the_second_takes_over(build: Build) -> None:
    first = build.start()
    until(build.is_running)
    second = build.start()
    assert second.stdout is not None
    assert second.stdout.readline().startswith("[wait]")
    first.kill()
    first.communicate()
    build.open_gate()
    assert second.communicate(timeout=60)[0] == "built\n"
    assert build.runs() == 2
    until(lambda: build.processes() == [])


# A full disk


def on_a_small_disk(tools: Tools, top: Path, size: int, scenario: str) -> str:
    """Run a function of full_disk.py where ``top``/small is a disk of that many bytes."""
    (top / "small").mkdir()
    line = [*tools.bwrap, "--dev-bind", "/", "/", "--size", str(size)]
    line += ["--tmpfs", str(top / "small"), "--", sys.executable, str(HERE / "full_disk.py")]
    done = subprocess.run(
        [*line, scenario, str(tools.write(top / "tools.json")), str(top / "small")],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_too_little_space_is_said_before_anything_starts(tools: Tools, tmp_path: Path) -> None:
    said = on_a_small_disk(tools, tmp_path, 50_000_000, "too_small")
    disk = re.escape(str(tmp_path / "small/cache/v1"))
    assert re.search(rf"{disk}: 4\d\.\d MB free, and a build needs about 2\.00 GB", said)
    assert "--disk-cache=DIR" in said


@pytest.mark.parametrize("where", ["step", "input", "result"])
def test_a_disk_that_fills_up_is_one_clear_error(tools: Tools, tmp_path: Path, where: str) -> None:
    """In a step, in taking an input in, in laying a result out: named, and the cache is whole."""
    said = on_a_small_disk(tools, tmp_path, 50_000_000, f"full_{where}")
    disk = tmp_path / ("small/out/big" if where == "result" else "small/cache/v1")
    assert re.search(rf"^big: the disk is full: {re.escape(str(disk))}", said, re.MULTILINE)
    assert "or move the cache to another disk with --disk-cache=DIR" in said


def test_a_cache_that_filled_the_disk_can_be_made_smaller(tools: Tools, tmp_path: Path) -> None:
    said = on_a_small_disk(tools, tmp_path, 50_000_000, "evict_on_full")
    assert re.search(r"20\.0 MB, of which 20\.0 MB removed", said)
