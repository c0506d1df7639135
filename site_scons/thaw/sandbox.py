"""The sandbox: bubblewrap, with nothing in it but what an action declares.

No network, its own process, IPC and host names, a fixed user, a read-only root file system made
of the toolchain's tree. ``Sandbox`` is pure data that describes itself as a command line, so
that the same line can run an action and be shown to a person who wants to look inside.
"""

import contextlib
import json
import os
import select
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

    def start(self, argv: Sequence[str], log: Path) -> "Running":
        """Run ``argv`` inside, its output going to a file. Raises OSError."""
        reader, writer = os.pipe()
        options = ["--info-fd", str(writer)]
        line = self.command(argv)
        line[len(self.bwrap) : len(self.bwrap)] = options
        with open(reader, "rb") as info, open(log, "wb") as output:
            try:
                process = subprocess.Popen(
                    line,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writer],
                    env={},  # an action can read what its first process was started with
                    start_new_session=True,  # the terminal's Ctrl-C is for us alone to act on
                )
            finally:
                os.close(writer)
            return Running(process, info.read())

    def shell_script(self, argv: Sequence[str]) -> str:
        """A script that opens a shell inside, telling how the failed command was called."""
        shell = self.command(["env", "-C", "/build", "bash"])
        line = [word for word in shell if word != "--new-session"]
        hint = shlex.join(["echo", f"The command was: {shlex.join(argv)}"])
        return f"#!/bin/sh\n{hint}\nexec {shlex.join(line)}\n"


class Running:
    """A sandbox at work.

    bubblewrap reports the command's end while the sandbox's first process, its child, may still
    be there, and with it whatever the command left in the background. The kernel ends all of that
    with the first process, so that one is watched, by a descriptor: it can't become another's.
    """

    def __init__(self, bwrap: subprocess.Popen[bytes], info: bytes) -> None:
        self._bwrap = bwrap
        self._watch = os.pidfd_open(bwrap.pid)
        self._first: int | None = None
        with contextlib.suppress(ValueError, ProcessLookupError):  # it failed before it began
            self._first = os.pidfd_open(json.loads(info)["child-pid"])

    def wait(self, seconds: float) -> bool:
        """Whether the command ended within that time."""
        return bool(select.select([self._watch], [], [], seconds)[0])

    def end(self) -> int:
        """End all that still runs inside. The command's exit code; call once, always."""
        if self._first is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
            select.select([self._first], [], [])
            os.close(self._first)
        os.close(self._watch)
        return self._bwrap.wait()


def host_bwrap() -> tuple[str, ...] | None:
    """The host's own bubblewrap, if it has one."""
    found = shutil.which("bwrap")
    return (found,) if found else None


def locked_bwrap(tree: Path) -> tuple[str, ...]:
    """The bubblewrap of an unpacked Debian tree, run through that tree's own loader."""
    library = tree / "usr/lib/x86_64-linux-gnu"
    loader = library / "ld-linux-x86-64.so.2"
    return (str(loader), "--library-path", str(library), str(tree / "usr/bin/bwrap"))


def fault(bwrap: Sequence[str]) -> str:
    """Why this bubblewrap can't make our kind of sandbox on this machine, or nothing if it can."""
    line = [*bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    line += ["--ro-bind", "/", "/", "--", sys.executable, "-c", ""]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot run {bwrap[0]}: {error}"
    if done.returncode:
        return f"this machine forbids user namespaces: {done.stderr.strip()}"
    return ""


def probe(bwrap: Sequence[str]) -> None:
    """Try the smallest sandbox. Raises ThawError with the remedy if this host forbids it."""
    found = fault(bwrap)
    if found:
        raise ThawError(
            f"sandbox: {found}",
            remedy="allow them (as root: sysctl -w user.max_user_namespaces=15000"
            " kernel.apparmor_restrict_unprivileged_userns=0 kernel.unprivileged_userns_clone=1,"
            " those that exist), or install the distribution's bubblewrap package",
        )
