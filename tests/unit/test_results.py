"""The action cache: an entry is believed only whole, and only by its own action."""

import os
from pathlib import Path

import harm
import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw.digest import Digest
from thaw.nodes import from_proto
from thaw.results import entry_path
from thaw.store import Store

ACTION = Digest.of_bytes(b"an action")
# What an entry says is the same whatever its mode and times are.
NO_HARM = (harm.make_executable, harm.make_newer, harm.forbid)


def result(store: Store) -> reapi.ActionResult:
    digest = store.put_bytes(b"output")
    message = reapi.ActionResult()
    message.output_files.add(path="out/x", digest={"hash": digest.hash, "size_bytes": digest.size})
    return message


def test_a_result_is_found_under_its_action(store: Store) -> None:
    assert store.get_result(ACTION) is None
    store.put_result(ACTION, result(store))
    found = store.get_result(ACTION)
    assert found is not None
    assert store.read(from_proto(found.output_files[0].digest)) == b"output"


@pytest.mark.parametrize("how", [h for h in harm.EVERY if h not in NO_HARM])
def test_a_damaged_result_is_set_aside_and_said(
    store: Store, how: harm.Harm, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put_result(ACTION, result(store))
    path = entry_path(store.top, ACTION.hash)
    how(path)
    assert store.get_result(ACTION) is None
    assert not path.is_file()
    said = capsys.readouterr().out
    assert said.startswith("[damage] the cached result of action") is (how is not harm.remove)
    store.put_result(ACTION, result(store))
    assert store.get_result(ACTION) == result(store)


@pytest.mark.parametrize("data", [b"", b"\n", b"no checksum", bytes(64) + b"\n"])
def test_what_is_no_entry_is_not_believed(store: Store, data: bytes) -> None:
    store.put_result(ACTION, result(store))
    entry_path(store.top, ACTION.hash).write_bytes(data)
    assert store.get_result(ACTION) is None


def test_an_entry_is_not_believed_under_the_name_of_another_action(store: Store) -> None:
    store.put_result(ACTION, result(store))
    other = Digest.of_bytes(b"another action")
    path = entry_path(store.top, other.hash)
    path.parent.mkdir(exist_ok=True)
    entry_path(store.top, ACTION.hash).rename(path)
    assert store.get_result(other) is None


def test_to_look_a_result_up_is_use_of_it(store: Store, tmp_path: Path) -> None:
    store.put_result(ACTION, result(store))
    path = entry_path(store.top, ACTION.hash)
    os.utime(path, (1e9, 1e9))
    Store(tmp_path / "cache").get_result(ACTION)
    assert path.stat().st_atime > 1.5e9
