"""Trees: taken in, described, unpacked, laid out; the same ones come out again."""

import os
import stat
from pathlib import Path

import harm
import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.nodes import SOURCE_DATE_EPOCH, FileNode, TreeNode, encode, to_proto
from thaw.store import MissingBlob, Store


def sample(tmp_path: Path) -> Path:
    top = tmp_path / "sample"
    (top / "sub").mkdir(parents=True)
    (top / "sub/file").write_text("text")
    (top / "tool").write_text("#!/bin/sh\n")
    (top / "tool").chmod(0o755)
    (top / "link").symlink_to("sub/file")
    return top


def captured(store: Store, path: Path) -> TreeNode:
    node = store.capture(path)
    assert isinstance(node, TreeNode)
    return node


def test_a_captured_tree_unpacks_to_the_same_tree(store: Store, tmp_path: Path) -> None:
    node = captured(store, sample(tmp_path))
    again = store.unpacked(node)
    assert captured(store, again) == node
    assert os.readlink(again / "link") == "sub/file"
    assert stat.S_IMODE((again / "tool").stat().st_mode) == 0o555


def test_a_tree_is_unpacked_once_as_links_to_blobs(store: Store, tmp_path: Path) -> None:
    node = captured(store, sample(tmp_path))
    first = store.unpacked(node)
    inode = (first / "sub/file").stat().st_ino
    assert inode == store.path(Digest.of_bytes(b"text")).stat().st_ino
    assert store.unpacked(node) == first
    assert (first / "sub/file").stat().st_ino == inode


def test_a_tree_with_a_missing_blob_is_not_half_unpacked(store: Store, tmp_path: Path) -> None:
    node = captured(store, sample(tmp_path))
    store.discard(Digest.of_bytes(b"text"))
    with pytest.raises(MissingBlob):
        store.unpacked(node)
    assert list((store.top / "trees").iterdir()) == list((store.top / "tmp").iterdir()) == []


@pytest.mark.parametrize("lost", ["file", "tree", "root"])
def test_complete_notices_what_is_missing(store: Store, tmp_path: Path, lost: str) -> None:
    node = captured(store, sample(tmp_path))
    assert store.complete(node)
    store.discard({"file": Digest.of_bytes(b"text"), "tree": node.tree, "root": node.root}[lost])
    assert not store.complete(node)


def test_complete_notices_a_damaged_tree_message(store: Store, tmp_path: Path) -> None:
    node = captured(store, sample(tmp_path))
    harm.flip(store.path(node.tree))
    assert not store.complete(node)
    assert store.tree_node(node.tree) is None


def test_a_tree_is_known_by_its_message_alone(store: Store, tmp_path: Path) -> None:
    node = captured(store, sample(tmp_path))
    assert store.tree_node(node.tree) == node


