"""A running QEMU: its serial console, where commands are typed, and its QMP socket."""

import logging
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pexpect
from console import Transcript, after_echo

sys.path.insert(0, "/src/qmp")
from qemu.qmp.legacy import QEMUMonitorProtocol, QMPError

logging.disable()  # of a QEMU that ended, QMP's tracebacks; a Failure says it in one line

SOCKET = "qmp.sock"
PANIC = "Kernel panic - not syncing"


class Failure(Exception):
    """What went wrong with the machine, with the end of its console."""


class Vm:
    """QEMU as machine.json says, from start to quit. Every wait ends after boot_timeout."""

    def __init__(self, machine: dict[str, Any], *arguments: str) -> None:
        self._prompt = machine["prompt"]
        self._timeout = machine["boot_timeout"]
        self._transcript = Transcript()
        argv = [*machine["qemu_argv"], *arguments, "-qmp", f"unix:{SOCKET},server=on,wait=off"]
        argv.append("-no-reboot")  # a guest that resets would otherwise boot for ever
        self._console = pexpect.spawn(
            f"/deps/qemu/qemu-system-{machine['arch']}",
            argv,
            timeout=self._timeout,
            encoding="utf-8",
            codec_errors="replace",
        )
        self._console.logfile_read = self._transcript
        self._qmp = QEMUMonitorProtocol(SOCKET)

    def __enter__(self) -> "Vm":
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                self._qmp.connect()
                return self
            except (OSError, QMPError) as error:
                if not self._console.isalive() or time.monotonic() > deadline:
                    self._console.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=1)
                    raise self.failure("QEMU did not start") from error
            time.sleep(0.05)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(EOFError, OSError, QMPError):  # when QEMU was the first to leave
            self._qmp.close()
        self._console.close(force=True)

    def wait_for_prompt(self, problem: str) -> str:
        """Read up to the next prompt and return what was before it; else Failure(problem)."""
        patterns = [self._prompt, PANIC, pexpect.EOF, pexpect.TIMEOUT]
        match self._console.expect_exact(patterns):
            case 0:
                return str(self._console.before)
            case 1:
                self._console.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=1)  # the rest of it
                raise self.failure(f"{problem}: the guest's kernel panicked")
            case 2:
                raise self.failure(f"{problem}: QEMU ended {self._ending()}")
            case _:
                raise self.failure(f"{problem}: no prompt {self._prompt!r} in {self._timeout} s")

    def run(self, command: str) -> str:
        """Type a command; return all that it printed, without the last newline."""
        self._console.send(command + "\r")
        shown = self.wait_for_prompt(f"`{command}` did not end")
        return after_echo(shown.replace("\r", ""), command).removesuffix("\n")

    def wake(self) -> None:
        """Get a prompt out of a resumed guest. The first key after a resume can get lost."""
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            self._console.send("\r")
            found = [self._prompt, PANIC, pexpect.EOF, pexpect.TIMEOUT]
            if self._console.expect_exact(found, timeout=1) < 3:
                break
        # Of what several keys brought forth, the marker's prompt is the last.
        self._console.send("echo a''wake\r")
        if self._console.expect_exact(["awake", pexpect.EOF, pexpect.TIMEOUT]):
            raise self.failure("the resumed guest does not answer")
        self.wait_for_prompt("the resumed guest does not answer")

    def wait_until_running(self) -> None:
        """Wait for an incoming migration to end and the guest to run."""
        self._poll("query-status", "status", good="running", bad=["internal-error", "io-error"])

    def migrate(self, path: Path) -> None:
        """Save the machine to a file, at full speed, and quit."""
        self._command("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        self._command("migrate", {"uri": f"file:{path}"})
        self._poll("query-migrate", "status", good="completed", bad=["failed", "cancelled"])
        self._command("quit")
        self._console.expect([pexpect.EOF, pexpect.TIMEOUT])

    def _poll(self, query: str, key: str, *, good: str, bad: list[str]) -> None:
        deadline = time.monotonic() + self._timeout
        while (status := self._command(query)).get(key) != good:
            if status.get(key) in bad or time.monotonic() > deadline:
                raise self.failure(f"{query}: wanted {good}, got {status}")
            time.sleep(0.02)

    def _command(self, name: str, arguments: dict[str, object] | None = None) -> dict[str, Any]:
        try:
            answer = self._qmp.cmd_raw(name, arguments)
        except (OSError, QMPError) as error:
            self._console.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=1)
            raise self.failure(f"{name}: QEMU ended {self._ending()}") from error
        if "error" in answer:
            raise self.failure(f"{name}: {answer['error']['desc']}")
        result: dict[str, Any] = answer["return"]
        return result

    def _ending(self) -> str:
        self._console.close(force=True)
        if self._console.signalstatus:
            return f"by signal {self._console.signalstatus}"
        return f"with exit status {self._console.exitstatus}"

    def failure(self, cause: str) -> Failure:
        """An error to raise: the cause, and below it the end of the console."""
        return Failure(f"{cause}\nthe console's last lines:\n{self._transcript.tail()}")
