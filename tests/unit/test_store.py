"""The store's blobs: content under its digest, whole or not at all, whatever happens."""

import os
import resource
import shutil
import stat
import time
from pathlib import Path

import harm
import pytest

from thaw.digest import UNKNOWN_SIZE, Digest
from thaw.errors import ThawError
from thaw.nodes import FileNode
from thaw.store import MissingBlob, Store

NEVER_PUT = Digest.of_bytes(b"never put")


def files_in(store: Store, part: str) -> list[Path]:
    return [path for path in (store.top / part).rglob("*") if path.is_file()]


def test_what_is_put_can_be_read(store: Store, tmp_path: Path) -> None:
    digest = store.put_bytes(b"text")
    (tmp_path / "file").write_bytes(b"text")
    assert store.put_file(tmp_path / "file") == digest
    assert store.has(digest)
    assert store.read(digest) == b"text"
    assert len(files_in(store, "cas")) == 1


def test_blobs_are_read_only_and_have_no_time(store: Store) -> None:
    about = store.path(store.put_bytes(b"text")).stat()
    assert stat.S_IMODE(about.st_mode) == 0o444
    assert about.st_mtime == 1767225600


def test_an_executable_is_a_twin_of_its_own(store: Store) -> None:
    """A hard link has one mode, so the same bytes may be there twice."""
    digest = store.put_bytes(b"#!/bin/sh\n")
    assert not store.has(digest, executable=True)
    twin = store.ensure(FileNode(digest, executable=True))
    assert stat.S_IMODE(twin.stat().st_mode) == 0o555
    assert twin.read_bytes() == store.path(digest).read_bytes()
    assert stat.S_IMODE(store.path(digest).stat().st_mode) == 0o444


def test_a_file_that_is_moved_in_is_not_copied(store: Store) -> None:
    with store.temporary_file() as temporary:
        temporary.write_bytes(b"big")
        inode = temporary.stat().st_ino
        digest = store.put_file(temporary, move=True)
    assert store.path(digest).stat().st_ino == inode


