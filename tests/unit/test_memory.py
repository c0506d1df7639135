"""Build directories in memory: only where there is plenty, and never left behind."""

from pathlib import Path

import pytest

from thaw import memory
from thaw.store import Store


@pytest.fixture
def shm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Takes the place of /dev/shm."""
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(memory, "SHM", tmp_path / "shm")
    monkeypatch.setattr(memory, "is_plenty", lambda: True)
    return tmp_path / "shm"


def test_a_build_directory_is_ours_alone_and_goes_away(shm: Path, store: Store) -> None:
    with store.build_directory() as build:
        assert build.parent == shm
        assert build.stat().st_mode & 0o777 == 0o700
        (build / "file").write_text("")
    assert list(shm.iterdir()) == []


def test_without_plenty_of_memory_it_is_on_disk(
    shm: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "is_plenty", lambda: False)
    with store.build_directory() as build:
        assert build.parent == store.top / "tmp"
    assert list((store.top / "tmp").iterdir()) == []


def test_a_machine_without_it_has_no_plenty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SHM", tmp_path / "nothing")
    assert not memory.is_plenty()
    monkeypatch.setattr(memory, "SHM", tmp_path)
    monkeypatch.setattr(memory, "PLENTY", 10**18)
    assert not memory.is_plenty()


def test_what_killed_processes_left_is_removed_by_the_next_on_that_store(
    shm: Path, tmp_path: Path
) -> None:
    for cache in ("one", "two"):
        (shm / f"{memory.prefix_for(Store(tmp_path / cache).top)}1-killed~left").mkdir()
    (shm / "of-somebody-else").mkdir()
    Store(tmp_path / "one")
    assert len(list(shm.iterdir())) == 2
    Store(tmp_path / "two")
    assert [path.name for path in shm.iterdir()] == ["of-somebody-else"]
