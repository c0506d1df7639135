"""The store: content under its digest, whole or not at all, whatever happens."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw import interrupt
from thaw import store as store_module
from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.files import remove
from thaw.nodes import FileNode, TreeNode, from_proto
from thaw.space import space_errors
from thaw.store import MissingBlob, Store

ACTION = Digest.of_bytes(b"an action")


def damage(path: Path) -> None:
    """Change a byte of a read-only file, as a failing disk would."""
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def files_in(store: Store, part: str) -> list[Path]:
    return [path for path in (store.top / part).rglob("*") if path.is_file()]


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


# Blobs


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

    def killed(self: Path, target: Path) -> Path:
        assert self.parent == store.top / "tmp"
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
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


def test_a_damaged_blob_is_found_on_read_and_taken_out(store: Store) -> None:
    digest = store.put_bytes(b"text")
    damage(store.path(digest))
    with pytest.raises(MissingBlob, match="missing or damaged"):
        store.read(digest)
    assert files_in(store, "cas") == []


def test_intact_reads_the_blob(store: Store) -> None:
    digest = store.put_bytes(b"text")
    assert store.intact(digest)
    damage(store.path(digest))
    assert not store.intact(digest)
    assert not store.has(digest)


def test_a_blob_that_was_never_there_is_missing(store: Store) -> None:
    with pytest.raises(MissingBlob):
        store.read(ACTION)
    with pytest.raises(MissingBlob):
        store.ensure(FileNode(ACTION))


# Trees


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
    damage(store.path(node.tree))
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
    damage(store.path(digest))
    with pytest.raises(MissingBlob):
        store.lay_out(FileNode(digest), tmp_path / "out/file")
    assert list((tmp_path / "out").iterdir()) == []
    assert not store.complete(FileNode(digest))  # so that its action runs again


def test_a_damaged_tree_is_made_anew(store: Store, tmp_path: Path) -> None:
    """Its unpacked form shares the damaged file, so it goes too."""
    node = captured(store, sample(tmp_path))
    store.unpacked(node)
    damage(store.path(Digest.of_bytes(b"text")))
    with pytest.raises(MissingBlob):
        store.lay_out(node, tmp_path / "out")
    assert not store.complete(node)
    store.capture(sample_again := tmp_path / "sample")
    store.lay_out(node, tmp_path / "out")
    assert captured(store, tmp_path / "out") == captured(store, sample_again)


# Action results


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


@pytest.mark.parametrize("how", ["bit", "cut", "empty", "no checksum"])
def test_a_damaged_result_is_as_if_never_stored(store: Store, how: str) -> None:
    store.put_result(ACTION, result(store))
    (path,) = files_in(store, "ac")
    data = path.read_bytes()
    middle = len(data) - 5
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    damaged = {"bit": flipped, "cut": data[:-1], "empty": b"", "no checksum": data[65:]}
    path.write_bytes(damaged[how])
    assert store.get_result(ACTION) is None
    assert files_in(store, "ac") == []


# Processes


def test_a_store_has_a_generation_of_its_own(store: Store, tmp_path: Path) -> None:
    assert Store(tmp_path / "cache").generation == store.generation
    assert Store(tmp_path / "other").generation != store.generation


def test_a_lock_is_held_by_one_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LOCK_POLL", 0.001)
    other, order = Store(tmp_path / "cache"), []
    waiting = threading.Event()

    def second() -> None:
        with other.lock("name", waiting.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with store.lock("name"):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_ctrl_c_ends_the_wait_for_a_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "pending", lambda: True)
    with store.lock("name"), pytest.raises(interrupt.Interrupted), store.lock("name"):
        pass


def test_what_killed_processes_left_is_removed_by_the_next(tmp_path: Path) -> None:
    first = Store(tmp_path)
    left = first.top / "tmp/left/read-only"
    left.mkdir(parents=True)
    left.chmod(0o500)
    second = Store(tmp_path)
    assert left.exists(), "another process may be using it"
    del first, second
    Store(tmp_path)
    assert not left.exists()


def test_a_directory_that_cannot_be_the_cache_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ThawError, match="file: cannot be the cache directory: Not a dir") as raised:
        Store(tmp_path / "file")
    assert "--disk-cache" in raised.value.remedy


def test_a_full_disk_is_named_with_what_to_do(store: Store) -> None:
    with pytest.raises(ThawError) as raised, space_errors("kernel", store.top):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(raised.value).startswith(f"kernel: the disk is full: {store.top}\n  next: ")
    assert "--disk-cache" in str(raised.value)


def test_a_full_disk_is_the_one_that_was_written_to(store: Store) -> None:
    with (
        pytest.raises(ThawError, match=r"full: out/vm\.state"),
        space_errors("snapshot", store.top),
    ):
        raise OSError(errno.ENOSPC, "No space", "cas/ab/abc", None, "out/vm.state")


def test_other_errors_of_the_system_are_not_called_a_full_disk(store: Store) -> None:
    with pytest.raises(PermissionError), space_errors("kernel", store.top):
        raise PermissionError(errno.EACCES, "Permission denied", "file")


def test_remove_takes_what_nobody_may_read(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "locked/deep").mkdir(parents=True)
    (tmp_path / "outside").mkdir(0o700)
    (top / "link").symlink_to(tmp_path / "outside")
    (top / "locked/deep").chmod(0)
    (top / "locked").chmod(0)
    top.chmod(0o500)
    remove(top)
    assert not top.exists()
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o700
