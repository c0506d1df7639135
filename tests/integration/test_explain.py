"""``why``, ``aquery``, ``log``, ``graph`` and ``--profile`` on a small graph of someone's own.

The graph has a toolchain of its own, too, made of a few packages: its lock is edited here.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from checkout import TOP

from thaw import config
from thaw import engine as engines
from thaw import toolchain as toolchains

SCONSTRUCT = """
env = Environment(tools=["thaw"], toolpath=[ARGUMENTS["THAW"] + "/site_scons/site_tools"])
small = env.Toolchain("small.yaml")

def step(name, script, inputs={}, **more):
    argv = ["bash", "-euc", script]
    return env.ThawStep(name, toolchain=small, argv=argv, inputs=inputs, outputs=["r"], **more)

rootfs = step("m/rootfs", "cp /src/tree/etc/motd /out/r; echo packed", {
    "/src/tree": {"dir": "tree"},
    "/src/options.json": {"json": {"disk": {"size": 1}}},
})
upper = step("upper", "tr a-z A-Z < /src/words > /out/r", {"/src/words": {"file": "words"}})
bundle = step(
    "m/bundle",
    "cat /deps/* > /out/r",
    {"/deps/a": env.ThawOutput(rootfs, "r"), "/deps/b": env.ThawOutput(upper, "r")},
    lay_out={"r": "out/m/bundle.txt"},
)
fails = step("fails", "echo the cause; exit 3")
env.Alias("bundle", env.ThawFiles(bundle))
env.Alias("rootfs", rootfs)
env.Alias("fails", fails)
env.Default("bundle")
env.Why("why")
env.ActionQuery("aquery")
env.Log("log")
env.ActionGraph("graph")
"""
PACKAGES = [
    "base-files",
    "bash",
    "bc",
    "coreutils",
    "libacl1",
    "libattr1",
    "libc6",
    "libcap2",
    "libgmp10",
    "libpcre2-8-0",
    "libselinux1",
    "libssl3t64",
    "libsystemd0",
    "libtinfo6",
    "libzstd1",
    "zlib1g",
]
NEVER = "(not in the cache: never built with these inputs)"
BEFORE = "(built before with these inputs)"


@dataclass(frozen=True)
class Project:
    """A directory with a SConstruct, and a cache."""

    top: Path
    cache: Path
    distdir: Path

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        options = [f"THAW={TOP}", f"--disk-cache={self.cache}", f"--distdir={self.distdir}"]
        done = subprocess.run(
            [sys.executable, "-m", "SCons", "-Qs", *options, *arguments],
            cwd=self.top,
            capture_output=True,
            text=True,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def ask(self, *arguments: str) -> list[str]:
        return self.run(*arguments).stdout.splitlines()

    def query(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("aquery", name).stdout)
        return found

    def write(self, name: str, text: str) -> str:
        """Write a file; its digest as ``why`` shows it."""
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.top / name).read_text()
        assert old in text
        (self.top / name).write_text(text.replace(old, new))


def lock() -> dict[str, Any]:
    """A lock with a few of the packages that build kernels."""
    found: dict[str, Any] = json.loads((TOP / "toolchains/image.lock").read_text())
    named = {entry["debian"].rpartition("/")[2].split("_")[0]: entry for entry in found["packages"]}
    packages = [named[name] for name in sorted(PACKAGES) if name in named]
    return {"suite": found["suite"], "asked": ["bash", "coreutils"], "packages": packages}


@pytest.fixture(scope="module")
def distdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages that are needed here, from the cache that builds share."""
    settings = config.load(TOP, {"disk_cache": os.environ.get("THAW_TEST_CACHE", "")})
    shared = engines.create(settings, TOP / "toolchains/bubblewrap.yaml", 1)
    directory = tmp_path_factory.mktemp("distdir")
    (directory / "small.yaml").write_text("suite: trixie\npackages: [bash, coreutils]\n")
    (directory / "small.lock").write_text(json.dumps(lock()))
    names = [directory / "small.yaml"]
    names += [TOP / f"toolchains/{name}.yaml" for name in ("bubblewrap", "graphviz")]
    for name in names:
        toolchain = toolchains.read(name)
        shared.fetcher.ensure(toolchain.sources, name.stem)
        for source in toolchain.sources:
            shutil.copyfile(shared.store.path(source.digest), directory / source.name)
    return directory


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_project(tmp_path: Path, distdir: Path) -> Callable[[Path], Project]:
    def make(cache: Path) -> Project:
        project = Project(tmp_path / "project", cache, distdir)
        project.write("SConstruct", SCONSTRUCT)
        project.write("tree/etc/motd", f"hello {tmp_path}\n")  # in no other test's cache
        project.write("words", f"some words {tmp_path}\n")
        for name in ("small.yaml", "small.lock"):
            shutil.copyfile(distdir / name, project.top / name)
        return project

    return make


