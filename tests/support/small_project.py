"""A project of someone's own, with a small graph and a toolchain of a few packages."""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkout import TOP

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


def digest_of(project: Project, name: str) -> str:
    return hashlib.sha256((project.top / name).read_bytes()).hexdigest()[:12]
