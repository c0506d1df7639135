"""Machines of a team: each has a checkout of a small project and a cache of its own.

The project's graph, of which ``site`` is asked for::

    numbers (a file, 1.3 MB) ──┐
    tree (a directory, 1 MB) ──┴─► sums ──┐
                                  words ──┴─► site
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from checkout import TOP, Run
from hostile_server import HostileServer

from thaw import records
from thaw.digest import Digest
from thaw.nodes import FileNode, TreeNode, from_proto
from thaw.step import Manifest

SCONSTRUCT = """\
env = Environment(tools=["thaw"], toolpath=[ARGUMENTS["THAW"] + "/site_scons/site_tools"])
small = env.Toolchain("small.yaml")

def step(name, script, inputs={}, toolchain=small, **more):
    argv = ["bash", "-euc", script]
    return env.ThawStep(name, toolchain=toolchain, argv=argv, inputs=inputs, outputs=["r"], **more)

def output(manifest):
    return env.ThawOutput(manifest, "r")

numbers = step("numbers", "seq 200000 > /out/r")
tree = step("tree", '''
mkdir -p /out/r/d /out/r/empty
seq 150000 > /out/r/d/n
ln -s d/n /out/r/link
printf '#!/bin/sh' > /out/r/run
chmod +x /out/r/run
''')
sums = step("sums", "wc -c /deps/numbers /deps/tree/link > /out/r; echo counted", {
    "/deps/numbers": output(numbers), "/deps/tree": output(tree),
})
site = step("site", '''
mkdir /out/r
cat /deps/sums > /out/r/index.html
tr a-z A-Z < /src/words >> /out/r/index.html
ln -s index.html /out/r/link
printf '#!/bin/sh' > /out/r/run
chmod +x /out/r/run
''', {"/deps/sums": output(sums), "/src/words": {"file": "words"}},
    lay_out={"r": "out/site/index.html"}, trees=["r"])
step("warm", "echo > /out/r")  # has the sandbox's own program made
env.Alias("site", env.ThawFiles(site))
env.Alias("sums", sums)
env.Default("site")
"""
STEPS = {"numbers", "tree", "sums", "site"}
ALL = STEPS | {"toolchain small"}
INDEX = """\
1288895 /deps/numbers
 938895 /deps/tree/link
2227790 total
"""


@dataclass(frozen=True)
class Project:
    """What the machines build: the files of the checkout, and a directory with its downloads."""

    top: Path
    distdir: Path


@dataclass(frozen=True)
class Machine:
    """A checkout at ``top``, and a cache beside it."""

    top: Path
    cache: Path
    distdir: Path

    @classmethod
    def make(cls, directory: Path, project: Project, cache: Path | None = None) -> "Machine":
        """A machine whose cache is empty, or as ``cache`` is."""
        machine = cls(directory / "checkout", directory / "cache", project.distdir)
        shutil.copytree(project.top, machine.top)
        if cache is not None:
            shutil.copytree(cache, machine.cache, symlinks=True)
        return machine

    def command(self, *arguments: str) -> list[str]:
        options = [f"THAW={TOP}", f"--disk-cache={self.cache}", f"--distdir={self.distdir}"]
        return [sys.executable, "-m", "SCons", "-Q", *options, *arguments]

    def start(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """A build that goes on. Its output, errors too, is its ``stdout``."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.top,
            env={**os.environ, **(environment or {})},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def build(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Run:
        return finish(self.start(*arguments, environment=environment))

    def configure(self, text: str) -> None:
        (self.top / "thaw.yaml").write_text(text)

    # What is there

    @property
    def index(self) -> str:
        return (self.top / "out/site/index.html").read_text()

    def manifests(self) -> dict[str, bytes]:
        """What SCons knows of each step."""
        return {
            path.stem: path.read_bytes() for path in (self.top / "out/manifests").glob("*.json")
        }

    def output(self, name: str) -> Manifest:
        return Manifest.read(self.top / f"out/manifests/{name}.json")

    def actions(self) -> dict[str, Digest]:
        """The digest of each step's action, as ``why`` remembers it."""
        found = {}
        for path in (self.top / "out/manifests").glob("*.json"):
            record = records.load(path)
            assert record is not None
            found[path.stem] = Digest.parse(record.plan.action)
        return found

    def blob(self, digest: Digest) -> Path:
        """Where a blob is in the cache, or would be."""
        place = self.cache / "v1/cas" / digest.hash[:2] / digest.hash
        executable = place.with_name(f"{place.name}.x")
        return executable if executable.exists() else place

    def forget_out(self) -> None:
        shutil.rmtree(self.top / "out")

    def forget_cache(self) -> None:
        shutil.rmtree(self.cache)


@dataclass(frozen=True)
class Published:
    """What a first machine gave to a server, and how it was left itself.

    actions: the digest of each step's action
    cache: with the toolchain, but with no result of a step that the site needs
    """

    blobs: dict[Digest, bytes]
    results: dict[str, reapi.ActionResult]
    manifests: dict[str, bytes]
    actions: dict[str, Digest]
    index: str
    cache: Path


def finish(process: subprocess.Popen[str], seconds: float = 120) -> Run:
    """Wait for a build's end."""
    text, _ = process.communicate(timeout=seconds)
    assert "Traceback" not in text, text
    return Run(process.returncode, text)


def warnings(run: Run) -> list[str]:
    """The lines about a server."""
    return [line for line in run.text.splitlines() if line.startswith("[remote]")]


def remotely(run: Run) -> set[str]:
    """The steps whose result a server gave."""
    lines = [line for line in run.text.splitlines() if line.endswith("remotely")]
    return {line.partition("]")[2].strip().split("  ")[0] for line in lines}


def false_blobs(cache: Path) -> list[Path]:
    """Blobs of a cache that are not what their names say. There should never be one."""
    blobs = [path for path in (cache / "v1/cas").glob("??/*") if path.is_file()]
    assert blobs, "an empty cache proves nothing"
    return [
        path for path in blobs if hashlib.sha256(path.read_bytes()).hexdigest() != path.name[:64]
    ]


def files_below(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]


# What a server was asked


def asked_for(server: HostileServer) -> set[Digest]:
    """The blobs that somebody wanted to read."""
    found: set[Digest] = set()
    for method, request in server.requests:
        if method == "BatchReadBlobs":
            found |= {from_proto(digest) for digest in request.digests}
        elif method == "Read":
            found.add(Digest.parse("/".join(request.resource_name.split("/")[-2:])))
    return found


def actions_asked_for(server: HostileServer) -> set[str]:
    """The actions, by the hash of their digest, whose result somebody wanted."""
    return {
        request.action_digest.hash
        for method, request in server.requests
        if method == "GetActionResult"
    }


def written_to(server: HostileServer) -> int:
    """How many calls tried to change something."""
    methods = ("BatchUpdateBlobs", "Write", "UpdateActionResult")
    return sum(server.calls[method] for method in methods)


def tree_blobs(server: HostileServer, tree: Digest) -> set[Digest]:
    """A Tree message and the files it names."""
    message = reapi.Tree.FromString(server.blobs[tree])
    directories = [message.root, *message.children]
    return {tree} | {from_proto(file.digest) for part in directories for file in part.files}


def large_blobs(machine: Machine, server: HostileServer) -> set[Digest]:
    """What ``numbers`` and ``tree`` made, of which only a sum is needed."""
    numbers, tree = (machine.output(name).outputs["r"] for name in ("numbers", "tree"))
    assert isinstance(numbers, FileNode) and isinstance(tree, TreeNode)
    return {numbers.digest} | tree_blobs(server, tree.tree)
