"""The other tools: found on this machine, or said to be missing."""

import argparse
import contextlib
import os
import shutil
from pathlib import Path

from measure import Failed, run

BAZEL_COLD_SERVER = "Bazel, cold server"
HOW_TO_INSTALL = {
    "bazel": "apt install bazel-bootstrap (or --bazel=PATH)",
    "bst": "python3 -m venv VENV; VENV/bin/pip install BuildStream==2.8.1; --bst=VENV/bin/bst",
    "make": "apt install make",
}
_bazels: "list[Bazel]" = []


def find(name: str, options: argparse.Namespace) -> str:
    """The program's path. Raises Failed that says how to install it."""
    wanted = getattr(options, name, "") or name
    found = shutil.which(wanted)
    if not found:
        raise Failed(f"not installed: {HOW_TO_INSTALL[name]}")
    return os.path.abspath(found)


def say_what_is_missing(options: argparse.Namespace) -> None:
    """A line for each tool: its version, or how to get it."""
    for name in HOW_TO_INSTALL:
        try:
            program = find(name, options)
            print(f"- {name}: {_version(name, program)}")
        except Failed as error:
            print(f"- {name}: {error}")


def _version(name: str, program: str) -> str:
    if name == "bazel":  # its own version is not in Debian's build
        query = ["dpkg-query", "-W", "-f", "${Package} ${Version}", "bazel-bootstrap"]
        if shutil.which("dpkg-query") and program == "/usr/bin/bazel":
            return run(query, Path.cwd())
    return run([program, "--version"], Path.cwd()).splitlines()[0]


class Bazel:
    """Bazel on one workspace, with a server, an output base and a disk cache of its own."""

    def __init__(self, program: str, workspace: Path, base: Path, jobs: int) -> None:
        # Debian's Bazel does not find itself without the system's configuration file.
        self._line = [program, "--nohome_rc", f"--output_base={base}"]
        self._workspace, self.disk_cache, self._jobs = workspace, base.parent / "disk", jobs
        _bazels.append(self)

    def build(self, target: str) -> None:
        run(
            [*self._line, "build", "--spawn_strategy=linux-sandbox", "--nosandbox_debug"]
            + [f"--jobs={self._jobs}", f"--disk_cache={self.disk_cache}", "--color=no"]
            + ["--curses=no", "--noshow_progress", target],
            self._workspace,
        )

    def clean(self) -> None:
        run([*self._line, "clean"], self._workspace)

    def shutdown(self) -> None:
        """End the server, if there is one."""
        run([*self._line, "shutdown"], self._workspace)


def stop() -> None:
    """End the servers that were started, while their directories are still there."""
    while _bazels:
        with contextlib.suppress(Failed, OSError):
            _bazels.pop().shutdown()


class BuildStream:
    """BuildStream on one project, with a cache of its own.

    bwrap: how to call bubblewrap, which BuildStream looks for on the PATH
    """

    def __init__(self, program: str, project: Path, home: Path, bwrap: str, jobs: int) -> None:
        self._program, self._project, self._home, self._jobs = program, project, home, jobs
        shims = home / "bin"
        shims.mkdir(parents=True)
        (shims / "bwrap").write_text(f'#!/bin/sh\nexec {bwrap} "$@"\n')
        (shims / "bwrap").chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{shims}:{Path(program).parent}:{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "HOME": str(home),
        }

    def build(self, element: str) -> None:
        options = ["--no-interactive", "--no-colors", "--builders", str(self._jobs)]
        run([self._program, *options, "build", element], self._project, self._environment)

    def forget(self) -> None:
        """Empty the cache, but for the root file system."""
        shutil.rmtree(self._home / "cache", ignore_errors=True)
        self.build("base.bst")
