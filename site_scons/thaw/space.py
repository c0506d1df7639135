"""What is said when a disk is full."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from thaw.errors import ThawError

MORE_SPACE = "free some space, or move the cache to another disk with --disk-cache=DIR"


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
        raise ThawError(f"{what}: the disk is full: {where}", remedy=MORE_SPACE) from error
