"""Many small actions: every tool on the same graph, cold, restored, and with nothing to do."""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import graphs
import peers
from graphs import Graph
from measure import Case, Failed, measure, run

from thaw import config, sandbox, toolchain
from thaw.store import Store

TOP = Path(__file__).resolve().parents[1]
# What a shell and coreutils' env need, of the packages that toolchains/image.lock locks.
PACKAGES = ["coreutils", "dash", "libacl1", "libattr1", "libc6", "libgmp10", "libpcre2-8-0"]
PACKAGES += ["libselinux1", "libssl3t64", "libzstd1", "zlib1g"]
SCONS = [sys.executable, "-m", "SCons", "-Q"]


class Rig:
    """A small toolchain, and a cache that has nothing but it."""

    def __init__(self, top: Path, options: argparse.Namespace) -> None:
        self.top, self.jobs = top, options.jobs
        self.base_cache, self.description = top / "base-cache", top / "tools.yaml"
        top.mkdir(exist_ok=True)
        self._write_toolchain()
        graphs.write_thaw(
            top / "warm-up", Graph(2), TOP / "site_scons/site_tools", self.description
        )
        self.thaw(top / "warm-up", self.base_cache)

    def _write_toolchain(self) -> None:
        """The description and its lock; what the usual cache has of the packages is used."""
        image = json.loads((TOP / "toolchains/image.lock").read_text())
        wanted = [p for p in image["packages"] if _package(p) in PACKAGES]
        lock = {"suite": image["suite"], "asked": sorted(PACKAGES), "packages": wanted}
        self.description.with_suffix(".lock").write_text(json.dumps(lock))
        text = {
            "suite": image["suite"],
            "packages": PACKAGES,
            "links": {"usr/bin/sh": "dash"},
        }
        self.description.write_text(json.dumps(text))
        usual = Store(config.load(TOP, {}).cache_directory)
        (self.top / "packages").mkdir()
        for path in (self.description, TOP / "toolchains/bubblewrap.yaml"):
            for source in toolchain.read(path).packages:
                if usual.intact(source.digest):
                    shutil.copy(usual.path(source.digest), self.top / "packages" / source.name)

    def thaw(self, project: Path, cache: Path) -> str:
        options = [f"-j{self.jobs}", f"--disk-cache={cache}", f"--distdir={self.top / 'packages'}"]
        return run([*SCONS, *options], project)

    def root(self) -> Path:
        """The toolchain's tree, unpacked."""
        return next((self.base_cache / "v1/trees").glob("*/usr/bin/dash")).parents[2]

    def bwrap(self) -> str:
        """How to call bubblewrap: the host's, else the locked one that Thaw uses."""
        found = sandbox.host_bwrap()
        if found and not sandbox.fault(found):
            return found[0]
        tree = next((self.base_cache / "v1/trees").glob("*/usr/bin/bwrap")).parents[2]
        return " ".join(sandbox.locked_bwrap(tree))


def _package(entry: dict[str, str]) -> str:
    return entry["debian"].rpartition("/")[2].partition("_")[0]


def compare(options: argparse.Namespace, top: Path) -> None:
    """The section ``actions``."""
    rig = Rig(top, options)
    rows = []
    for size in options.sizes:
        here = top / str(size)
        cases = [
            *_thaw(rig, here, size),
            *_bare(here, size),
            *_bazel(options, here, size),
            *_buildstream(options, rig, here, size),
        ]
        title = f"{size} small actions"
        measured = measure(title, cases, options.rounds, "make: all")
        peers.stop()
        rows.append((size, {case.name: case for case in measured if case.seconds}))
        for path in here.iterdir():
            run(["rm", "-rf", str(path)], top)
    _print_growth(rows)


def _thaw(rig: Rig, here: Path, size: int) -> list[Case]:
    project, cache = here / "thaw", here / "cache"
    graphs.write_thaw(project, Graph(size), TOP / "site_scons/site_tools", rig.description)

    def build(least: int, most: int) -> None:
        output = rig.thaw(project, cache)
        found = re.search(r"^thaw: (\d+) built", output, re.MULTILINE)
        built = int(found[1]) if found else 0
        if not least <= built <= most:
            raise Failed(f"{least} to {most} actions should have been run, not {built}")

    def forget_all() -> None:
        run(["rm", "-rf", str(cache), str(project / "out")], here)
        run(["cp", "-a", str(rig.base_cache), str(cache)], here)

    def forget_results() -> None:
        shutil.rmtree(project / "out")

    return [
        # The first two may be known from the warm-up.
        Case("Thaw: all", lambda: build(size - 2, size), forget_all, size),
        Case("Thaw: out/ restored", lambda: build(0, 0), forget_results, size),
        Case("Thaw: nothing to do", lambda: build(0, 0), actions=size),
    ]


