"""Whether what was laid out in ``out/`` is still as it was laid out.

Beside a manifest, ``<step>.laid`` holds what the file system said of each file then. An edit, a
removal or an addition changes that (ctime cannot be set back), and the files are laid out anew.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from thaw.files import write_atomically


def stamps_path(manifest: Path) -> Path:
    return manifest.with_suffix(".laid")


def write_stamps(manifest: Path, paths: Iterable[Path]) -> None:
    value = {str(path): _stamp(path) for path in paths}
    write_atomically(stamps_path(manifest), json.dumps(value, indent=1).encode(), durable=False)


def is_touched(manifest: Path) -> bool:
    """Whether files were changed since. No, if it is not known that any were laid out."""
    try:
        value = json.loads(stamps_path(manifest).read_text())
        return any(_stamp(Path(path)) != stamp for path, stamp in value.items())
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):
        return True


def _stamp(top: Path) -> list[str]:
    return [_entry(path, top) for path in _walk(top)] if os.path.lexists(top) else []


def _walk(top: Path) -> Iterator[Path]:
    yield top
    if top.is_dir() and not top.is_symlink():
        for name in sorted(os.listdir(top)):
            yield from _walk(top / name)


def _entry(path: Path, top: Path) -> str:
    found = path.lstat()
    # A directory's own times change with a server's or an editor's temporary files.
    times = "" if path.is_dir() else f" {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
    return f"{os.path.relpath(path, top)} {found.st_mode:o}{times}"
