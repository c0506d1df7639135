"""Make the one source tree that both QEMU builds use.

Usage: source.py [DEBIAN-PATCH...]. Unpacks /src/qemu.tar.xz into /out/tree, applies the named
patches of Debian's packaging (/src/qemu-debian.tar.xz), which its pruned archive needs, then every
/src/patches/*.patch in order of name. /out/python is a copy of the tree's Python packages: who
only talks to QEMU need not have all of it. A hunk must match exactly: with fuzz, a patch that
lands in the wrong place would be found out by a guest only.
"""

import pathlib
import shutil
import subprocess
import sys

from unpack import unpack

SRC = pathlib.Path("/src")
TREE = pathlib.Path("/out/tree")
DEBIAN = pathlib.Path("/build/debian")

# Firmware sources: two thirds of the archive, and no part of either build.
UNUSED = ["roms/*"]


def apply(patch: pathlib.Path) -> None:
    """Apply one patch to the tree, or end the program naming the patch, the file and the hunk."""
    run = subprocess.run(
        ["patch", "-p1", "--fuzz=0", "--batch", "--forward", "--no-backup-if-mismatch"]
        + ["--reject-file=-", f"--input={patch}"],
        cwd=TREE,
        capture_output=True,
        text=True,
    )
    if run.returncode == 0:
        print(f"applied {patch.name}")
        return
    target = ""
    failures: list[str] = []
    for line in (run.stdout + run.stderr).splitlines():
        if line.startswith("patching file "):
            target = line.removeprefix("patching file ")
        elif line.startswith("Hunk ") and ("FAILED" in line or "ignored" in line):
            failures.append(f"{target}: {line}")
        elif "can't find file" in line or "malformed" in line or "already exists" in line:
            failures.append(line)
    cause = "; ".join(failures) or (run.stdout + run.stderr).strip()
    sys.exit(f"{patch.name}: does not apply: {cause}\nRefresh it against this QEMU release.")


def debian_patch(name: str) -> pathlib.Path:
    for suffix in (".patch", ".diff"):
        patch = DEBIAN / "patches" / (name + suffix)
        if patch.is_file():
            return patch
    sys.exit(f"{name}: no such patch in {SRC / 'qemu-debian.tar.xz'}. Correct qemu/source.yaml.")


def main(debian_patches: list[str]) -> None:
    unpack(str(SRC / "qemu.tar.xz"), str(TREE), UNUSED)
    unpack(str(SRC / "qemu-debian.tar.xz"), str(DEBIAN))
    for name in debian_patches:
        apply(debian_patch(name))
    for patch in sorted((SRC / "patches").glob("*.patch")):
        apply(patch)
    shutil.copytree(TREE / "python", "/out/python", symlinks=True)


if __name__ == "__main__":
    main(sys.argv[1:])
