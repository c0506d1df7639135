"""Seals make the check of a large file quicker, and never let a bad one pass."""

import hashlib
import os
from pathlib import Path

import pytest

from thaw import seals
from thaw.digest import Digest
from thaw.nodes import FileNode
from thaw.store import MissingBlob, Store

DATA = bytes(range(256)) * 40


@pytest.fixture
def sealed(store: Store, monkeypatch: pytest.MonkeyPatch) -> FileNode:
    """A blob that counts as large and was found good before."""
    monkeypatch.setattr(seals, "LARGE", 1000)
    monkeypatch.setattr("thaw.blobs.LARGE", 1000)
    node = FileNode(store.put_bytes(DATA))
    assert store.intact(node.digest)
    assert seal_of(store, node.digest).exists()
    return node


def seal_of(store: Store, digest: Digest) -> Path:
    return store.top / "seals" / digest.hash


def overwrite(path: Path, data: bytes) -> None:
    """As a disk does that loses bits: mode and times stay."""
    about = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(about.st_mode)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_the_second_check_needs_no_sha256(
    store: Store, sealed: FileNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("SHA-256 was asked for")

    monkeypatch.setattr(hashlib, "sha256", never)
    assert store.intact(sealed.digest)


@pytest.mark.parametrize("place", [0, len(DATA) // 2, len(DATA) - 1])
def test_a_flipped_bit_of_a_sealed_file_is_found(
    store: Store, sealed: FileNode, place: int
) -> None:
    data = bytearray(DATA)
    data[place] ^= 1
    overwrite(store.path(sealed.digest), bytes(data))
    assert not store.intact(sealed.digest)
    assert not store.has(sealed.digest)


def test_a_flipped_bit_is_found_when_it_is_laid_out(
    store: Store, sealed: FileNode, tmp_path: Path
) -> None:
    overwrite(store.path(sealed.digest), DATA[:-1] + b"?")
    with pytest.raises(MissingBlob):
        store.lay_out(sealed, tmp_path / "file")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("seal", [b"", b"0" * 64, b"\xff", b"x" * 1000])
def test_a_damaged_seal_costs_time_and_nothing_else(
    store: Store, sealed: FileNode, seal: bytes, tmp_path: Path
) -> None:
    good = seal_of(store, sealed.digest).read_bytes()
    seal_of(store, sealed.digest).write_bytes(seal)
    store.lay_out(sealed, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert store.intact(sealed.digest)
    assert seal_of(store, sealed.digest).read_bytes() == good


def test_a_seal_that_cannot_be_read_or_written_is_done_without(
    store: Store, sealed: FileNode
) -> None:
    seal_of(store, sealed.digest).unlink()
    seal_of(store, sealed.digest).mkdir()
    assert store.intact(sealed.digest)


def test_the_seal_of_another_blob_does_not_fit(store: Store, sealed: FileNode) -> None:
    """Both blobs and both seals swapped: a BLAKE3 of its own would fit, ours has the name in it."""
    other = store.put_bytes(DATA[::-1])
    assert store.intact(other)
    one, two = seal_of(store, sealed.digest), seal_of(store, other)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    overwrite(store.path(sealed.digest), DATA[::-1])
    overwrite(store.path(other), DATA)
    assert not store.intact(sealed.digest)
    assert not store.intact(other)


def test_seals_go_with_their_blobs(store: Store, sealed: FileNode) -> None:
    other = store.put_bytes(DATA[::-1])
    assert store.intact(other)
    store.discard(other)
    store.forget_seals()
    assert seal_of(store, sealed.digest).exists()
    assert not seal_of(store, other).exists()
