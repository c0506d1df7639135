"""Build BusyBox, static, against musl: smaller than with glibc, and fewer instructions a start.

Usage: busybox.py
Reads  /src/busybox.tar.bz2, /src/busybox.config (a fragment, merged onto defconfig)
Writes /out/busybox/: busybox and busybox.links (the path of every applet, one a line)
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from kconfig import check, merge
from unpack import unpack

FRAGMENT = Path("/src/busybox.config")
OUT = Path("/out/busybox")

# Kernel headers, which musl does not bring along: Debian's, without the glibc headers beside them.
KERNEL_HEADERS = {
    "linux": "/usr/include/linux",
    "mtd": "/usr/include/mtd",
    "asm-generic": "/usr/include/asm-generic",
    "asm": "/usr/include/x86_64-linux-gnu/asm",
}


def make(*arguments: str, answers: str | None = None) -> None:
    """Run make in ./busybox; exits with one line if it fails."""
    ccache = "ccache " if os.path.isdir("/ccache") and shutil.which("ccache") else ""
    compiler = f"CC={ccache}musl-gcc -idirafter {Path('headers').resolve()}"
    command = ["make", "-C", "busybox", f"-j{os.cpu_count()}", compiler, *arguments]
    environment = os.environ | {"CCACHE_DIR": "/ccache"}
    if subprocess.run(command, env=environment, input=answers, text=True).returncode:
        sys.exit(f"busybox: make {' '.join(arguments)} failed: its own messages are above")


def main() -> None:
    unpack("/src/busybox.tar.bz2", "busybox")
    Path("headers").mkdir()
    for name, target in KERNEL_HEADERS.items():
        Path("headers", name).symlink_to(target)

    config = Path("busybox/.config")
    make("defconfig")
    merge(config, FRAGMENT)
    make("oldconfig", answers="\n" * 1000)  # an empty line takes a new option's default
    check(FRAGMENT, config)
    make("busybox", "busybox.links")
    OUT.mkdir()
    for name in ("busybox", "busybox.links"):
        shutil.copy(Path("busybox", name), OUT / name)


if __name__ == "__main__":
    main()