def test_only_files_and_directories_are_captured(store: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nothing"):
        with pytest.raises(ThawError, match=f"{name}: not a file or directory"):
            store.capture(tmp_path / name)


def test_the_owners_bit_makes_an_executable_whoever_captures_it(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("")
    for mode, executable in ((0o744, True), (0o655, False)):
        path.chmod(mode)
        node = store.capture(path)
        assert isinstance(node, FileNode)
        assert node.executable is executable


def test_an_unpacked_tree_has_no_times_and_no_modes_of_its_own(
    store: Store, tmp_path: Path
) -> None:
    """What an action could see differs neither between users nor between days."""
    before = os.umask(0o077)
    try:
        top = store.unpacked(captured(store, sample(tmp_path)))
    finally:
        os.umask(before)
    for path in (top, *top.rglob("*")):
        about = path.lstat()
        assert about.st_mtime == SOURCE_DATE_EPOCH
        if path.is_dir():
            assert stat.S_IMODE(about.st_mode) == 0o755


@pytest.mark.parametrize("how", [harm.to_link, harm.to_fifo, harm.empty])
def test_what_has_an_unpacked_trees_place_is_replaced(
    store: Store, tmp_path: Path, how: harm.Harm
) -> None:
    node = captured(store, sample(tmp_path))
    place = store.top / "trees" / node.root.hash
    place.write_text("")
    how(place)
    assert captured(store, store.unpacked(node)) == node


def test_a_forgotten_tree_stays_for_those_who_have_it_mounted(store: Store, tmp_path: Path) -> None:
    node = captured(store, sample(tmp_path))
    mounted = os.open(store.unpacked(node), os.O_PATH)
    store.forget_unpacked(node)
    assert not (store.top / "trees" / node.root.hash).exists()
    assert Path(f"/proc/self/fd/{mounted}/sub/file").read_text() == "text"
    os.close(mounted)


# Messages of others


def put_tree(store: Store, root: reapi.Directory, *children: reapi.Directory) -> TreeNode:
    tree = reapi.Tree(root=root, children=children)
    return TreeNode(store.put_bytes(encode(root)), store.put_bytes(encode(tree)))


def file_node(name: str, digest: Digest) -> reapi.FileNode:
    return reapi.FileNode(name=name, digest=to_proto(digest))


@pytest.mark.parametrize("name", ["..", ".", "", "../../escaped", "/escaped", "a/b", "nul\0"])
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_a_tree_with_a_name_that_is_none_is_refused(
    store: Store, tmp_path: Path, name: str, kind: str
) -> None:
    root, inner = reapi.Directory(), reapi.Directory()
    if kind == "file":
        root.files.append(file_node(name, store.put_bytes(b"text")))
    elif kind == "directory":
        root.directories.add(name=name, digest=to_proto(Digest.of_bytes(encode(inner))))
    else:
        root.symlinks.add(name=name, target="x")
    node = put_tree(store, root, inner)
    assert not store.complete(node)
    node = put_tree(store, root, inner)
    with pytest.raises(MissingBlob):
        store.unpacked(node)
    node = put_tree(store, root, inner)
    with pytest.raises(MissingBlob):
        store.lay_out(node, tmp_path / "out/x")
    assert list((store.top / "trees").iterdir()) == []
    assert not (tmp_path / "escaped").exists()


def test_a_tree_with_a_name_twice_is_refused(store: Store) -> None:
    root = reapi.Directory(files=[file_node("x", store.put_bytes(b"text"))])
    root.symlinks.add(name="x", target="/etc/passwd")
    with pytest.raises(MissingBlob):
        store.unpacked(put_tree(store, root))


@pytest.mark.parametrize("use", ["complete", "unpacked", "tree_node"])
def test_a_tree_without_one_of_its_directories_is_missing(store: Store, use: str) -> None:
    root = reapi.Directory()
    root.directories.add(name="sub", digest=to_proto(Digest.of_bytes(b"of nobody")))
    node = put_tree(store, root)
    if use == "tree_node":
        found = store.tree_node(node.tree)
        assert found is None or not store.complete(found)
    elif use == "complete":
        assert not store.complete(node)
    else:
        with pytest.raises(MissingBlob):
            store.unpacked(node)


def test_a_message_that_is_none_is_missing(store: Store) -> None:
    junk = store.put_bytes(b"\xff\xff\xff")
    node = TreeNode(junk, junk)
    assert store.tree_node(junk) is None
    assert not store.complete(node)
    with pytest.raises(MissingBlob):
        store.unpacked(node)


def test_a_tree_is_not_unpacked_under_the_name_of_another(store: Store, tmp_path: Path) -> None:
    """As when a manifest was put together from two."""
    node = captured(store, sample(tmp_path))
    other = put_tree(store, reapi.Directory())
    with pytest.raises(MissingBlob):
        store.unpacked(TreeNode(node.root, other.tree))
    assert captured(store, store.unpacked(node)) == node


def test_a_file_outside_is_neither_read_nor_moved_for_a_tree(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    root = reapi.Directory(files=[file_node("x", Digest(f"../../../../..{outside}", 4))])
    with pytest.raises(MissingBlob):
        store.unpacked(put_tree(store, root))
    assert outside.read_text() == "mine"


# Laying out


def test_laid_out_files_are_copies_that_may_be_edited(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "out/file"
    digest = store.put_bytes(b"text")
    store.lay_out(FileNode(digest), target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    target.write_text("edited")
    assert store.read(digest) == b"text"


@pytest.mark.parametrize("before", ["nothing", "file", "directory"])
@pytest.mark.parametrize("kind", ["file", "tree"])
def test_lay_out_replaces_what_was_there(
    store: Store, tmp_path: Path, before: str, kind: str
) -> None:
    target = tmp_path / "out/result"
    target.parent.mkdir()
    if before == "file":
        target.write_text("old")
    if before == "directory":
        (target / "old").mkdir(parents=True)
    source = sample(tmp_path) if kind == "tree" else sample(tmp_path) / "tool"
    node = store.capture(source)
    store.lay_out(node, target)
    assert store.capture(target) == node
    assert list(target.parent.iterdir()) == [target]


def test_lay_out_leaves_the_old_one_when_it_fails(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "out/result"
    target.mkdir(parents=True)
    (target / "old").write_text("old")
    node = captured(store, sample(tmp_path))
    store.discard(Digest.of_bytes(b"text"))
    with pytest.raises(MissingBlob):
        store.lay_out(node, target)
    assert [path.name for path in target.parent.rglob("*")] == ["result", "old"]


def test_a_damaged_file_is_never_laid_out(store: Store, tmp_path: Path) -> None:
    digest = store.put_bytes(b"text")
    harm.flip(store.path(digest))
    with pytest.raises(MissingBlob):
        store.lay_out(FileNode(digest), tmp_path / "out/file")
    assert list((tmp_path / "out").iterdir()) == []
    assert not store.complete(FileNode(digest))  # so that its action runs again


def test_a_damaged_tree_is_made_anew(store: Store, tmp_path: Path) -> None:
    """Its unpacked form shares the damaged file, so it goes too."""
    node = captured(store, sample(tmp_path))
    store.unpacked(node)
    harm.flip(store.path(Digest.of_bytes(b"text")))
    with pytest.raises(MissingBlob):
        store.lay_out(node, tmp_path / "out")
    assert not store.complete(node)
    store.capture(sample_again := tmp_path / "sample")
    store.lay_out(node, tmp_path / "out")
    assert captured(store, tmp_path / "out") == captured(store, sample_again)
