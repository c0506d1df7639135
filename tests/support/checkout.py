"""A clean clone of the checkout, built through the cache that the main build has filled."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """What a run of SCons printed, and which steps it ran or took from the cache."""

    code: int
    text: str

    def _named(self, tag: str) -> set[str]:
        lines = [line for line in self.text.splitlines() if line.startswith(tag)]
        return {line.removeprefix(tag).strip().split("  ")[0] for line in lines}

    @property
    def built(self) -> set[str]:
        return self._named("[built]")

    @property
    def cached(self) -> set[str]:
        return self._named("[cached]")


def scons(top: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Run:
    """Run SCons in a directory; variables of ``environment`` come on top of this process's."""
    done = subprocess.run(
        [sys.executable, "-m", "SCons", *arguments],
        cwd=top,
        env={**os.environ, **(environment or {})},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return Run(done.returncode, done.stdout)


@dataclass(frozen=True)
class Clone:
    """A copy of the checkout's tracked files."""

    top: Path

    def scons(self, *arguments: str) -> Run:
        return scons(self.top, *arguments)

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        path = self.top / name
        path.write_text(change(path.read_text()))


def clone_to(top: Path) -> Clone:
    """Copy the checkout, less what Git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (TOP / name).is_file():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, top / name, follow_symlinks=False)
    return Clone(top)
