"""The benchmark's parts: the same graph for every tool, and a table that hides nothing."""

import json
import subprocess
import sys
from pathlib import Path

import graphs
import pytest
from graphs import Graph
from measure import Case, Failed, measure

TOP = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("size", [2, 10, 11, 35])
def test_the_last_of_the_small_actions_adds_up_all_of_them(size: int, tmp_path: Path) -> None:
    graphs.write_scons(tmp_path / "g", Graph(size))

    subprocess.run([sys.executable, "-m", "SCons", "-Q"], cwd=tmp_path / "g", check=True)

    assert int((tmp_path / "g/out" / str(size - 1)).read_text()) == sum(range(size))


def test_every_tool_is_given_the_same_dependencies(tmp_path: Path) -> None:
    graph = Graph(25)
    root = tmp_path / "root"
    root.mkdir()
    toolchain = tmp_path / "tools.yaml"
    toolchain.write_text("{}")
    toolchain.with_suffix(".lock").write_text("{}")

    graphs.write_thaw(tmp_path / "thaw", graph, TOP / "site_scons/site_tools", toolchain)
    graphs.write_make(tmp_path / "make", graph)
    graphs.write_bazel(tmp_path / "bazel", graph)
    graphs.write_buildstream(tmp_path / "bst", graph, root)

    rows = json.loads((tmp_path / "thaw/graph.json").read_text())
    makefile = (tmp_path / "make/Makefile").read_text()
    build = (tmp_path / "bazel/BUILD").read_text()
    for number in range(graph.size):
        needs = graph.inputs(number)
        assert rows[number][0] == needs
        assert f"out/{number}: {' '.join(f'out/{i}' for i in needs)}\n" in makefile
        assert f"name='a{number}', srcs={[f'{i}.txt' for i in needs]!r}" in build
        element = json.loads((tmp_path / f"bst/elements/a{number}.bst").read_text())
        assert [d["filename"] for d in element["build-depends"][1:]] == [f"a{i}.bst" for i in needs]


def test_a_case_that_fails_is_a_row_that_says_why_and_the_others_are_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise Failed("no such tool")

    cases = [Case("good", lambda: None, actions=10), Case("bad", fail), Case("also", lambda: None)]
    measure("Three", cases, 2, "good")

    rows = capsys.readouterr().out.splitlines()
    assert len(cases[0].seconds) == len(cases[2].seconds) == 2
    assert any(row.startswith("| bad | no such tool |") for row in rows)
    assert any(row.startswith("| good | 0.000 s |") and row.endswith(" 1.00 |") for row in rows)
    assert len({row.count("|") for row in rows if row.startswith("|")}) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nonsense"], "no such section: nonsense"), (["--sizes", "1"], "must be 2 or more")],
    ids=["unknown section", "too small"],
)
def test_wrong_arguments_are_refused_before_anything_runs(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, str(TOP / "bench/overhead.py"), *arguments],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
