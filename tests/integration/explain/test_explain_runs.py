"""``graph`` and ``--profile``: what a run did, and where its time went."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from checkout import TOP
from small_project import Project


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