@pytest.fixture
def project(make_project: Callable[[Path], Project], cache: Path) -> Project:
    """A project whose default target was built once."""
    project = make_project(cache)
    project.run()
    return project


def digest_of(project: Project, name: str) -> str:
    return hashlib.sha256((project.top / name).read_bytes()).hexdigest()[:12]


# why


def test_before_the_first_build_nothing_is_known_and_nothing_built(
    make_project: Callable[[Path], Project], cache: Path
) -> None:
    project = make_project(cache)

    assert project.ask("why", "bundle")[0] == "m/bundle: not built yet in this checkout"
    assert not (project.top / "out/manifests/m/bundle.json").exists()


def test_an_edit_in_a_directory_is_named_before_and_after_the_build(project: Project) -> None:
    old = digest_of(project, "tree/etc/motd")
    new = project.write("tree/etc/motd", f"changed {project.top}\n")
    edit = f"tree/etc/motd changed: {old} -> {new}"

    assert project.ask("why") == [
        "m/bundle: runs only if other bytes come from m/rootfs",
        f"  m/rootfs: the next build runs it {NEVER}",
        f"    {edit}",
    ]
    project.run()
    assert project.ask("why", "bundle") == [
        f"m/bundle: up to date; last: ran {NEVER}",
        f"  input /deps/a changed: {old} -> {new}, from m/rootfs",
        f"    m/rootfs: ran {NEVER}",
        f"      {edit}",
    ]


def test_back_to_what_was_built_before_comes_from_the_cache(project: Project) -> None:
    text = (project.top / "tree/etc/motd").read_text()
    new = project.write("tree/etc/motd", f"changed {project.top}\n")
    project.run()
    old = project.write("tree/etc/motd", text)

    assert (
        project.ask("why", "rootfs")[0]
        == f"m/rootfs: the next build takes it from the cache {BEFORE}"
    )
    project.run()
    assert project.ask("why", "rootfs") == [
        f"m/rootfs: up to date; last: taken from the cache {BEFORE}",
        f"  tree/etc/motd changed: {new} -> {old}",
    ]


def test_equal_bytes_stop_a_change_and_are_told(project: Project) -> None:
    old = digest_of(project, "words")
    new = project.write("words", (project.top / "words").read_text().replace("some", "SOME"))
    project.run()

    assert project.ask("why", "bundle")[1:] == [
        "upper ran later, but gave the same bytes: m/bundle did not run",
        f"  upper: ran {NEVER}",
        f"    words changed: {old} -> {new}",
    ]


def test_a_description_that_changed_is_told_by_key(project: Project) -> None:
    project.edit("SConstruct", '"size": 1', '"size": 2')

    assert "  /src/options.json: disk.size changed: '1' -> '2'" in project.ask("why", "rootfs")


def test_a_package_in_the_lock_that_changed_is_told_by_version(project: Project) -> None:
    """``bc`` gets a new version (with other files in it), and another package goes."""
    value = lock()
    packages = {
        entry["debian"].rpartition("/")[2].split("_")[0]: entry for entry in value["packages"]
    }
    bc = packages["bc"]
    version = bc["debian"].rpartition("_")[0].rpartition("_")[2]
    bc |= {
        "debian": bc["debian"].replace(version, "99.1"),
        "sha256": packages["base-files"]["sha256"],
    }
    bc |= {"size": packages["base-files"]["size"]}
    value["packages"].remove(packages["base-files"])
    project.write("small.lock", json.dumps(value))
    base = packages["base-files"]["debian"].rpartition("_")[0].rpartition("_")[2]
    told = [f"package base-files {base} removed", f"package bc {version} -> 99.1"]

    before = project.ask("why")
    project.run()
    after = project.ask("why")

    assert [line.strip() for line in before if "package" in line] == told
    assert [line.strip() for line in after if "package" in line] == told
    assert any("new toolchain: " in line and "from toolchain small" in line for line in after)


def test_a_damaged_result_is_told(make_project: Callable[[Path], Project], tmp_path: Path) -> None:
    project = make_project(tmp_path / "cache of its own")
    project.run()
    manifest = json.loads((project.top / "out/manifests/m/bundle.json").read_text())
    blob = manifest["outputs"]["r"]["file"].partition("/")[0]
    (project.cache / "v1/cas" / blob[:2] / blob).unlink()
    (project.top / "out/.sconsign.dblite").unlink()
    project.run()

    assert project.ask("why", "bundle") == [
        "m/bundle: up to date; last: ran (its result in the cache was damaged)"
    ]


