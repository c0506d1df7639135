"""The real toolchain, once for all tests, and engines of a test's own that use it.

Packages are shared with builds: they come from the cache directory that THAW_TEST_CACHE names,
else from the usual one.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from rig import Tools

from thaw import config
from thaw import engine as engines
from thaw.executor import Result
from thaw.step import Engine, Step

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """The toolchain that builds kernels: C compiler, Python, tar, patch."""
    settings = config.load(TOP, {"disk_cache": os.environ.get("THAW_TEST_CACHE", "")})
    shared = engines.create(settings, TOP / "toolchains/bubblewrap.yaml", 8)
    manifest = tmp_path_factory.mktemp("tools") / "toolchain.json"
    shared.run_toolchain(TOP / "toolchains/image.yaml", manifest)
    return Tools.of(shared, manifest)


@pytest.fixture
def engine(tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine with an empty cache."""
    monkeypatch.setattr("thaw.local.POLL", 0.05)
    return tools.engine(tmp_path / "cache")


@pytest.fixture
def make_step(tools: Tools) -> Callable[..., Step]:
    """Makes a step from a shell script. It is called ``step`` unless it says otherwise."""

    def make(
        script: str,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
        outputs: tuple[str, ...] = ("x",),
        **more: Any,
    ) -> Step:
        values: dict[str, Any] = {"name": "step", "argv": ("bash", "-euc", script), **more}
        return Step(toolchain=tools.manifest, inputs=inputs or {}, outputs=outputs, **values)

    return make


class Run(Protocol):
    """Runs a shell script as a step; raises what the engine raises."""

    def __call__(
        self,
        script: str,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
        outputs: tuple[str, ...] = ("x",),
        **more: Any,
    ) -> Result: ...


@pytest.fixture
def run(engine: Engine, make_step: Callable[..., Step], tmp_path: Path) -> Run:
    def run_step(
        script: str,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
        outputs: tuple[str, ...] = ("x",),
        **more: Any,
    ) -> Result:
        step = make_step(script, inputs, outputs, **more)
        return engine.run_step(step, tmp_path / f"{step.name}.json")

    return run_step
