"""One graph of small actions, written down for every tool that is compared.

``LANES`` chains beside each other, joined by a last action: every action but the first of its chain
reads what the one before it wrote, adds its own number and writes the sum. The command is one
shell without a further process, so what is measured is the tool.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LANES = 10


@dataclass(frozen=True)
class Graph:
    """``size`` actions, numbered from 0; the last one needs all others."""

    size: int

    def inputs(self, number: int) -> list[int]:
        """The actions whose results an action reads."""
        if number == self.size - 1:
            return list(range(max(0, number - LANES), number))
        return [number - LANES] if number >= LANES else []


def command(number: int, inputs: Sequence[str], output: str) -> str:
    """What an action runs, for files of these names."""
    reads = "".join(f"read n < {path}; s=$((s + n)); " for path in inputs)
    return f"s={number}; {reads}echo $s > {output}"


def write_thaw(top: Path, graph: Graph, tools: Path, toolchain: Path) -> None:
    """An SConstruct that uses Thaw as a plugin. ``toolchain``: the description for all actions."""
    rows = [
        (graph.inputs(n), command(n, [f"/deps/{i}" for i in graph.inputs(n)], f"/out/{n}"))
        for n in range(graph.size)
    ]
    top.mkdir(parents=True)
    (top / "graph.json").write_text(json.dumps(rows))
    for path in (toolchain, toolchain.with_suffix(".lock")):
        shutil.copy(path, top)
    (top / "SConstruct").write_text(f"""
import json

DefaultEnvironment(tools=[])
env = Environment(tools=["thaw"], toolpath=[{str(tools)!r}], ENV={{}})
tools = env.Toolchain({toolchain.name!r})
made = []
for number, (inputs, command) in enumerate(json.load(open("graph.json"))):
    made.append(env.ThawStep(
        f"a{{number}}",
        toolchain=tools,
        argv=["sh", "-c", command],
        inputs={{f"/deps/{{i}}": env.ThawOutput(made[i], str(i)) for i in inputs}},
        outputs=[str(number)],
    ))
env.Alias("toolchain", tools)
env.Default(made[-1])
""")


def write_scons(top: Path, graph: Graph) -> None:
    """An SConstruct that runs the commands bare: what SCons itself costs."""
    top.mkdir(parents=True)
    lines = ["DefaultEnvironment(tools=[])", "env = Environment(tools=[])"]
    lines += ['Decider("content")']
    for n in range(graph.size):
        paths = [f"out/{i}" for i in graph.inputs(n)]
        text = command(n, paths, f"out/{n}").replace("$", "$$")
        lines.append(f"env.Command('out/{n}', {paths!r}, Action({text!r}, None))")
    lines.append(f"Default('out/{graph.size - 1}')")
    (top / "SConstruct").write_text("\n".join(lines) + "\n")


def write_make(top: Path, graph: Graph) -> None:
    """A Makefile that runs the commands bare."""
    (top / "out").mkdir(parents=True)
    lines = [f"out/{graph.size - 1}:"]
    for n in range(graph.size):
        paths = [f"out/{i}" for i in graph.inputs(n)]
        text = command(n, paths, f"out/{n}").replace("$", "$$")
        lines += [f"out/{n}: {' '.join(paths)}", f"\t@{text}"]
    (top / "Makefile").write_text("\n".join(lines) + "\n")


def write_bazel(top: Path, graph: Graph) -> None:
    """A workspace with a genrule for each action."""
    top.mkdir(parents=True)
    (top / "WORKSPACE").touch()
    rules = []
    for n in range(graph.size):
        sources = [f"{i}.txt" for i in graph.inputs(n)]
        text = command(n, ["\0"] * len(sources), "\1").replace("$", "$$")
        for source in sources:
            text = text.replace("\0", f"$(location {source})", 1)
        text = text.replace("\1", "$@")
        rules.append(f"genrule(name='a{n}', srcs={sources!r}, outs=['{n}.txt'], cmd={text!r})")
    (top / "BUILD").write_text("\n".join(rules) + "\n")


def write_buildstream(top: Path, graph: Graph, root: Path) -> None:
    """A project with an element for each action. ``root``: the sandbox's root file system."""
    elements = top / "elements"
    elements.mkdir(parents=True)
    shutil.copytree(root, top / "root", symlinks=True)
    (top / "project.conf").write_text("name: bench\nmin-version: 2.0\nelement-path: elements\n")
    source = {"kind": "local", "path": "root"}
    (elements / "base.bst").write_text(json.dumps({"kind": "import", "sources": [source]}))
    for n in range(graph.size):
        needs = graph.inputs(n)
        text = command(n, [f"/deps/{i}" for i in needs], f"%{{install-root}}/{n}")
        deps = [{"filename": f"a{i}.bst", "config": {"location": "/deps"}} for i in needs]
        element = {
            "kind": "script",
            "build-depends": ["base.bst", *deps],
            "config": {"commands": ["mkdir -p %{install-root}", text]},
        }
        (elements / f"a{n}.bst").write_text(json.dumps(element))
