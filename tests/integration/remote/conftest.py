"""A small project, machines that build it, and a server that already has its results.

Its toolchain is made of a few real packages, which come from the cache that builds share.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkout import TOP
from hostile_server import HostileServer
from machines import SCONSTRUCT, Machine, Project, Published

from thaw import config
from thaw import engine as engines
from thaw import toolchain as toolchains

PACKAGES = """
    bash coreutils libc6 libtinfo6 libselinux1 libacl1 libattr1 libgmp10 libssl3t64 libpcre2-8-0
    libcap2 libzstd1 zlib1g
"""
YAML = """\
suite: trixie
packages: [bash, coreutils]
drop: [usr/share, usr/lib/x86_64-linux-gnu/gconv]
"""


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("distdir"))
    (project.top / "SConstruct").write_text(SCONSTRUCT)
    (project.top / "words").write_text("some words\n")
    (project.top / "small.yaml").write_text(YAML)
    lock = json.loads((TOP / "toolchains/image.lock").read_text())
    named = {entry["debian"].rpartition("/")[2].split("_")[0]: entry for entry in lock["packages"]}
    lock = {"suite": lock["suite"], "asked": ["bash", "coreutils"]}
    lock["packages"] = [named[name] for name in PACKAGES.split()]
    (project.top / "small.lock").write_text(json.dumps(lock))

    settings = config.load(TOP, {"disk_cache": os.environ.get("THAW_TEST_CACHE", "")})
    bubblewrap = TOP / "toolchains/bubblewrap.yaml"
    shared = engines.create(settings, bubblewrap, 1)
    for description in (project.top / "small.yaml", bubblewrap):
        toolchain = toolchains.read(description)
        shared.fetcher.ensure(toolchain.sources, description.stem)
        for source in toolchain.sources:
            shutil.copyfile(shared.store.path(source.digest), project.distdir / source.name)
    return project


@pytest.fixture(scope="session")
def published(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Published:
    first = Machine.make(tmp_path_factory.mktemp("first"), project)
    assert first.build("out/manifests/warm.json").code == 0
    first.forget_out()
    cache = first.top.parent / "tools"
    shutil.copytree(first.cache, cache, symlinks=True)
    with HostileServer() as server:
        run = first.build(f"--remote-cache={server.address}", "--remote-upload")
        assert run.code == 0, run.text
        return Published(
            server.blobs, server.results, first.manifests(), first.actions(), first.index, cache
        )


@pytest.fixture
def server(published: Published) -> Iterator[HostileServer]:
    """A server that has all results, and behaves until it is told otherwise."""
    with HostileServer() as server:
        server.blobs.update(published.blobs)
        server.results.update(published.results)
        yield server


@pytest.fixture
def empty_server() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.fixture
def fresh(project: Project, tmp_path: Path) -> Machine:
    """A machine that has nothing yet."""
    return Machine.make(tmp_path / "fresh", project)


@pytest.fixture
def make_machine(
    project: Project, published: Published, tmp_path: Path
) -> Callable[[str], Machine]:
    """Makes a machine that has the toolchain, so that it soon can build."""
    return lambda name: Machine.make(tmp_path / name, project, published.cache)


@pytest.fixture
def machine(make_machine: Callable[[str], Machine]) -> Machine:
    return make_machine("machine")
