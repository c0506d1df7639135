"""Build directories in memory: /dev/shm, where it is large and programs in it may run."""

import hashlib
import os
from pathlib import Path

SHM = Path("/dev/shm")
PLENTY = 8_000_000_000  # bytes free: several times what the largest build needs


def prefix_for(store: Path) -> str:
    """How the names of a store's build directories begin. Another user or store has another."""
    name = hashlib.sha256(os.fsencode(store)).hexdigest()[:12]
    return f"thaw-{os.getuid()}-{name}-"


def of_store(store: Path) -> dict[Path, str]:
    """A store's build directories, and the rest of the name of each: who made it."""
    ours, prefix = os.getuid(), prefix_for(store)
    found = [path for path in SHM.glob(f"{prefix}*") if path.lstat().st_uid == ours]
    return {path: path.name.removeprefix(prefix) for path in found}


def is_plenty() -> bool:
    """Whether this machine has memory to build in."""
    try:
        system = os.statvfs(SHM)
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return False
    if system.f_flag & os.ST_NOEXEC:
        return False
    available = next((int(line.split()[1]) for line in lines if line.startswith("MemAv")), 0)
    return min(system.f_bavail * system.f_frsize, available * 1024) > PLENTY
