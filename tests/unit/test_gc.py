"""Eviction: what is used least recently goes first, and nothing that is in use."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from thaw import gc, inventory, outputs
from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.gc import KEPT, Limits, parse_age, parse_size, plan
from thaw.inventory import Inventory, Item, Kind
from thaw.nodes import FileNode, Node, TreeNode
from thaw.store import MissingBlob, Store

DAY = 86400
NOW = 1000.0 * DAY  # in seconds; the policy knows no other clock


# Policy


def item(kind: Kind, name: str, size: int, days_ago: float) -> Item:
    used = int((NOW - days_ago * DAY) * 1e9)
    return Item(kind, name, size, used, used)


def chosen(items: list[Item], limits: Limits, in_use_since: float = NOW) -> list[str]:
    found = Inventory(Path("/cache"), items)
    return [gone.path for gone in plan(found, limits, NOW, in_use_since).evict]


def test_what_was_not_used_for_longest_goes_until_the_rest_fits() -> None:
    items = [item(Kind.BLOB, name, 10, age) for name, age in (("b", 2), ("c", 1), ("a", 3))]
    assert chosen(items, Limits(size=30)) == []
    assert chosen(items, Limits(size=29)) == ["a"]
    assert chosen(items, Limits(size=10)) == ["a", "b"]
    assert chosen(items, Limits(size=0)) == ["a", "b", "c"]


def test_an_age_is_a_limit_of_its_own() -> None:
    items = [item(Kind.BLOB, "old", 1, 31), item(Kind.CCACHE, "new", 1, 29)]
    assert chosen(items, Limits(age=30 * DAY)) == ["old"]
    assert chosen(items, Limits(size=100, age=30 * DAY)) == ["old"]
    assert chosen(items, Limits()) == []


def test_what_was_used_since_the_oldest_build_began_stays() -> None:
    items = [item(Kind.BLOB, "before", 1, 2), item(Kind.TREE, "since", 1, 1)]
    began = NOW - 1.5 * DAY
    assert chosen(items, Limits(size=0, age=0), began) == ["before"]
    left = plan(Inventory(Path("/cache"), items), Limits(size=0), NOW, began)
    assert (left.after, left.in_use, left.in_work) == (1, 1, 0)


def test_work_in_progress_stays() -> None:
    items = [item(Kind.WORK, "tmp", 5, 400)]
    assert chosen(items, Limits(size=0, age=0)) == []
    assert plan(Inventory(Path("/cache"), items), Limits(size=0), NOW, NOW).in_work == 5


def test_of_the_same_age_an_entry_goes_before_its_tree_and_that_before_its_files() -> None:
    items = [item(kind, kind.name, 1, 5) for kind in (Kind.BLOB, Kind.TREE, Kind.RESULT)]
    assert chosen(items, Limits(size=0)) == ["RESULT", "TREE", "BLOB"]


def test_leftovers_of_failures_and_of_damage_go_by_themselves_after_a_week() -> None:
    days = KEPT / DAY
    items = [item(Kind.FAILED, "f", 1, days + 1), item(Kind.DAMAGED, "d", 1, days - 1)]
    items += [item(Kind.BLOB, "b", 1, days + 1)]
    assert chosen(items, Limits(size=1000)) == ["f"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1234", 1234), ("20G", 20 * 10**9), ("1.5 GB", 15 * 10**8), ("7k", 7000)],
)
def test_sizes_are_said_in_powers_of_a_thousand(text: str, size: int) -> None:
    assert parse_size(text, "max-size") == size


@pytest.mark.parametrize("text", ["", "G", "-1", "20X", "20 G B", "1e9", "twenty"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ThawError, match=r"max-size: .* is no size\n  next: say it like this: 20G"):
        parse_size(text, "max-size")


def test_ages_have_a_unit() -> None:
    assert parse_age("30d", "MAX_AGE") == 30 * DAY
    assert parse_age("1.5h", "MAX_AGE") == 5400
    for text in ("30", "d", "30 years"):
        with pytest.raises(ThawError, match=r"MAX_AGE: .* is no age"):
            parse_age(text, "MAX_AGE")


# A cache


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Callable[..., tuple[Digest, TreeNode]]:
    """Puts a result into the cache: its action, and its output, a tree with files."""

    def put(name: str, *files: str) -> tuple[Digest, TreeNode]:
        top = tmp_path / name
        top.mkdir()
        for file in files:
            (top / file).write_text(file * 1000)
        node = store.capture(top)
        assert isinstance(node, TreeNode)
        action = store.put_bytes(name.encode())
        save(store, action, {"x": node})
        return action, node

    return put


def save(store: Store, action: Digest, nodes: dict[str, Node]) -> None:
    store.put_result(action, outputs.to_result(nodes, None, 0, 0))


def grow_old(store: Store, days: float, *paths: Path) -> None:
    """As if everything, or some of it, had not been used for days."""
    then = time.time() - days * DAY
    every = [path for part in ("cas", "ac", "trees") for path in (store.top / part).rglob("*")]
    for path in paths or every:
        os.utime(path, (then, path.lstat().st_mtime), follow_symlinks=False)


def later(store: Store) -> Store:
    """The same cache in the next process; this one is over."""
    top = store.top.parent
    for path in (store.top / "running").iterdir():
        path.unlink()
    return Store(top)


def test_what_a_result_names_is_used_when_the_result_is(
    store: Store, make: Callable[..., tuple[Digest, TreeNode]]
) -> None:
    action, node = make("one", "a", "b")
    grow_old(store, 10)
    with later(store).using():
        later(store).unpacked(node)
    used = {Path(i.path).name: i.used for i in inventory.take(store.top).items}
    recent = (time.time() - DAY) * 1e9
    names = [Digest.of_bytes(b"a" * 1000).hash, node.tree.hash, node.root.hash, action.hash]
    assert [name for name in names if used[name] < recent and name != action.hash] == []
    (entry,) = inventory.take(store.top).of(Kind.RESULT)
    assert entry.used > recent


def test_to_take_an_inventory_is_no_use(
    store: Store, make: Callable[..., tuple[Digest, TreeNode]]
) -> None:
    _, node = make("one", "a")
    store.unpacked(node)
    grow_old(store, 10)
    first = {item.path: item.own for item in inventory.take(store.top).items}
    assert {item.path: item.own for item in inventory.take(store.top).items} == first


def test_files_count_once_though_a_tree_has_them_too(
    store: Store, make: Callable[..., tuple[Digest, TreeNode]]
) -> None:
    before = inventory.take(store.top).size
    _, node = make("one", "a", "b")
    packed = inventory.take(store.top).size
    store.unpacked(node)
    assert before < packed
    assert inventory.take(store.top).size - packed == inventory.BLOCK  # of the directory


def test_an_evicted_result_goes_with_all_it_alone_needs(
    store: Store, make: Callable[..., tuple[Digest, TreeNode]], tmp_path: Path
) -> None:
    old, old_node = make("old", "shared", "its own")
    store.unpacked(old_node)
    new, new_node = make("new", "shared", "another")
    grow_old(store, 40)
    again = later(store)
    assert again.get_result(new)
    assert again.complete(new_node)

    text = gc.collect(again, Limits(age=30 * DAY))

    assert "results of actions" in text
    assert again.get_result(old) is None
    assert not again.has(Digest.of_bytes(b"its own" * 1000))
    assert not (store.top / "trees" / old_node.root.hash).exists()
    assert again.get_result(new)
    again.lay_out(new_node, tmp_path / "out")
    assert list((store.top / "tmp").iterdir()) == []


def test_a_dry_run_removes_nothing(
    store: Store, make: Callable[..., tuple[Digest, TreeNode]]
) -> None:
    action, node = make("one", "a")
    grow_old(store, 40)
    text = gc.collect(later(store), Limits(size=0), dry_run=True)
    assert "would be removed" in text
    assert store.get_result(action)
    assert store.complete(node)


def test_everything_that_nobody_uses_can_go(
    store: Store, make: Callable[..., tuple[Digest, TreeNode]]
) -> None:
    make("one", "a")
    store.ccache(TreeNode(Digest("a" * 64, 1), Digest("b" * 64, 1)))
    (store.top / "failed/step").mkdir()
    grow_old(store, 40)
    grow_old(store, 40, store.top / "ccache" / ("a" * 16))
    os.utime(store.top / "failed/step", (1e9, 1e9))
    gc.collect(later(store), Limits(size=0))
    found = inventory.take(store.top)
    assert [item.path for item in found.items if item.kind != Kind.WORK] == []


def test_what_is_used_by_a_build_that_runs_stays_and_is_said(
    store: Store, make: Callable[..., tuple[Digest, TreeNode]]
) -> None:
    """Here: by the process that has put it there."""
    action, node = make("one", "a")
    text = gc.collect(store, Limits(size=1000))
    assert "more than 1.0 kB" in text
    assert "were used by this build and by 0 others" in text
    assert store.get_result(action)
    assert store.complete(node)


def test_what_is_used_while_things_are_evicted_stays(
    store: Store, make: Callable[..., tuple[Digest, TreeNode]], tmp_path: Path
) -> None:
    """An inventory is old as soon as it is taken: each thing is looked at again."""
    action, node = make("one", "a", "b")
    grow_old(store, 40)
    again = later(store)
    stale = plan(inventory.take(store.top), Limits(size=0), time.time(), time.time())
    assert len(stale.evict) == 6
    later(store).unpacked(node)

    gc.carry_out(again, stale)

    assert again.get_result(action), "its output is in use"
    again.lay_out(node, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "b"]


def test_what_is_put_again_meanwhile_stays(store: Store, tmp_path: Path) -> None:
    digest = store.put_bytes(b"text")
    grow_old(store, 40)
    again = later(store)
    stale = plan(inventory.take(store.top), Limits(size=0), time.time(), time.time())
    later(store).put_bytes(b"text")
    assert gc.carry_out(again, stale) == {}
    assert again.has(digest)


def test_a_result_whose_files_are_elsewhere_counts_for_itself(store: Store) -> None:
    """As one of a remote cache."""
    save(store, Digest.of_bytes(b"x"), {"x": FileNode(Digest("a" * 64, 10**12))})
    (entry,) = inventory.take(store.top).of(Kind.RESULT)
    assert entry.size <= inventory.BLOCK


def test_damaged_messages_do_not_stop_it(
    store: Store, make: Callable[..., tuple[Digest, TreeNode]]
) -> None:
    _, node = make("one", "a")
    store.path(node.tree).chmod(0o644)
    store.path(node.tree).write_bytes(b"\xff\xff")
    save(store, Digest.of_bytes(b"x"), {})
    (store.top / "ac/zz").mkdir()
    (store.top / "ac/zz/junk").write_bytes(b"\xff")
    grow_old(store, 40)
    gc.collect(later(store), Limits(size=0))
    with pytest.raises(MissingBlob):
        store.read(node.tree)


# After a build


def test_without_a_limit_nothing_is_looked_at(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put_bytes(b"text")
    gc.after_build(store, "")
    assert capsys.readouterr().out == ""
    assert not (store.top / "looked").exists()


def test_a_build_that_added_something_keeps_to_the_limit(
    store: Store,
    make: Callable[..., tuple[Digest, TreeNode]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    action, _ = make("one", "a")
    grow_old(store, 1)
    again = later(store)
    gc.after_build(again, "1k")
    assert again.get_result(action), "this build added nothing"
    grow_old(store, 1)
    again = later(store)
    again.put_bytes(b"new" * 1000)
    gc.after_build(again, "1k")
    assert again.get_result(action) is None
    assert capsys.readouterr().out.startswith("thaw: cache-gc: ")


def test_a_build_that_added_little_does_not_look_again_so_soon(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_bytes(b"text")
    gc.after_build(store, "20G")
    monkeypatch.setattr(inventory, "take", lambda top: pytest.fail("looked again"))
    gc.after_build(store, "20G")
