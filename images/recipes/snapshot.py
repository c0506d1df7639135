"""Boot a machine natively, run its steps, and save it to a file that is proven to resume.

Usage: snapshot.py
Reads  /src/machine.json, /src/qmp/ (QEMU's own Python package), /deps/qemu/qemu-system-<arch>,
       /pack/ (what the machine boots from)
Writes /out/vm.state; the console's transcript is the log
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from vm import Failure, Vm

STATE = Path("vm.state")


def run_all(vm: Vm, commands: list[dict[str, str]]) -> None:
    """Run each command in the guest; Failure if one prints anything but what it must."""
    for command in commands:
        printed = vm.run(command["run"])
        if printed != command["expect"]:
            shown = repr(printed) if len(printed) < 200 else f"{len(printed)} characters"
            raise vm.failure(
                f"`{command['run']}` printed {shown}, but machine.yaml expects "
                f"{command['expect']!r}"
            )


def save(machine: dict[str, Any]) -> None:
    """Boot, run the steps, and migrate to a file, while running: so it will run on resume."""
    with Vm(machine) as vm:
        vm.wait_for_prompt("the machine did not boot to its prompt")
        run_all(vm, machine["steps"])
        vm.migrate(STATE)


def prove(machine: dict[str, Any]) -> None:
    """Resume the file in a fresh QEMU and run the checks, before any browser sees it."""
    with Vm(machine, "-incoming", f"file:{STATE}") as vm:
        vm.wait_until_running()
        vm.wake()
        run_all(vm, machine["checks"])


def main() -> None:
    machine = json.loads(Path("/src/machine.json").read_text())
    for stage, act in (("snapshot", save), ("resume", prove)):
        print(f"--- {stage}", flush=True)
        try:
            act(machine)
        except Failure as failure:
            sys.exit(f"\n{stage}: {failure}")
    shutil.move(STATE, "/out/vm.state")
    print(f"\n--- good: {Path('/out/vm.state').stat().st_size} bytes")


if __name__ == "__main__":
    main()
