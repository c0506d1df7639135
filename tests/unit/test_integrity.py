"""What is read from the store before it is used: a flipped bit, a lost or an added file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from thaw.integrity import Verifier
from thaw.nodes import FileNode, TreeNode
from thaw.store import MissingBlob, Store

Damage = Callable[[Path], object]


def flip(path: Path) -> None:
    """Change one byte in place, keeping size and times, as a failing disk does."""
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


@pytest.fixture
def tree(store: Store, tmp_path: Path) -> TreeNode:
    top = tmp_path / "tree"
    (top / "directory").mkdir(parents=True)
    (top / "directory/file").write_text("content")
    (top / "link").symlink_to("directory/file")
    node = store.capture(top)
    assert isinstance(node, TreeNode)
    return node


def test_good_artifacts_pass(store: Store, tree: TreeNode) -> None:
    Verifier(store).check([tree, FileNode(store.put_bytes(b"a file"))])


def test_a_flipped_bit_in_a_file_takes_it_out_of_the_store(store: Store) -> None:
    node = FileNode(store.put_bytes(b"a file"))
    flip(store.path(node.digest))

    with pytest.raises(MissingBlob):
        Verifier(store).check([node])

    assert not store.has(node.digest)


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "damage",
    [
        lambda top: flip(top / "directory/file"),
        lambda top: (top / "directory/file").unlink(),
        lambda top: (top / "directory/added").write_text("from somewhere"),
        lambda top: relink(top / "link"),
    ],
    ids=["flipped bit", "lost file", "added file", "changed link"],
)
def test_a_damaged_tree_is_never_mounted(store: Store, tree: TreeNode, damage: Damage) -> None:
    damage(store.unpacked(tree))

    with pytest.raises(MissingBlob):
        Verifier(store).check([tree])

    assert not (store.top / "trees" / tree.root.hash).exists()


def test_a_tree_whose_blobs_are_good_is_unpacked_anew(store: Store, tree: TreeNode) -> None:
    (store.unpacked(tree) / "link").unlink()
    verifier = Verifier(store)
    with pytest.raises(MissingBlob):
        verifier.check([tree])

    verifier.check([tree])

    assert (store.unpacked(tree) / "link").is_symlink()
