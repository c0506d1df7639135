"""A damaged cache heals by itself: what is not whole is set aside and made again, then used."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thaw.executor import Executor
from thaw.local import LocalRunner
from thaw.nodes import FileNode
from thaw.step import Engine, Manifest, Step

TOP = Path(__file__).resolve().parents[2]


def fresh(engine: Engine) -> Engine:
    """The same cache in a new process, which has checked nothing yet."""
    artifacts, here = engine.executor.artifacts, engine.executor.here
    executor = Executor(artifacts, LocalRunner(artifacts, here.bwrap, 1))
    return replace(engine, executor=executor)


@pytest.fixture
def chain(
    make_step: Callable[..., Step], tmp_path: Path
) -> tuple[Step, Path, Callable[[str], Step]]:
    """A first step, its manifest, and what makes a second one that reads the first one's output."""
    manifest = tmp_path / "first.json"

    def second(script: str) -> Step:
        inputs: dict[str, Any] = {"/src/x": {"manifest": str(manifest), "output": "x"}}
        return make_step(script, inputs, name="second")

    return make_step("echo hello > /out/x", name="first"), manifest, second


def damage(engine: Engine, manifest: Path, how: Callable[[Path], object]) -> None:
    node = Manifest.read(manifest).outputs["x"]
    assert isinstance(node, FileNode)
    path = engine.store.path(node.digest)
    path.chmod(0o644)
    how(path)


@pytest.mark.parametrize(
    "how",
    [
        lambda path: path.write_text("jello\n"),
        lambda path: path.write_text("he"),
        lambda path: path.unlink(),
    ],
    ids=["flipped bit", "truncated", "gone"],
)
def test_a_damaged_input_is_made_again_before_it_is_used(
    engine: Engine,
    chain: tuple[Step, Path, Callable[[str], Step]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    how: Callable[[Path], object],
) -> None:
    first, manifest, second = chain
    engine.run_step(first, manifest)
    damage(engine, manifest, how)

    result = fresh(engine).run_step(second("cat /src/x > /out/x"), tmp_path / "second.json")

    node = result.outputs["x"]
    assert isinstance(node, FileNode)
    assert engine.store.read(node.digest) == b"hello\n"
    assert "[damage]" in capsys.readouterr().out


def test_a_toolchain_that_lost_bits_is_unpacked_again(
    engine: Engine, make_step: Callable[..., Step], tmp_path: Path
) -> None:
    manifest = tmp_path / "firmware.json"
    engine.run_toolchain(TOP / "toolchains/firmware.yaml", manifest)
    root = Manifest.read(manifest).outputs["root"]
    bios = next(engine.store.unpacked(root).glob("usr/share/seabios/bios.bin"))  # type: ignore[arg-type]
    good = bios.read_bytes()
    bios.chmod(0o644)
    bios.write_bytes(bytes(len(good)))

    inputs = {"/src/fw": {"manifest": str(manifest), "output": "root"}}
    step = make_step("cp /src/fw/usr/share/seabios/bios.bin /out/x", inputs)
    result = fresh(engine).run_step(step, tmp_path / "step.json")

    node = result.outputs["x"]
    assert isinstance(node, FileNode)
    assert engine.store.read(node.digest) == good