def test_a_file_being_written_never_has_its_final_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the rename, at the last moment: nothing is stored, nothing is left."""

    def killed(source: Path, target: str) -> None:
        assert source.parent == store.top / "tmp"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        store.put_bytes(b"text")
    assert files_in(store, "cas") == files_in(store, "tmp") == []


def test_a_blob_of_another_size_is_not_there(store: Store) -> None:
    digest = store.put_bytes(b"text")
    store.path(digest).chmod(0o644)
    store.path(digest).write_bytes(b"te")
    assert not store.has(digest)
    assert store.put_bytes(b"text") == digest
    assert store.read(digest) == b"text"


@pytest.mark.parametrize("how", harm.EVERY)
@pytest.mark.parametrize("executable", [False, True])
def test_a_damaged_blob_is_set_aside_and_can_be_put_again(
    store: Store, how: harm.Harm, executable: bool
) -> None:
    """Read with its mode, as an action sees it."""
    digest = store.put_bytes(b"text", executable)
    how(store.path(digest, executable))
    assert not store.intact(digest, executable)
    assert not store.has(digest, executable)
    assert store.put_bytes(b"text", executable) == digest
    assert store.intact(digest, executable)


CONTENT = [h for h in harm.EVERY if h not in (harm.make_executable, harm.make_newer, harm.forbid)]


@pytest.mark.parametrize("how", CONTENT)
def test_a_damaged_blob_is_found_on_read(store: Store, how: harm.Harm) -> None:
    digest = store.put_bytes(b"text")
    how(store.path(digest))
    with pytest.raises(MissingBlob, match="missing or damaged"):
        store.read(digest)
    assert not store.has(digest)
    assert store.read(store.put_bytes(b"text")) == b"text"


def test_what_is_set_aside_is_kept_for_a_look(store: Store) -> None:
    path = store.path(store.put_bytes(b"text"))
    harm.flip(path)
    with pytest.raises(MissingBlob):
        store.read(Digest.of_bytes(b"text"))
    (aside,) = (store.top / "damaged").iterdir()
    assert aside.name.startswith(path.name)
    assert aside.read_bytes() == b"teyt"


def test_a_damaged_twin_is_not_copied(store: Store) -> None:
    digest = store.put_bytes(b"#!/bin/sh\n")
    harm.flip(store.path(digest))
    with pytest.raises(MissingBlob):
        store.ensure(FileNode(digest, executable=True))
    assert not store.has(digest, executable=True)


def test_two_swapped_blobs_are_both_found(store: Store, tmp_path: Path) -> None:
    one, two = (store.put_bytes(data) for data in (b"one!", b"two!"))
    store.path(one).rename(tmp_path / "one")
    store.path(two).rename(store.path(one))
    (tmp_path / "one").rename(store.path(two))
    assert not store.intact(one)
    assert not store.intact(two)


def test_too_many_open_files_are_no_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.put_bytes(b"text")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            store.read(digest)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.read(digest) == b"text"


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "/etc/passwd"])
def test_what_is_no_digest_is_missing(store: Store, name: str) -> None:
    """Messages of others may say anything: no file outside is ever looked at, or moved."""
    for use in (store.read, store.path, store.discard):
        with pytest.raises(MissingBlob):
            use(Digest(name, 4))
    assert not store.has(Digest(name, 4))


def test_a_file_of_unknown_size_is_found_by_its_hash(store: Store) -> None:
    digest = store.put_bytes(b"text")
    assert store.read(Digest(digest.hash, UNKNOWN_SIZE)) == b"text"
    assert store.intact(Digest(digest.hash, UNKNOWN_SIZE))


def test_a_file_that_is_known_already_is_adopted(store: Store) -> None:
    for _ in range(2):
        with store.temporary_file() as temporary:
            temporary.write_bytes(b"text")
            store.adopt(temporary, Digest.of_bytes(b"text"))
    assert store.read(Digest.of_bytes(b"text")) == b"text"
    assert files_in(store, "tmp") == []


def test_a_blob_that_was_never_there_is_missing(store: Store) -> None:
    with pytest.raises(MissingBlob):
        store.read(NEVER_PUT)
    with pytest.raises(MissingBlob):
        store.ensure(FileNode(NEVER_PUT))


# Use


def age(store: Store, digest: Digest) -> float:
    return time.time() - store.path(digest).stat().st_atime


@pytest.mark.parametrize("use", ["put_bytes", "read", "ensure", "complete", "lay_out"])
def test_use_of_a_blob_shows_in_its_access_time_only(
    store: Store, tmp_path: Path, use: str
) -> None:
    """Its other time is the one that actions see."""
    digest = store.put_bytes(b"text")
    path = store.path(digest)
    os.utime(path, (1e9, path.stat().st_mtime))
    again, node = Store(tmp_path / "cache"), FileNode(digest)
    arguments = {"put_bytes": (b"text",), "read": (digest,), "lay_out": (node, tmp_path / "out")}
    getattr(again, use)(*arguments.get(use, (node,)))
    assert age(store, digest) < 1000
    assert path.stat().st_mtime == 1767225600


def test_to_look_whether_a_blob_is_there_is_no_use(store: Store) -> None:
    digest = store.put_bytes(b"text")
    os.utime(store.path(digest), (1e9, 1e9))
    assert store.has(digest)
    assert age(store, digest) > 1000


# The directory


def test_a_store_has_a_generation_of_its_own(store: Store, tmp_path: Path) -> None:
    assert Store(tmp_path / "cache").generation == store.generation
    assert Store(tmp_path / "other").generation != store.generation


@pytest.mark.parametrize("how", [h for h in harm.EVERY if h is not harm.lose_shelf])
def test_a_damaged_generation_is_another_or_the_same(
    store: Store, tmp_path: Path, how: harm.Harm
) -> None:
    """Never an empty one, which two caches could share."""
    how(store.top / "generation")
    again = Store(tmp_path / "cache").generation
    assert len(again) == 32
    assert Store(tmp_path / "cache").generation == again


def test_a_store_that_lost_its_blobs_is_another(store: Store, tmp_path: Path) -> None:
    """So that no manifest of the old one counts."""
    store.put_bytes(b"text")
    shutil.rmtree(store.top / "cas")
    assert Store(tmp_path / "cache").generation != store.generation


def test_a_directory_that_cannot_be_the_cache_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ThawError, match="file: cannot be the cache directory: Not a dir") as raised:
        Store(tmp_path / "file")
    assert "--disk-cache" in raised.value.remedy
