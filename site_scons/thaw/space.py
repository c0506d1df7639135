"""What is said when a disk is full."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from thaw import memory
from thaw.errors import ThawError

MORE_SPACE = (
    "free some space (cache-gc makes the cache smaller), or move the cache to another disk with"
    " --disk-cache=DIR"
)
MORE_MEMORY = (
    "build again: with less free than a build needs, it is done on the disk; or free memory that"
    f" files below {memory.SHM} take"
)


def remedy(where: str | Path) -> str:
    """What to do about a file system that is full."""
    return MORE_MEMORY if Path(where).is_relative_to(memory.SHM) else MORE_SPACE


@contextlib.contextmanager
def space_errors(what: str, usual: Path) -> Iterator[None]:
    """Turns the operating system's "no space left" into a ThawError that names the disk.

    usual: where the space ran out if the error does not say
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename2 or error.filename or usual  # 2: where a copy goes
        raise ThawError(f"{what}: the disk is full: {where}", remedy=remedy(where)) from error
