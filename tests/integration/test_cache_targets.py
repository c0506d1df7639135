"""cache-info and cache-gc at the command line, and a configured size."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from checkout import TOP, Run, scons

from thaw import config
from thaw import engine as engines
from thaw import toolchain as toolchains
from thaw.inventory import take

SCONSTRUCT = """
env = Environment(tools=["thaw"], toolpath=[ARGUMENTS["THAW"] + "/site_scons/site_tools"])
small = env.Toolchain("small.yaml")

def step(name, script, inputs={}):
    return env.ThawStep(
        name, toolchain=small, argv=["bash", "-ec", script], inputs=inputs, outputs=["result"]
    )

first = step("first", "head -c 3000000 /dev/urandom > /out/result")
inputs = {"/src/first": env.ThawOutput(first, "result")}
second = step("second", "head -c 1000000 /src/first > /out/result", inputs)
env.Alias("both", [first, second])
env.CacheInfo("cache-info")
env.CacheGc(
    "cache-gc", max_size=ARGUMENTS.get("MAX_SIZE", ""), max_age=ARGUMENTS.get("MAX_AGE", "")
)
env.Default("both")
"""


PACKAGES = ["bash", "coreutils", "libc6", "libtinfo6", "libselinux1", "libacl1", "libattr1"]
PACKAGES += ["libgmp10", "libssl3t64", "libpcre2-8-0", "libcap2", "libzstd1", "zlib1g"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was built once: a cache with a small toolchain and two small results.

    Its packages come from the cache that builds share.
    """
    top = tmp_path_factory.mktemp("built")
    (top / "SConstruct").write_text(SCONSTRUCT)
    (top / "small.yaml").write_text("suite: trixie\npackages: [bash, coreutils]\n")
    lock = json.loads((TOP / "toolchains/image.lock").read_text())
    named = {entry["debian"].rpartition("/")[2].split("_")[0]: entry for entry in lock["packages"]}
    packages = [named[name] for name in PACKAGES]
    lock = {"suite": lock["suite"], "asked": ["bash", "coreutils"], "packages": packages}
    (top / "small.lock").write_text(json.dumps(lock))
    settings = config.load(TOP, {"disk_cache": os.environ.get("THAW_TEST_CACHE", "")})
    bubblewrap = TOP / "toolchains/bubblewrap.yaml"
    shared = engines.create(settings, bubblewrap, 1)
    (top / "distdir").mkdir()
    for description in (top / "small.yaml", bubblewrap):
        sources = toolchains.read(description).sources
        shared.fetcher.ensure(sources, description.stem)
        for source in sources:
            shutil.copyfile(shared.store.path(source.digest), top / "distdir" / source.name)
    assert run(top).built >= {"first", "second"}
    return top


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "project", symlinks=True))


def run(project: Path, *arguments: str) -> Run:
    options = [f"--disk-cache={project / 'cache'}", f"--distdir={project / 'distdir'}"]
    return scons(project, "-Q", f"THAW={TOP}", *options, *arguments)


def grow_old(project: Path) -> None:
    then = time.time() - 40 * 86400
    for part in ("cas", "ac", "trees"):
        for path in (project / "cache/v1" / part).glob("*" if part == "trees" else "*/*"):
            os.utime(path, (then, path.lstat().st_mtime), follow_symlinks=False)


def test_cache_info_tells_kinds_and_the_largest_results(project: Path) -> None:
    told = run(project, "cache-info")
    assert told.code == 0, told.text
    assert re.search(r" \d +results of actions +just now", told.text)
    assert re.search(r"3\.0 MB +first +just now", told.text)
    assert "nobody else uses it now" in told.text


def test_cache_info_of_targets_tells_what_they_keep(project: Path) -> None:
    told = run(project, "cache-info", "second")
    assert re.search(r"1\.0 MB +1\.0 MB +second\n", told.text), told.text
    assert re.search(r"3\.0 MB +3\.0 MB +first\n", told.text)
    assert told.built == told.cached == set()


def test_cache_gc_removes_what_is_old_and_a_dry_run_only_says_so(project: Path) -> None:
    grow_old(project)
    assert run(project, "-n", "cache-gc").text.count("would be removed") == 1
    assert run(project).built == run(project).cached == set()
    grow_old(project)
    told = run(project, "cache-gc")
    assert re.search(r" \d results of actions", told.text), told.text
    assert run(project, "cache-gc", "MAX_SIZE=1T").text.endswith("of which 0 B removed\n")
    (project / "out").rename(project / "out.before")
    assert "first" in run(project).built


@pytest.mark.parametrize(
    ("argument", "error"), [("MAX_SIZE=much", "is no size"), ("MAX_AGE=30", "is no age")]
)
def test_a_limit_that_is_none_is_an_error(project: Path, argument: str, error: str) -> None:
    told = run(project, "cache-gc", argument)
    assert told.code == 2
    assert error in told.text
    assert "Traceback" not in told.text


def test_a_configured_size_is_kept_after_each_build(project: Path) -> None:
    (project / "thaw.yaml").write_text("max-size: 1M\n")
    grow_old(project)
    before = take(project / "cache/v1").size
    (project / "SConstruct").write_text(SCONSTRUCT.replace("3000000", "4000000"))
    told = run(project)
    assert told.code == 0, told.text
    assert "thaw: cache-gc: " in told.text
    assert "were used by this build" in told.text
    assert take(project / "cache/v1").size < before
    assert run(project).built == set(), "what this build used is there"


def test_a_configured_size_that_is_none_is_an_error_at_the_start(project: Path) -> None:
    (project / "thaw.yaml").write_text("max-size: large\n")
    told = run(project)
    assert told.code == 2
    assert "max-size: 'large' is no size" in told.text
