"""``aquery`` and ``log``: what an action is made of, and what its command printed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from small_project import PACKAGES, Project


def test_aquery_prints_json_and_nothing_else(project: Project) -> None:
    found = project.query("bundle")
    manifest = json.loads((project.top / "out/manifests/m/bundle.json").read_text())
    rootfs = json.loads((project.top / "out/manifests/m/rootfs.json").read_text())

    assert found["argv"] == ["bash", "-euc", "cat /deps/* > /out/r"]
    assert found["environment"]["PATH"] == "/usr/bin:/usr/sbin"
    assert found["platform"]["OSFamily"] == "linux"
    assert found["outputs"]["r"] == manifest["outputs"]["r"]["file"]
    assert found["inputs"]["/deps/a"] == {
        "digest": rootfs["outputs"]["r"]["file"],
        "origin": {"manifest": "out/manifests/m/rootfs.json", "output": "r"},
    }
    assert found["last_run"]["outcome"] == "built"
    assert found["last_run"]["action"] == found["action"]
    key = found["action"].partition("/")[0]
    assert (project.cache / "v1/ac" / key[:2] / key).exists()
    assert (found["in_cache"], found["timeout"]) == (True, 3600)


def test_aquery_tells_the_action_that_the_next_build_asks_for(project: Project) -> None:
    before = project.query("rootfs")
    new = project.write("tree/etc/motd", f"changed {project.top}\n")
    after = project.query("rootfs")

    assert after["action"] != before["action"] == after["last_run"]["action"]
    assert after["inputs"]["/src/tree"]["files"]["etc/motd"].startswith(new)
    assert (after["in_cache"], after["outputs"]) == (False, {"r": None})
    project.run()
    assert project.query("rootfs")["last_run"]["action"] == after["action"]


def test_aquery_of_a_toolchain_lists_its_packages(project: Project) -> None:
    found = project.query("toolchain small")

    assert (
        set(PACKAGES) >= {name for name in found["inputs"] if ":" not in name} >= {"bash", "libc6"}
    )
    assert found["inputs"]["bash"]["origin"].keys() == {"package"}


def test_aquery_before_any_build_is_the_declared_step(
    make_project: Callable[[Path], Project], cache: Path
) -> None:
    found = make_project(cache).query("bundle")

    assert (found["action"], found["last_run"]) == (None, None)
    assert found["argv"] == ["bash", "-euc", "cat /deps/* > /out/r"]


# log


def test_the_log_of_a_cached_action_is_shown(project: Project) -> None:
    shutil.rmtree(project.top / "out")
    project.run()
    done = project.run("log", "rootfs")

    assert done.stdout == "packed\n"
    assert "thaw: log of m/rootfs, action " in done.stderr


def test_the_log_of_the_last_failure_is_shown(project: Project) -> None:
    project.run("fails", check=False)

    assert project.run("log", "fails").stdout == "the cause\n"