def _bare(here: Path, size: int) -> list[Case]:
    """make, and SCons without Thaw: the commands themselves, unsandboxed and uncached."""
    graphs.write_make(here / "make", Graph(size))
    graphs.write_scons(here / "scons", Graph(size))
    (here / "scons/out").mkdir()
    cases = []
    for name, command, folder in (("make", ["make", "-j1"], "make"), ("SCons", SCONS, "scons")):
        work = _runs(command, here / folder)
        clear = _clears(here / folder / "out", here / folder / ".sconsign.dblite")
        cases.append(Case(f"{name}: all", work, clear, size))
        cases.append(Case(f"{name}: nothing to do", work, actions=size))
    return cases


def _runs(command: list[str], where: Path) -> Callable[[], object]:
    return lambda: run(command, where)


def _clears(out: Path, *files: Path) -> Callable[[], object]:
    def clear() -> None:
        shutil.rmtree(out)
        out.mkdir()
        for path in files:
            path.unlink(missing_ok=True)

    return clear


def _bazel(options: argparse.Namespace, here: Path, size: int) -> list[Case]:
    try:
        program = peers.find("bazel", options)
    except Failed as error:
        return [Case("Bazel", lambda: None, problem=str(error))]
    graphs.write_bazel(here / "bazel/workspace", Graph(size))
    bazel = peers.Bazel(program, here / "bazel/workspace", here / "bazel/base", options.jobs)
    target = f"//:a{size - 1}"

    def forget_all() -> None:
        bazel.clean()
        shutil.rmtree(bazel.disk_cache, ignore_errors=True)

    def work() -> None:
        bazel.build(target)

    return [
        Case("Bazel: all, warm server", work, forget_all, size),
        Case("Bazel: outputs restored", work, bazel.clean, size),
        Case("Bazel: nothing to do, warm server", work, actions=size),
        Case("Bazel: nothing to do, cold server", work, bazel.shutdown, size),
    ]


def _buildstream(options: argparse.Namespace, rig: Rig, here: Path, size: int) -> list[Case]:
    try:
        program = peers.find("bst", options)
        if size > options.peer_limit:
            raise Failed(f"more than --peer-limit={options.peer_limit}")
    except Failed as error:
        return [Case("BuildStream", lambda: None, problem=str(error))]
    graphs.write_buildstream(here / "bst/project", Graph(size), rig.root())
    home = here / "bst/home"
    bst = peers.BuildStream(program, here / "bst/project", home, rig.bwrap(), options.jobs)

    def work() -> None:
        bst.build(f"a{size - 1}.bst")

    return [
        Case("BuildStream: all", work, bst.forget, size),
        Case("BuildStream: nothing to do", work, actions=size),
    ]


def peers_with_nothing_to_do(options: argparse.Namespace, top: Path, size: int) -> list[Case]:
    """The other tools on a graph of so many actions that was just built."""
    rig = Rig(top / "rig", options)
    cases = [*_bare(top, size), *_bazel(options, top, size)]
    cases += _buildstream(options, rig, top, size)
    found = []
    for case in cases:
        if ": all" in case.name:
            _build_once(case)
        elif "nothing" in case.name or case.problem:
            case.name = case.name.replace(": nothing to do", "")
            case.actions = 0
            found.append(case)
    return found


def _build_once(case: Case) -> None:
    case.time_once()
    if case.problem:
        raise Failed(f"{case.name}: {case.problem}")


def _print_growth(rows: list[tuple[int, dict[str, Case]]]) -> None:
    """Milliseconds an action, as the graph grows."""
    names = ["Thaw: all", "Thaw: out/ restored", "Thaw: nothing to do", "SCons: all", "make: all"]
    print("\n**Milliseconds an action, as the number of actions grows**\n")
    print(f"| | {' | '.join(str(size) for size, _ in rows)} |")
    print(f"|---|{'---|' * len(rows)}")

    def line(title: str, value: Callable[[int, dict[str, Case]], float]) -> None:
        cells = []
        for size, cases in rows:
            try:
                cells.append(f"{value(size, cases) / size * 1000:.1f}")
            except KeyError:
                cells.append("")
        print(f"| {title} | {' | '.join(cells)} |")

    for name in names:
        line(name, lambda _, cases, name=name: cases[name].least)  # type: ignore[misc]
    line(
        "sandbox and store (Thaw less SCons)",
        lambda _, cases: cases["Thaw: all"].least - cases["SCons: all"].least,
    )
    line(
        "all of Thaw (Thaw less make)",
        lambda _, cases: cases["Thaw: all"].least - cases["make: all"].least,
    )
    line("processor time, Thaw: all", lambda _, cases: min(cases["Thaw: all"].cpu_seconds))
    line("processor time, make: all", lambda _, cases: min(cases["make: all"].cpu_seconds))
    os.sync()
