"""A small project, its packages and its cache."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import TOP
from small_project import SCONSTRUCT, Project, lock

from thaw import config
from thaw import engine as engines
from thaw import toolchain as toolchains


@pytest.fixture(scope="session")
def distdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages that are needed here, from the cache that builds share."""
    settings = config.load(TOP, {"disk_cache": os.environ.get("THAW_TEST_CACHE", "")})
    shared = engines.create(settings, TOP / "toolchains/bubblewrap.yaml", 1)
    directory = tmp_path_factory.mktemp("distdir")
    (directory / "small.yaml").write_text("suite: trixie\npackages: [bash, coreutils]\n")
    (directory / "small.lock").write_text(json.dumps(lock()))
    names = [directory / "small.yaml"]
    names += [TOP / f"toolchains/{name}.yaml" for name in ("bubblewrap", "graphviz")]
    for name in names:
        toolchain = toolchains.read(name)
        shared.fetcher.ensure(toolchain.sources, name.stem)
        for source in toolchain.sources:
            shutil.copyfile(shared.store.path(source.digest), directory / source.name)
    return directory


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_project(tmp_path: Path, distdir: Path) -> Callable[[Path], Project]:
    def make(cache: Path) -> Project:
        project = Project(tmp_path / "project", cache, distdir)
        project.write("SConstruct", SCONSTRUCT)
        project.write("tree/etc/motd", f"hello {tmp_path}\n")  # in no other test's cache
        project.write("words", f"some words {tmp_path}\n")
        for name in ("small.yaml", "small.lock"):
            shutil.copyfile(distdir / name, project.top / name)
        return project

    return make


@pytest.fixture
def project(make_project: Callable[[Path], Project], cache: Path) -> Project:
    """A project whose default target was built once."""
    project = make_project(cache)
    project.run()
    return project
