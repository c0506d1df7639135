"""Harm done to a file of a cache, as disks, people and power failures do it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

Harm = Callable[[Path], object]


def flip(path: Path) -> None:
    """Change one byte in place, keeping size, mode and times, as a failing disk does."""
    about = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    path.chmod(about.st_mode & 0o777)


def cut(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, 0)


def to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_link(path: Path) -> None:
    """A link to a file that has the same bytes now."""
    other = path.with_name(f"{path.name}.elsewhere")
    path.rename(other)
    path.symlink_to(other)


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def remove(path: Path) -> None:
    path.unlink()


def forbid(path: Path) -> None:
    path.chmod(0)


def make_executable(path: Path) -> None:
    path.chmod(path.stat().st_mode ^ 0o111)


def make_newer(path: Path) -> None:
    os.utime(path, (2e9, 2e9))


def lose_shelf(path: Path) -> None:
    """The directory that it is in becomes a file."""
    shutil.rmtree(path.parent)
    path.parent.write_text("")


EVERY: tuple[Harm, ...] = (
    flip,
    cut,
    empty,
    to_directory,
    to_link,
    to_fifo,
    remove,
    forbid,
    make_executable,
    make_newer,
    lose_shelf,
)
