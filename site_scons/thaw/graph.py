"""The graph of steps as DOT text, for Graphviz: what was cached, and how long each took."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from thaw.progress import duration, size

COLORS = {
    "built": "#f6c177",
    "remote-built": "#eb9c5c",
    "cached": "#b5d99c",
    "remote-cached": "#9cc7e8",
    "": "#ffffff",
}
WORDS = {
    "built": "built",
    "remote-built": "built remotely",
    "cached": "from the cache",
    "remote-cached": "from the remote cache",
    "": "not made yet",
}


@dataclass(frozen=True)
class Box:
    """One step. ``outcome``: of its last run; seconds and size (bytes) where they are known."""

    name: str
    needs: Sequence[str]
    outcome: str = ""
    seconds: float | None = None
    size: int | None = None

    @property
    def is_toolchain(self) -> bool:
        return self.name.startswith("toolchain ")


def dot(boxes: Sequence[Box]) -> str:
    """DOT text; the same for the same boxes, in whatever order."""
    lines = [
        "digraph thaw {",
        '  graph [rankdir=LR, ranksep=0.6, nodesep=0.25, fontname="DejaVu Sans"]',
        '  node [shape=box, style="filled,rounded", fontname="DejaVu Sans", fontsize=11]',
        '  edge [color="#777777", arrowsize=0.7]',
    ]
    lighter = {box.name for box in boxes if box.is_toolchain}
    for box in sorted(boxes, key=lambda box: box.name):
        extra = (
            ', style="filled,dashed", color="#aaaaaa", fontcolor="#777777"'
            if box.is_toolchain
            else ""
        )
        color = COLORS.get(box.outcome, COLORS[""])
        fill = f"{color}66" if box.is_toolchain else color
        label = _quoted(_label(box))
        lines.append(f'  {_quoted(box.name)} [label={label}, fillcolor="{fill}"{extra}]')
    for box in sorted(boxes, key=lambda box: box.name):
        for need in sorted(set(box.needs)):
            light = ' [color="#cccccc", style=dashed]' if need in lighter else ""
            lines.append(f"  {_quoted(need)} -> {_quoted(box.name)}{light}")
    return "\n".join([*lines, "}", ""])


def _label(box: Box) -> str:
    facts = [WORDS.get(box.outcome, box.outcome)]
    if box.seconds is not None:
        facts.append(duration(box.seconds))
    if box.size is not None:
        facts.append(size(box.size))
    return f"{box.name}\n{', '.join(facts)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # DOT's quoted strings: \" and \n as in JSON
