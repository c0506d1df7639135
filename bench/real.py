"""The real graph: nothing to do, and results restored from the warm cache."""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import actions
import peers
from checkout import TOP, clone_to
from measure import Case, Failed, measure, run

from thaw import config
from thaw.nodes import node_from_json
from thaw.store import Store

BUNDLE = "out/x86_64/bundle"
MANIFEST = "out/manifests/x86_64/wasm-bundle.json"
SCONS = [sys.executable, "-m", "SCons", "-Q"]


def nothing_to_do(options: argparse.Namespace, top: Path) -> None:
    """The section ``nothing``."""
    build = [*SCONS, "wasm-bundle"]
    if "up to date" not in run(build, TOP):  # it was not; is it now?
        run(build, TOP)
    empty = top / "empty"
    empty.mkdir()
    (empty / "SConstruct").touch()
    size = len(list((TOP / "out/manifests").rglob("*.json")))
    print(f"\nOther tools have a graph of as many actions: {size}.")
    cases = [
        Case("empty SConstruct", lambda: run(SCONS, empty)),
        Case("Thaw", lambda: _expect("up to date", run(build, TOP))),
        Case("Thaw, through ./sconsw", lambda: run(["./sconsw", "-Q", "wasm-bundle"], TOP)),
        *actions.peers_with_nothing_to_do(options, top, size),
    ]
    measured = measure("Nothing to do, real graph", cases, max(options.rounds, 5), "Thaw")
    peers.stop()
    seconds = {case.name: case.least for case in measured if case.seconds}
    cold = seconds.get(peers.BAZEL_COLD_SERVER)
    if cold and "Thaw" in seconds:
        print(f"\nThaw takes {seconds['Thaw'] / cold:.2f} of Bazel's time from a cold server.")


def restore(options: argparse.Namespace, top: Path) -> None:
    """The section ``restore``."""
    clone = clone_to(top / "checkout").top
    copy = top / "copy"
    build = [*SCONS, "wasm-bundle"]

    def restored() -> None:
        _expect("0 built", run(build, clone))

    restored()
    value = json.loads((clone / MANIFEST).read_text())
    node = node_from_json(value["outputs"]["bundle"])
    cache = config.load(clone, {}).cache_directory
    size = sum(path.stat().st_size for path in (clone / BUNDLE).rglob("*") if path.is_file())
    measure(
        f"Restoring from the warm cache; the bundle has {size / 1e6:.0f} MB",
        [
            Case(
                "cp -r",
                lambda: run(["cp", "-r", BUNDLE, str(copy)], clone),
                prepare=lambda: shutil.rmtree(copy, ignore_errors=True),
            ),
            Case(
                "store: lay the bundle out",
                lambda: Store(cache).lay_out(node, copy),
                prepare=lambda: shutil.rmtree(copy, ignore_errors=True),
            ),
            Case(
                "nothing removed: whole command",
                lambda: _expect("up to date", run(build, clone)),
            ),
            Case(
                "bundle removed: whole command",
                lambda: run(build, clone),
                prepare=lambda: shutil.rmtree(clone / BUNDLE),
            ),
            Case(
                "out/ removed: whole command",
                restored,
                prepare=lambda: shutil.rmtree(clone / "out"),
            ),
        ],
        max(options.rounds, 5),
        "cp -r",
    )
    os.sync()


def _expect(text: str, output: str) -> None:
    if text not in output:
        last = output.strip().splitlines()[-1:]
        raise Failed(f"expected {text!r}, make the cache warm with ./sconsw wasm-bundle: {last}")
