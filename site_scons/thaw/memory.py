"""Build directories in memory: /dev/shm, where it is large and programs in it may run."""

import hashlib
import os
from pathlib import Path

SHM = Path("/dev/shm")
PLENTY = 8_000_000_000  # bytes free: several times what the largest build needs


def directory_for(store: Path) -> Path:
    """Where the build directories of a store go. Another user or store has another."""
    name = hashlib.sha256(os.fsencode(store)).hexdigest()[:12]
    return SHM / f"thaw-{os.getuid()}-{name}"


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


def is_ours(directory: Path) -> bool:
    """Whether a directory in a place that all can write to is this user's alone."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and not status.st_mode & 0o077
