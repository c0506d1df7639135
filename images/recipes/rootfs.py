"""Make the root file system image: BusyBox, a link for each applet, and the overlay tree.

Usage: rootfs.py
Reads  /deps/busybox/busybox, /deps/busybox/busybox.links, /src/overlay (a directory tree)
Writes /out/rootfs.bin

squashfs rather than ext4: it is read-only, as the root of a snapshot must be (a disk that changed
after the snapshot would not fit the restored memory), needs no root to make, has no UUID, hash
seed or lazily initialised field that could differ, and its driver is small. It is not compressed:
the browser's interpreter would pay for every inflated block, and the site is compressed anyway.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

BUSYBOX = Path("/deps/busybox")
OVERLAY = Path("/src/overlay")
ROOT = Path("root")

# Directories that the overlay can't carry, since Git keeps no empty ones: mount points, mostly.
DIRECTORIES = ["bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"]


def copy_overlay() -> None:
    """Copy the overlay to ./root, with modes reduced to what Git keeps: is it executable?

    The modes of the checkout (a umask) or of a read-only store must not show in the image.
    """
    shutil.copytree(OVERLAY, ROOT, symlinks=True)
    for directory, _, files in os.walk(ROOT):
        os.chmod(directory, 0o755)
        for path in (Path(directory, name) for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def add_busybox() -> None:
    """Add BusyBox and its applets, except those for which the overlay brings a file of its own."""
    for name in DIRECTORIES:
        ROOT.joinpath(name).mkdir(exist_ok=True)
    shutil.copyfile(BUSYBOX / "busybox", ROOT / "bin/busybox")
    ROOT.joinpath("bin/busybox").chmod(0o755)
    for applet in BUSYBOX.joinpath("busybox.links").read_text().split():
        link = ROOT / applet.lstrip("/")
        if not os.path.lexists(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("/bin/busybox")


def main() -> None:
    try:
        copy_overlay()
        add_busybox()
    except OSError as error:
        sys.exit(f"rootfs: {error}")
    # mksquashfs would only clamp times that are later than SOURCE_DATE_EPOCH, and refuses it
    # beside the options that set them all.
    epoch = os.environ.pop("SOURCE_DATE_EPOCH")
    command = ["mksquashfs", str(ROOT), "/out/rootfs.bin", "-noappend", "-quiet", "-no-progress"]
    command += ["-all-root", "-all-time", epoch, "-mkfs-time", epoch, "-no-xattrs"]
    command += ["-noI", "-noId", "-noD", "-noF", "-noX"]
    if subprocess.run(command).returncode:
        sys.exit("rootfs: mksquashfs failed: its own messages are above")


if __name__ == "__main__":
    main()
