"""Records: what is remembered of a step's runs."""

from dataclasses import replace
from pathlib import Path

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw import records
from thaw.nodes import TreeNode
from thaw.plans import Input, Plan, Record, Run
from thaw.records import HISTORY, entries, follow, from_bytes, load, record_path, to_bytes
from thaw.store import Store


def plan(action: str = "a", **more: str) -> Plan:
    inputs = {"/src/x": Input(action, {"file": "x"})}
    return Plan(name="step", action=action, inputs=inputs, generation=more.get("generation", "1"))


def run(action: str = "a", outcome: str = "built", time: float = 1.0) -> Run:
    return Run(action, {"out": action.upper()}, outcome, time=time)


def after(*steps: tuple[str, str], damaged: bool = False) -> Record:
    """The record after runs of (action, outcome)."""
    record = None
    for number, (action, outcome) in enumerate(steps):
        last = damaged and number == len(steps) - 1
        record = follow(record, plan(action), run(action, outcome, number), damaged=last)
    assert record is not None
    return record


def test_the_first_run_has_nothing_before_it() -> None:
    record = after(("a", "built"))

    assert [(run.action, run.reason, run.changes) for run in record.runs] == [("a", "first", ())]


def test_another_action_is_a_run_with_what_changed() -> None:
    record = after(("a", "built"), ("b", "cached"))

    assert [run.action for run in record.runs] == ["a", "b"]
    assert [change.text for change in record.run.changes] == ["x changed: a -> b"]


def test_a_look_that_changes_nothing_keeps_the_reason_of_the_last_run() -> None:
    record = after(("a", "built"), ("b", "built"), ("b", "cached"), ("b", "remote-cached"))

    assert [(run.action, run.outcome) for run in record.runs] == [("a", "built"), ("b", "built")]
    assert record.last == "remote-cached"


def test_the_same_action_run_again_had_lost_its_result() -> None:
    assert after(("a", "built"), ("a", "built")).run.reason == "lost"
    assert after(("a", "built"), ("a", "built"), damaged=True).run.reason == "damaged"


def test_the_same_action_run_in_another_cache_says_so() -> None:
    record = follow(after(("a", "built")), plan("a", generation="2"), run("a", time=9.0))

    assert record.run.reason == "other cache"


def test_the_history_is_bounded() -> None:
    record = after(*((f"a{number}", "built") for number in range(100)))

    assert len(record.runs) == HISTORY
    assert record.run.action == "a99"


def test_the_differences_that_are_kept_are_bounded() -> None:
    files = {f"file{n}": "d" for n in range(1000)}
    old = replace(plan("a"), inputs={"/src": Input("1", {"dir": "top"})})
    new = replace(plan("b"), inputs={"/src": Input("2", {"dir": "top"}, files)})
    record = follow(follow(None, old, run("a")), new, run("b"))

    assert len(record.run.changes) == records.CHANGES + 1
    assert record.run.changes[-1].text == "and 900 more"


def test_bytes_and_back() -> None:
    record = replace(after(("a", "built"), ("b", "cached")), step="{}")

    assert from_bytes(to_bytes(record)) == record


@pytest.mark.parametrize("cut", [0, 1, 64, 65, 200, -1])
def test_a_torn_record_is_not_known(tmp_path: Path, cut: int) -> None:
    manifest = tmp_path / "step.json"
    record_path(manifest).write_bytes(to_bytes(after(("a", "built")))[:cut])

    assert load(manifest) is None


def test_a_flipped_bit_is_not_known(tmp_path: Path) -> None:
    data = bytearray(to_bytes(after(("a", "built"))))
    data[100] ^= 1
    manifest = tmp_path / "step.json"
    record_path(manifest).write_bytes(data)

    assert load(manifest) is None


def test_no_record_and_a_directory_in_its_place_are_not_known(tmp_path: Path) -> None:
    assert load(tmp_path / "none.json") is None
    record_path(tmp_path / "step.json").mkdir()
    assert load(tmp_path / "step.json") is None


def test_of_a_directory_each_entry_is_known(store: Store, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a/empty").mkdir(parents=True)
    (top / "a/file").write_text("x\n")
    (top / "tool").write_text("x\n")
    (top / "tool").chmod(0o755)
    (top / "link").symlink_to("a/file")
    node = store.capture(top)
    assert isinstance(node, TreeNode)
    digest = "73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac/2"

    assert entries(reapi.Tree.FromString(store.read(node.tree))) == {
        "a/empty": "directory",
        "a/file": digest,
        "link": "-> a/file",
        "tool": f"{digest} executable",
    }


@pytest.mark.parametrize(
    ("file", "name", "version"),
    [
        ("gcc-14_14.2.0-19_amd64.deb", "gcc-14", "14.2.0-19"),
        ("base-files_13.8+deb13u8_all.deb", "base-files", "13.8+deb13u8"),
    ],
)
def test_a_package_has_a_name_and_a_version(file: str, name: str, version: str) -> None:
    assert records.package(file) == (name, version)
