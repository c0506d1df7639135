"""Machine descriptions: ``images/<machine>/machine.yaml`` becomes QEMU's command line.

The schema refuses what it does not know; the checks below it refuse what contradicts itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thaw import yamlfile
from thaw.errors import ThawError

PACK = "/pack/"
BUILT = ("bzImage", "rootfs.bin")  # what the builders put into the pack, beside the firmware

WASM_MEMORY_MIB = 2300  # INITIAL_MEMORY in qemu/recipes/qemu-wasm.sh
QEMU_MIB = 300  # of it, QEMU's own: code, stacks, heap, the guest's screen

_FILE = {"type": "string", "pattern": r"^[\w][\w.+-]*$"}
_TEXT = {"type": "string", "minLength": 1}
_LINE = {"type": "string", "pattern": r"^[^\r\n]+$"}
_COMMANDS = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["run", "expect"],
        "properties": {"run": _LINE, "expect": {"type": "string"}},
    },
}
_DRIVE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["file", "format", "interface"],
    "properties": {
        "file": _FILE,
        "format": {"enum": ["raw", "qcow2"]},
        "interface": {"enum": ["virtio", "ide"]},
        "readonly": {"type": "boolean"},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["title", "arch", "machine", "cpu", "memory", "accel", "kernel", "prompt"],
    "properties": {
        "title": _LINE,
        "arch": {"enum": ["x86_64"]},  # what qemu/recipes/qemu-options.sh builds
        "machine": _LINE,
        "cpu": _LINE,
        "memory": {"type": "string", "pattern": r"^[1-9]\d*[MG]$"},
        "accel": {"type": "string", "pattern": r"^tcg(,[\w-]+=[\w-]+)*$"},
        "network": {"enum": ["none"]},
        "firmware": {"type": "array", "items": _FILE},
        "kernel": _FILE,
        "append": {"type": "array", "items": {"type": "string", "pattern": r"^\S+$"}},
        "drives": {"type": "array", "items": _DRIVE},
        "devices": {"type": "array", "items": _LINE},
        "prompt": _TEXT,
        "boot-timeout": {"type": "integer", "minimum": 1},
        "steps": _COMMANDS,
        "checks": _COMMANDS,
    },
}


@dataclass(frozen=True)
class Machine:
    """A machine, as recipes and the page get it."""

    name: str
    arch: str
    title: str
    qemu_argv: Sequence[str]  # without program and -incoming; the same everywhere
    memory_mib: int
    firmware: Sequence[str]
    prompt: str
    boot_timeout: int  # seconds
    steps: Sequence[Mapping[str, str]]
    checks: Sequence[Mapping[str, str]]

    @property
    def program(self) -> str:
        """The name of the QEMU that emulates it."""
        return f"qemu-system-{self.arch}"

    def to_json(self) -> dict[str, Any]:
        """The content of a recipe's machine.json."""
        return asdict(self)


def load(path: Path) -> Machine:
    """Read a machine.yaml, named by its folder. Raises ThawError with file and line."""
    if not path.exists():
        known = sorted(found.parent.name for found in path.parents[1].glob("*/machine.yaml"))
        raise ThawError(
            f"{path}: there is no such machine",
            remedy=f"say MACHINE= and one of {', '.join(known)}, or describe a new one there",
        )
    document = yamlfile.load_document(path, SCHEMA)
    value = document.value
    for where, cause, remedy in _contradictions(value):
        raise document.error(where, f"{'.'.join(map(str, where))}: {cause}", remedy)
    return Machine(
        name=path.absolute().parent.name,
        arch=value["arch"],
        title=value["title"],
        qemu_argv=_qemu_argv(value),
        memory_mib=_mebibytes(value["memory"]),
        firmware=value.get("firmware", []),
        prompt=value["prompt"],
        boot_timeout=value.get("boot-timeout", 60),
        steps=value.get("steps", []),
        checks=value.get("checks", []),
    )


