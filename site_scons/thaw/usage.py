"""What a person is told of a cache: how large, of what kind, how old, and what a step keeps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from thaw import inventory, progress
from thaw.inventory import NAMES, Inventory, Item, Kind
from thaw.nodes import Node

LARGEST = 10  # results that are shown


@dataclass(frozen=True)
class Kept:
    """What a step's result keeps in the cache.

    size: bytes of its files
    alone: the part of them that no other result has
    missing: files that are not here
    """

    size: int
    alone: int
    missing: int


def overview(found: Inventory, names: Mapping[str, str], running: int, now: float) -> str:
    """All of a cache.

    names: hash of an action -> name of its step, as far as known
    now: seconds of the epoch
    """
    held = {name for item in found.of(Kind.RESULT) for name in item.holds}
    results = [item for name, item in found.blobs.items() if name in held]
    others = [item for name, item in found.blobs.items() if name not in held]
    rows = [
        (NAMES[Kind.RESULT], found.of(Kind.RESULT)),
        ("files of results", results),
        ("unpacked trees (links to files)", found.of(Kind.TREE)),
        ("downloads, inputs and messages", others),
        *((NAMES[kind], found.of(kind)) for kind in Kind if kind > Kind.BLOB),
    ]
    lines = [f"{found.top}: {progress.size(found.size)}", _line("size", "number", "", "last used")]
    lines += [_row(title, items, now) for title, items in rows if items]
    largest = sorted(found.of(Kind.RESULT), key=lambda item: -_held_size(found, item))[:LARGEST]
    lines.append("largest results, each with all its files:")
    for item in largest:
        name = names.get(Path(item.path).name, f"action {Path(item.path).name[:12]}")
        lines.append(_line(progress.size(_held_size(found, item)), "", name, _ago(item, now)))
    lines.append(f"{running} other processes use it now" if running else "nobody else uses it now")
    return "\n".join(lines)


def kept(found: Inventory, outputs: Iterable[Node]) -> Kept:
    """What outputs keep in the cache."""
    names = {name for node in outputs for name in inventory.blobs_of(found.top, node)}
    elsewhere: set[str] = set()
    for item in found.of(Kind.RESULT):
        # The entry of these outputs themselves, or of another action that gave the same.
        same = item.roots and {Path(path).name for path in item.roots} <= names
        if not same:
            elsewhere |= item.holds
    here = names & found.blobs.keys()
    return Kept(
        sum(found.blobs[name].size for name in here),
        sum(found.blobs[name].size for name in here - elsewhere),
        len(names) - len(here),
    )


def of_steps(rows: Mapping[str, Kept], total: Kept) -> str:
    """What steps keep, one line each."""
    lines = [_line("size", "alone", "", "")]
    for name, value in {**rows, "all of them": total}.items():
        missing = f"{value.missing} files are not here" if value.missing else ""
        lines.append(_line(progress.size(value.size), progress.size(value.alone), name, missing))
    lines.append("size: the files of its result; alone: those that no other result has")
    return "\n".join(lines)


def _line(size: str, second: str, name: str, remark: str) -> str:
    return f"  {size:>9}  {second:>9}  {name:<32} {remark}".rstrip()


def _held_size(found: Inventory, item: Item) -> int:
    return sum(found.blobs[name].size for name in item.holds & found.blobs.keys())


def _row(title: str, items: list[Item], now: float) -> str:
    oldest, newest = min(items, key=lambda i: i.used), max(items, key=lambda i: i.used)
    used = _ago(newest, now)
    if _ago(oldest, now) != used:
        used = f"{_ago(oldest, now)} to {used}"
    total = progress.size(sum(item.size for item in items))
    return _line(total, str(len(items)), title, used)


def _ago(item: Item, now: float) -> str:
    seconds = max(0.0, now - item.used / 1e9)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now" if seconds < 60 else "1 minute ago"
