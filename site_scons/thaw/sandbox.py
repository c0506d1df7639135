"""The sandbox: bubblewrap, with nothing in it but what an action declares.

No network, its own process, IPC and host names, a fixed user, a read-only root file system made
of the toolchain's tree. ``Sandbox`` is pure data that describes itself as a command line, so
that the same line can run an action and be shown to a person who wants to look inside.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thaw.errors import ThawError

USER_ID = 1000
HOST_NAME = "build"


@dataclass(frozen=True)
class Sandbox:
    """What a command sees.

    bwrap: how to call bubblewrap
    root: a directory whose top-level entries become the root file system, read-only
    read_only: path inside -> path outside, files or directories
    writable: path inside -> directory outside
    """

    bwrap: tuple[str, ...]
    root: Path
    read_only: Mapping[str, Path]
    writable: Mapping[str, Path]
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, argv: Sequence[str]) -> list[str]:
        """The host's command line that runs ``argv`` inside."""
        line = [*self.bwrap, "--unshare-all", "--die-with-parent", "--new-session"]
        line += ["--uid", str(USER_ID), "--gid", str(USER_ID), "--hostname", HOST_NAME]
        mounted = {path.split("/")[1] for path in (*self.read_only, *self.writable)}
        for entry in sorted(os.scandir(self.root), key=lambda e: e.name):
            if entry.name in {"dev", "proc", "tmp", *mounted}:
                continue
            if entry.is_symlink():
                line += ["--symlink", os.readlink(entry.path), f"/{entry.name}"]
            else:
                line += ["--ro-bind", entry.path, f"/{entry.name}"]
        line += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
        for inside, outside in sorted(self.read_only.items()):
            line += ["--ro-bind", str(outside), inside]
        for inside, outside in sorted(self.writable.items()):
            line += ["--bind", str(outside), inside]
        line += ["--remount-ro", "/", "--chdir", "/", "--clearenv"]
        for name, value in sorted(self.environment.items()):
            line += ["--setenv", name, value]
        return [*line, "--", *argv]

    def shell_script(self, argv: Sequence[str]) -> str:
        """A script that opens a shell inside, telling how the failed command was called."""
        shell = self.command(["env", "-C", "/build", "bash"])
        line = [word for word in shell if word != "--new-session"]
        hint = shlex.join(["echo", f"The command was: {shlex.join(argv)}"])
        return f"#!/bin/sh\n{hint}\nexec {shlex.join(line)}\n"


def kill(process: subprocess.Popen[bytes]) -> None:
    """End everything in a running sandbox; returns when it has ended."""
    # bubblewrap waits for its child, the sandbox's first process. If that one is killed, the
    # kernel ends all the others before bubblewrap hears of it; if bubblewrap is, they outlive it
    # for a moment and could still write.
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        process.wait(timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        pass
    process.kill()
    process.wait()


def host_bwrap() -> tuple[str, ...] | None:
    """The host's own bubblewrap, if it has one."""
    found = shutil.which("bwrap")
    return (found,) if found else None


def locked_bwrap(tree: Path) -> tuple[str, ...]:
    """The bubblewrap of an unpacked Debian tree, run through that tree's own loader."""
    library = tree / "usr/lib/x86_64-linux-gnu"
    loader = library / "ld-linux-x86-64.so.2"
    return (str(loader), "--library-path", str(library), str(tree / "usr/bin/bwrap"))


def probe(bwrap: Sequence[str]) -> None:
    """Try the smallest sandbox. Raises ThawError with the remedy if this host forbids it."""
    line = [*bwrap, "--unshare-all", "--ro-bind", "/", "/", "--", sys.executable, "-c", ""]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ThawError(f"sandbox: cannot run {bwrap[0]}: {error}") from error
    if done.returncode:
        raise ThawError(
            f"sandbox: this machine forbids user namespaces: {done.stderr.strip()}",
            remedy="allow them (as root: sysctl -w user.max_user_namespaces=15000"
            " kernel.apparmor_restrict_unprivileged_userns=0 kernel.unprivileged_userns_clone=1,"
            " those that exist), or install the distribution's bubblewrap package",
        )
