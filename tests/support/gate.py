"""A step that waits at a gate, in processes that a test may interrupt or kill."""

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rig import Tools

from thaw.step import Step

SUPPORT = Path(__file__).resolve().parent
PYTHONPATH = f"{SUPPORT.parents[1] / 'site_scons'}:{SUPPORT}"

# Waits inside the sandbox until the test lets it go on, through the compiler cache: that is
# shared with the outside, and not part of the action.
GATE = """
echo run >> /ccache/runs
sleep {token} &
until test -e /ccache/go; do sleep 0.05; done
{then}
"""


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


class Build:
    """A step that waits at a gate, on a cache of its own, and processes that run it."""

    def __init__(
        self,
        tools: Tools,
        make_step: Callable[..., Step],
        top: Path,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
        then: str = "echo done > /out/x",
    ) -> None:
        # Only the path is kept: a process that has the store open would keep its tmp/ from the
        # cleaning that the next build does.
        self.top, self.store = top, tools.engine(top / "cache").store.top
        # How long the step's child sleeps (in seconds: for ever) is what it is known by.
        self.token = str(uuid.uuid4().int % 10**12 + 10**9)
        self.step = make_step(GATE.format(token=self.token, then=then), inputs, use_ccache=True)
        (top / "step.json").write_text(self.step.to_json())
        tools.write(top / "tools.json")

    def start(self) -> subprocess.Popen[str]:
        names = ("tools.json", "cache", "step.json", "manifest.json")
        return subprocess.Popen(
            [sys.executable, str(SUPPORT / "rig.py"), *(str(self.top / name) for name in names)],
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C goes to a whole group of processes
        )

    @property
    def ccache(self) -> Path:
        (path,) = (self.store / "ccache").iterdir()
        return path

    def runs(self) -> int:
        """How often the step has been started."""
        with contextlib.suppress(OSError, ValueError):
            return len((self.ccache / "runs").read_text().splitlines())
        return 0

    def processes(self) -> list[str]:
        """The step's child, if it is alive, and what carries its script: all have its token."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if self.token.encode() in path.read_bytes():
                    found.append(path.parent.name)
        return found

    def is_running(self) -> bool:
        """Whether the step has started, its child included."""
        sleeping = f"sleep\0{self.token}\0".encode()
        lines = [Path(f"/proc/{number}/cmdline").read_bytes() for number in self.processes()]
        return self.runs() > 0 and sleeping in lines

    def open_gate(self) -> None:
        (self.ccache / "go").touch()

    def finish(self) -> str:
        """Let it run to its end, in a process that must succeed: what it said."""
        self.open_gate()
        process = self.start()
        said = process.communicate(timeout=60)[0]
        assert process.returncode == 0, said
        return said.splitlines()[-1]

    def stored_nothing(self) -> bool:
        results = [path for path in (self.store / "ac").rglob("*") if path.is_file()]
        return not results and not (self.top / "manifest.json").exists()
