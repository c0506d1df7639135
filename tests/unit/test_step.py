"""Steps and manifests: small files by which a build tool sees what changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from thaw.artifacts import Artifacts
from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.executor import Executor
from thaw.fetch import Fetcher
from thaw.local import LocalRunner
from thaw.nodes import FileNode, TreeNode
from thaw.outputs import to_result
from thaw.step import Engine, Manifest, Step, files_of
from thaw.store import Store

FILE = FileNode(Digest.of_bytes(b"file"), executable=True)
TREE = TreeNode(Digest.of_bytes(b"root"), Digest.of_bytes(b"tree"))


def step(**more: Any) -> Step:
    values: dict[str, Any] = {"name": "hello", "argv": ("true",), "toolchain": "tools.json"}
    return Step(**{**values, "inputs": {}, "outputs": ("x",), **more})


@pytest.fixture
def engine(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that can look steps up but not run them; the current directory is the test's."""

    def no_bwrap() -> tuple[str, ...]:
        raise ThawError("the step was run")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("thaw.local.FIRST_BUILD_SPACE", 0)
    empty = store.put_bytes(b"")
    Manifest({"root": TreeNode(empty, empty)}).write(tmp_path / "tools.json")
    artifacts = Artifacts(store)
    return Engine(store, Fetcher(store), Executor(artifacts, LocalRunner(artifacts, no_bwrap, 1)))


def made_before(engine: Engine, one: Step) -> None:
    """Have a result of a step in the cache: ``x``."""
    _, digest = engine.plan(one)
    outputs = {"x": FileNode(engine.store.put_bytes(b"made before"))}
    engine.store.put_result(digest, to_result(outputs, None, 0, 0))


def test_a_step_survives_json() -> None:
    one = step(environment={"A": "b"}, platform={"c": "d"}, use_ccache=True)
    assert Step.from_json(one.to_json()) == one


def test_a_manifest_is_the_same_whenever_its_outputs_are(tmp_path: Path) -> None:
    Manifest({"a": FILE, "b": TREE}, {"E": "1"}).write(tmp_path / "one")
    Manifest({"b": TREE, "a": FILE}, {"E": "1"}).write(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert Manifest.read(tmp_path / "one") == Manifest({"a": FILE, "b": TREE}, {"E": "1"})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"outputs": []}', '{"outputs": {"x": 5}}', '{"outputs": {"x": {}}}']
)
def test_a_damaged_manifest_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ThawError, match=r"x\.json: not a manifest: ") as raised:
        Manifest.read(tmp_path / "x.json")
    assert raised.value.remedy == "remove it and build again: it is made from the cache"


def test_an_output_that_a_manifest_does_not_have_is_named() -> None:
    with pytest.raises(ThawError, match=r"out/x\.json: has no output c, only a, b"):
        Manifest({"a": FILE, "b": TREE}).output("c", "out/x.json")


def test_files_of_are_those_a_build_tool_must_watch() -> None:
    inputs: list[dict[str, Any]] = [
        {"file": "a"},
        {"dir": "b"},
        {"manifest": "c", "output": "x"},
        {"json": {"file": "no"}},
        {"source": {"name": "no"}},
    ]
    assert files_of(inputs) == ["a", "b", "c"]


def test_a_result_in_the_cache_needs_no_sandbox(engine: Engine, tmp_path: Path) -> None:
    made_before(engine, step())
    manifest = tmp_path / "out/hello.json"
    assert engine.run_step(step(), manifest).outcome == "cached"
    assert list(Manifest.read(manifest).outputs) == ["x"]
    engine.lay_out("hello", manifest, {"x": tmp_path / "out/x"})
    assert (tmp_path / "out/x").read_text() == "made before"


@pytest.mark.parametrize("lost", ["output", "result"])
def test_a_result_that_is_not_whole_is_made_again(
    engine: Engine, tmp_path: Path, lost: str
) -> None:
    made_before(engine, step())
    store = engine.store
    if lost == "output":
        store.discard(Digest.of_bytes(b"made before"))
    else:
        (path,) = (store.top / "ac").rglob("??/*")
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ThawError, match="the step was run"):
        engine.run_step(step(), tmp_path / "hello.json")
    assert not (tmp_path / "hello.json").exists()


def test_inputs_come_from_the_checkout_other_steps_and_data(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").write_text("text")
    tree = engine.store.capture(tmp_path / "dir")
    Manifest({"x": tree}, platform={"thaw-shareable": "no"}).write(tmp_path / "other.json")
    source = {"name": "s", "sha256": FILE.digest.hash, "size": FILE.digest.size, "url": "u"}
    inputs = {
        "/file": {"file": "dir/file"},
        "/dir": {"dir": "dir"},
        "/out-of": {"manifest": "other.json", "output": "x"},
        "/json": {"json": {"b": 1, "a": 2}},
        "/source": {"source": source},
    }
    action, sources = engine._action(step(inputs=inputs))
    assert action.inputs["/file"] == engine.store.capture(tmp_path / "dir/file")
    assert action.inputs["/dir"] == action.inputs["/out-of"] == tree
    data = action.inputs["/json"]
    assert isinstance(data, FileNode)
    assert json.loads(engine.store.read(data.digest)) == {"a": 2, "b": 1}
    assert [source.digest for source in sources] == [FILE.digest]
    # What is made of something that can't be shared can't be shared either.
    assert action.platform == {"thaw-shareable": "no"}


def test_a_missing_file_of_the_checkout_is_named(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ThawError, match=r"recipe\.sh: not a file or directory"):
        engine.run_step(step(inputs={"/x": {"file": "recipe.sh"}}), tmp_path / "hello.json")


def test_a_cache_that_lost_an_input_says_what_to_do(engine: Engine, tmp_path: Path) -> None:
    Manifest({"root": TREE}).write(tmp_path / "tools.json")
    with pytest.raises(
        ThawError, match=r"tools\.json: its artifacts are damaged, and how .*\n  next: remove out/"
    ):
        engine.run_step(step(), tmp_path / "hello.json")


def test_a_toolchain_must_be_one(engine: Engine, tmp_path: Path) -> None:
    Manifest({"root": FILE}).write(tmp_path / "tools.json")
    with pytest.raises(ThawError, match=r"tools\.json: is not a toolchain's manifest"):
        engine.run_step(step(), tmp_path / "hello.json")


def test_a_full_disk_is_named(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine.store, "temporary_directory", full)
    monkeypatch.setattr(engine.executor.here, "bwrap", lambda: ())
    with pytest.raises(
        ThawError, match=r"^hello: the disk is full: .*/cache/v1\n  next: .*--disk-c"
    ):
        engine.run_step(step(), tmp_path / "hello.json")
