"""Build a Linux kernel, or only check its configuration.

Usage: kernel.py [--check-only] ARCH
Reads  /src/linux.tar.xz, /src/kernel.config (a fragment: what it does not name is off)
Writes /out/config (the complete configuration) and, unless --check-only, /out/bzImage
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from kconfig import check
from unpack import unpack

FRAGMENT = Path("/src/kernel.config")
OUT = Path("/out")

# Name of an architecture to Kbuild, its directory under arch/, and the image `make` leaves there.
ARCHES = {"x86_64": ("x86", "boot/bzImage")}

# Kbuild writes these into the image; without them it asks the clock, the host and the user.
FIXED = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 2026",
    "KBUILD_BUILD_VERSION": "1",
    "KBUILD_BUILD_USER": "thaw",
    "KBUILD_BUILD_HOST": "thaw",
}


def unpack_for(source_dir: str) -> None:
    """Unpack Linux to ./linux without what no build for arch/<source_dir> reads.

    That is a third of its files: documentation, tests, other architectures' sources. Kconfig
    files stay, because every configuration reads them all.
    """
    other = f"arch/[!{source_dir[0]}]*"
    excluded = ["Documentation/*/*", "tools/testing/*", "tools/perf/*"]
    excluded += [f"{other}/*.[chS]", f"{other}/*.dts*"]
    unpack("/src/linux.tar.xz", "linux", excluded)


def make(*arguments: str) -> None:
    """Run make in ./linux; exits with its status if it fails."""
    compiler = "ccache gcc" if os.path.isdir("/ccache") and shutil.which("ccache") else "gcc"
    command = ["make", "-C", "linux", f"-j{os.cpu_count()}", f"CC={compiler}", "LOCALVERSION="]
    environment = os.environ | FIXED | {"CCACHE_DIR": "/ccache"}
    done = subprocess.run([*command, *arguments], env=environment)
    if done.returncode:
        sys.exit(f"kernel: make {' '.join(arguments)} failed: its own messages are above")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check-only", action="store_true")
    parser.add_argument("arch", choices=ARCHES)
    arguments = parser.parse_args()
    source_dir, image = ARCHES[arguments.arch]

    unpack_for(source_dir)
    arch = f"ARCH={arguments.arch}"
    make(arch, f"KCONFIG_ALLCONFIG={FRAGMENT}", "allnoconfig")
    make(arch, "olddefconfig")
    check(FRAGMENT, Path("linux/.config"))
    shutil.copyfile("linux/.config", OUT / "config")
    if not arguments.check_only:
        make(arch, Path(image).name)
        shutil.copyfile(Path("linux/arch", source_dir, image), OUT / "bzImage")


if __name__ == "__main__":
    main()