def test_another_cache_is_told(
    make_project: Callable[[Path], Project], project: Project, tmp_path: Path
) -> None:
    moved = Project(project.top, tmp_path / "another cache", project.distdir)
    lines = moved.ask("why", "toolchain small")

    assert lines == [
        "toolchain small: the cache is another one than the time before;"
        f" the next build runs it {NEVER}"
    ]
    moved.run()
    assert moved.ask("why", "rootfs") == [
        "m/rootfs: up to date; last: ran (the cache is another one than the time before)"
    ]


def test_a_damaged_record_is_not_known_and_breaks_nothing(project: Project) -> None:
    record = project.top / "out/manifests/m/rootfs.step"
    record.write_bytes(record.read_bytes()[:100])
    new = project.write("tree/etc/motd", f"changed {project.top}\n")

    assert project.ask("why", "rootfs") == [
        "m/rootfs: how it was made is not known: its record is missing or damaged"
    ]
    project.run()
    assert (project.top / "out/m/bundle.txt").read_text().startswith("changed")
    assert any(new in line for line in project.ask("why", "bundle"))


def test_a_target_may_be_named_by_alias_step_manifest_file_and_directory(project: Project) -> None:
    names = (
        "bundle",
        "m/bundle",
        "out/manifests/m/bundle.json",
        "out/m/bundle.txt",
        "./out/m/bundle.txt",
    )

    assert len({tuple(project.ask("why", name)) for name in names}) == 1


def test_an_unknown_target_is_an_error_that_names_the_known_ones(project: Project) -> None:
    done = project.run("why", "bundel", check=False)

    assert done.returncode == 2
    assert "bundel: is not made by any step" in done.stderr
    assert "bundle, fails, graph, rootfs" in done.stderr


def test_names_before_the_question_are_built_first(project: Project) -> None:
    old = digest_of(project, "tree/etc/motd")
    new = project.write("tree/etc/motd", f"changed {project.top}\n")

    assert project.ask("rootfs", "why")[-1] == f"  tree/etc/motd changed: {old} -> {new}"


# aquery


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


# graph


def test_the_graph_is_drawn_with_what_the_last_run_did(project: Project) -> None:
    project.run("graph")
    text = (project.top / "out/graph.dot").read_text()
    drawing = ElementTree.parse(project.top / "out/graph.svg").getroot()
    words = " ".join(drawing.itertext())

    assert '"m/rootfs" -> "m/bundle"' in text
    assert r'"fails" [label="fails\nnot made yet"' in text
    assert r'"m/bundle" [label="m/bundle\nbuilt, ' in text
    assert "graphviz" not in text
    assert drawing.tag.endswith("svg")
    assert "m/bundle" in words
    assert "built, " in words


def test_the_graph_of_one_target_is_what_it_is_made_from(project: Project) -> None:
    project.run("graph", "rootfs")
    text = (project.top / "out/graph.dot").read_text()

    assert '"toolchain small" -> "m/rootfs"' in text
    assert "bundle" not in text


# --profile


def events(path: Path) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return found


def test_a_profile_has_actions_phases_rows_and_the_critical_path(
    project: Project, tmp_path: Path
) -> None:
    project.write("tree/etc/motd", f"changed {project.top}\n")
    options = [f"THAW={TOP}", f"--disk-cache={project.cache}", f"--distdir={project.distdir}"]
    done = subprocess.run(
        [sys.executable, "-m", "SCons", "-Q", *options, f"--profile={tmp_path / 'trace'}"],
        cwd=project.top,
        capture_output=True,
        text=True,
    )
    found = events(tmp_path / "trace")
    works = [event for event in found if event["ph"] == "X"]
    phases = {event["cat"] for event in works if event.get("args") == {"action": "m/rootfs"}}
    rows = {e["args"]["name"].split(" (")[0] for e in found if e["name"] == "thread_name"}
    critical = [event["name"] for event in works if event["cat"] == "critical path"]

    assert done.returncode == 0, done.stdout + done.stderr
    assert phases >= {"action", "key", "lookup", "wait", "verify", "set-up", "run", "store"}
    assert rows >= {"critical path", "SCons", "worker 1"}
    assert critical == ["m/rootfs", "m/bundle"]
    assert "thaw: critical path " in done.stdout
    assert "m/rootfs → m/bundle" in done.stdout
    assert all(event["ts"] >= 0 and event["dur"] > 0 for event in works)


def test_a_profile_of_a_run_with_nothing_to_do_tells_the_start(
    project: Project, tmp_path: Path
) -> None:
    project.run(f"--profile={tmp_path / 'trace'}")
    names = [event["name"] for event in events(tmp_path / "trace") if event["ph"] == "X"]

    assert names == ["start of Python and SCons", "read SConstruct, look for work"]


def test_a_profile_that_cannot_be_written_is_refused_at_once(project: Project) -> None:
    done = project.run("--profile=nowhere/trace", check=False)

    assert done.returncode == 2
    assert "nowhere/trace: there is no such directory" in done.stderr
