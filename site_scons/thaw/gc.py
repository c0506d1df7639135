"""Evicts what was not used for longest from a cache, beside builds that use it.

The policy is a function of an inventory. What a running build has used since it began is never
evicted; nor is anything before what needs it, since that counts as its use (``thaw.inventory``).
"""

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from thaw import interrupt, inventory, locks, progress
from thaw.errors import ThawError
from thaw.files import move_away, remove
from thaw.inventory import NAMES, Inventory, Item, Kind
from thaw.store import Store

BATCH = 100  # things evicted while builds wait: some milliseconds
KEPT = 7 * 86400  # seconds: how long sandboxes of failures and damaged files stay at least
PAUSE = 3600  # seconds between two looks at the size after builds
MUCH = 100  # the part of the limit that a build may add without a look, as a divisor
SLACK = 1_000_000_000  # ns: clocks of file systems are coarse
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_size(text: str, origin: str) -> int:
    """Bytes: ``20G``, ``1.5T``, ``500M``, ``100k`` or a plain number; powers of 1000.

    Raises ThawError that names the ``origin``.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text.strip())
    if not found:
        raise ThawError(f"{origin}: {text!r} is no size", remedy="say it like this: 20G")
    return int(float(found[1]) * UNITS[found[2]])


def parse_age(text: str, origin: str) -> float:
    """Seconds: ``30d``, ``12h``, ``2w``. Raises ThawError that names the ``origin``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if not found:
        raise ThawError(f"{origin}: {text!r} is no age", remedy="say it like this: 30d, or 12h")
    return float(found[1]) * SPANS[found[2]]


Sums = dict[Kind, tuple[int, int]]  # number and bytes


@dataclass(frozen=True)
class Limits:
    """What may stay: bytes in all, and seconds since the last use. None: no limit."""

    size: int | None = None
    age: float | None = None


@dataclass(frozen=True)
class Plan:
    """What is to go, in this order, and what that leaves, in bytes."""

    evict: list[Item]
    before: int
    after: int
    in_use: int  # of what is left: used by running builds
    in_work: int  # of what is left: work in progress


def plan(found: Inventory, limits: Limits, now: float, in_use_since: float) -> Plan:
    """What must go. Pure.

    now, in_use_since: seconds of the epoch; what was used since the latter stays
    """
    evict: list[Item] = []
    before = left = found.size
    protected = int(in_use_since * 1e9) - SLACK
    evictable = sorted(
        (item for item in found.items if item.kind != Kind.WORK and item.used < protected),
        key=lambda item: (item.used, item.kind, item.path),
    )
    for item in evictable:
        age = limits.age
        if item.kind in (Kind.FAILED, Kind.DAMAGED):
            age = KEPT if age is None else min(age, KEPT)
        too_old = age is not None and item.used < (now - age) * 1e9
        if too_old or (limits.size is not None and left > limits.size):
            evict.append(item)
            left -= item.size
    work = sum(item.size for item in found.of(Kind.WORK))
    used = sum(i.size for i in found.items if i.kind != Kind.WORK and i.used >= protected)
    return Plan(evict, before, left, used, work)


def carry_out(store: Store, chosen: Plan) -> Sums:
    """Evict what a plan says, unless it was used meanwhile: number and bytes of each kind.

    Never call it while ``store.using`` is held. Raises Interrupted.
    """
    freed: list[Item] = []
    spared: set[str] = set()
    for start in range(0, len(chosen.evict), BATCH):
        interrupt.check()
        with store.temporary_directory() as rest:
            with store.alone():
                for number, item in enumerate(chosen.evict[start : start + BATCH]):
                    if _evict(item, spared, rest / str(number)):
                        freed.append(item)
            for path in rest.iterdir():
                remove(path)
    return _sums(freed)


def _evict(item: Item, spared: set[str], rest: Path) -> bool:
    """Evict one thing, unless it, or what needs it, was used since the inventory."""
    name = os.path.basename(item.path)
    try:
        if inventory.last_use(item) > item.own or (item.kind == Kind.BLOB and name in spared):
            spared |= item.holds
            return False
        # A directory is taken out of the way at once, and removed when nobody waits for it.
        move_away(item.path, rest)
        return True
    except FileNotFoundError:
        return False


def collect(store: Store, limits: Limits, dry_run: bool = False) -> str:
    """Evict what is over the limits; what to tell the user. Raises ThawError, Interrupted."""

    def waiting() -> None:
        progress.say("[wait]   cache-gc: another one is running")

    with store.lock("gc", waiting):
        running = store.running()
        found = inventory.take(store.top)
        chosen = plan(found, limits, time.time(), min(running.values(), default=time.time()))
        if dry_run:
            freed = _sums(chosen.evict)
        else:
            freed = carry_out(store, chosen)
            locks.remove_unheld(store.top / "locks")
            store.forget_seals()
    return _report(store, chosen, limits, freed, len(running) - 1, dry_run)


def after_build(store: Store, max_size: str) -> None:
    """Keep a cache within the configured size, if this process has added to it.

    Looking at all of it takes a second or more, so it is done once in an hour, or after much was
    added. Says so if something was evicted, or could not be. Raises ThawError, Interrupted.
    """
    if not max_size or not store.published:
        return
    size, looked = parse_size(max_size, "max-size"), store.top / "looked"
    with contextlib.suppress(FileNotFoundError):
        if store.published * MUCH < size and time.time() - looked.stat().st_mtime < PAUSE:
            return
    looked.touch()
    if inventory.take(store.top).size > size:
        progress.say(f"thaw: {collect(store, Limits(size))}")


def _sums(items: list[Item]) -> Sums:
    sums: Sums = {}
    for item in items:
        count, size = sums.get(item.kind, (0, 0))
        sums[item.kind] = (count + 1, size + item.size)
    return sums


def _report(
    store: Store, chosen: Plan, limits: Limits, freed: Sums, others: int, dry_run: bool
) -> str:
    gone = sum(size for _, size in freed.values())
    left = chosen.before - gone
    would = "would be " if dry_run else ""
    text = (
        f"cache-gc: {store.top}: {progress.size(chosen.before)},"
        f" of which {progress.size(gone)} {would}removed"
    )
    for kind, (count, size) in sorted(freed.items()):
        text += f"\n  {progress.size(size):>9}  {count:6} {NAMES[kind]}"
    if limits.size is not None and left > limits.size:
        text += (
            f"\n  {progress.size(left)} {'would stay' if dry_run else 'stay'}, more than"
            f" {progress.size(limits.size)}: {progress.size(chosen.in_use)} were used by this build"
            f" and by {others} others that run now, {progress.size(chosen.in_work)} are work in"
            " progress"
            "\n  next: allow more, or run cache-gc when no other build does"
        )
    return text