def _qemu_argv(value: Mapping[str, Any]) -> list[str]:
    argv = ["-nographic", "-M", value["machine"], "-cpu", value["cpu"]]
    argv += ["-m", value["memory"], "-accel", value["accel"], "-L", PACK, "-nic", "none"]
    for drive in value.get("drives", []):
        options = [f"file={PACK}{drive['file']}", f"format={drive['format']}"]
        options += [f"if={drive['interface']}"]
        options += ["readonly=on"] if drive.get("readonly") else []
        argv += ["-drive", ",".join(options)]
    for device in value.get("devices", []):
        argv += ["-device", device]
    argv += ["-kernel", PACK + value["kernel"]]
    return [*argv, "-append", " ".join(value.get("append", []))]


Contradiction = tuple[list[str | int], str, str]  # where, cause, what to do


def _contradictions(value: Mapping[str, Any]) -> Iterator[Contradiction]:
    """What a schema can't say, in the order of the file's usual keys."""
    machine = value["machine"].partition(",")[0]
    if not re.search(r"-\d+\.\d+$", machine):
        yield (
            ["machine"],
            f"{machine} has no version, so it is another machine in the next QEMU",
            f"say {machine}-10.2 or the like: `qemu-system-{value['arch']} -M help` lists them",
        )
    yield from _memory(value)
    yield from _files(value)
    yield from _append(value)
    for index, device in enumerate(value.get("devices", [])):
        driver = device.partition(",")[0]
        if re.search(r"^(virtio-net|e1000|rtl8139|ne2k|vmxnet)", driver):
            yield (
                ["devices", index],
                f"{driver} is a network card, but the machine has no network",
                "take it out: the browser's QEMU has nothing to connect it to",
            )
    for key in ("steps", "checks"):
        for index, command in enumerate(value.get(key, [])):
            if any(value["prompt"] in text for text in command.values()):
                yield (
                    [key, index],
                    "has the prompt in it, which could not be told from the shell's own",
                    "choose a rarer prompt or another command",
                )


def _memory(value: Mapping[str, Any]) -> Iterator[Contradiction]:
    match = re.search(r"\btb-size=(\d+)", value["accel"])
    if match is None:
        yield (
            ["accel"],
            "tb-size is missing, and QEMU's own choice depends on the host's memory",
            "say tcg,tb-size=500, in MiB",
        )
        return
    memory, cap = _mebibytes(value["memory"]), WASM_MEMORY_MIB - QEMU_MIB - int(match[1])
    if memory > cap:
        yield (
            ["memory"],
            f"{memory} MiB is too much: beside accel's tb-size={match[1]} the browser has {cap}",
            "give the machine less memory, or a smaller tb-size",
        )


def _files(value: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Each file of the pack is one thing, and something builds it."""
    drives = value.get("drives", [])
    places: list[tuple[list[str | int], str]] = [(["kernel"], value["kernel"])]
    places += [(["drives", index, "file"], drive["file"]) for index, drive in enumerate(drives)]
    used: dict[str, str] = {}
    for where, file in places:
        if file not in BUILT:
            yield where, f"nothing builds {file}", f"the builders make {' and '.join(BUILT)}"
        if file in used:
            yield where, f"{file} is there already, as {used[file]}", "name each file once"
        used[file] = str(where[0])
    for index, file in enumerate(value.get("firmware", [])):
        if file in used:
            yield ["firmware", index], f"{file} is there already", "name each file once"
        used[file] = "firmware"


def _append(value: Mapping[str, Any]) -> Iterator[Contradiction]:
    """The kernel's command line against itself and the drives."""
    words = value.get("append", [])
    virtio = [drive for drive in value.get("drives", []) if drive["interface"] == "virtio"]
    seen: set[str] = set()
    for index, word in enumerate(words):
        name = word.partition("=")[0]
        if name in seen and name not in ("console", "earlycon"):
            yield ["append", index], f"{name} is given twice", "give it once"
        if {name, *seen} >= {"ro", "rw"}:
            yield ["append", index], "both ro and rw are given", "give one of them"
        seen.add(name)
        if disk := re.fullmatch(r"root=/dev/vd([a-z])\d*", word):
            number = ord(disk[1]) - ord("a")
            if number >= len(virtio):
                yield ["append", index], f"there is no drive for {word}", "add it to drives"
            elif "rw" in words and virtio[number].get("readonly"):
                yield ["append", index], "rw is given, but the drive is readonly", "change one"


def _mebibytes(size: str) -> int:
    return int(size[:-1]) * (1024 if size.endswith("G") else 1)
