"""A full disk: which one, and what to do about it; and how files are removed."""

import errno
import os
import stat
from pathlib import Path

import pytest

from thaw.errors import ThawError
from thaw.files import remove
from thaw.memory import SHM
from thaw.space import space_errors
from thaw.store import Store


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


def test_memory_is_full_in_another_way_than_a_disk(store: Store) -> None:
    """Moving the cache would not help."""
    with pytest.raises(ThawError) as raised, space_errors("kernel", store.top):
        raise OSError(errno.ENOSPC, "No space", str(SHM / "thaw-0-x/build/file"))
    assert "--disk-cache" not in raised.value.remedy
    assert raised.value.remedy.startswith("build again")


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
