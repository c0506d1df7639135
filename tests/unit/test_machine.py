"""Machine descriptions: the command line they become, and every contradiction they may hold."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from thaw import machine
from thaw.errors import ThawError

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {
    "title": "Test",
    "arch": "x86_64",
    "machine": "pc-i440fx-10.2",
    "cpu": "qemu64-v1",
    "memory": "512M",
    "accel": "tcg,tb-size=500",
    "network": "none",
    "firmware": ["bios-256k.bin"],
    "kernel": "bzImage",
    "append": ["console=ttyS0", "root=/dev/vda", "ro"],
    "drives": [{"file": "rootfs.bin", "format": "raw", "interface": "virtio"}],
    "devices": ["virtio-rng-pci"],
    "prompt": "~ # ",
    "steps": [{"run": "true", "expect": ""}],
    "checks": [],
}


def written(tmp_path: Path, changes: dict[str, Any]) -> Path:
    """A machine.yaml, a key a line, that is good but for the changes (None takes a key away)."""
    value = {key: item for key, item in (GOOD | changes).items() if item is not None}
    path = tmp_path / "box" / "machine.yaml"
    path.parent.mkdir()
    path.write_text("".join(f"{key}: {json.dumps(item)}\n" for key, item in value.items()))
    return path


def test_the_machine_of_the_repository_is_the_well_known_one() -> None:
    box = machine.load(ROOT / "images/x86_64/machine.yaml")
    line = " ".join(box.qemu_argv)
    for part in (
        "-nographic",
        "-M pc-i440fx-10.2",
        "-m 512M -accel tcg,tb-size=500 -L /pack/ -nic none",
        "-drive file=/pack/rootfs.bin,format=raw,if=virtio",
        "-kernel /pack/bzImage",
        "-append earlyprintk=ttyS0,115200n8 console=ttyS0,115200n8 root=/dev/vda rootwait ro"
        " loglevel=7",
    ):
        assert part in line
    assert "-incoming" not in line
    assert {"run": "cat /tmp/before-migration", "expect": "test"} in box.checks
    firmware = ["bios-256k.bin", "vgabios-stdvga.bin", "kvmvapic.bin", "linuxboot_dma.bin"]
    assert box.firmware == firmware


def test_recipes_get_all_of_it(tmp_path: Path) -> None:
    box = machine.load(written(tmp_path, {"memory": "1G", "boot-timeout": 7}))
    assert box.program == "qemu-system-x86_64"
    content = box.to_json()
    assert content["name"] == "box"
    assert content["memory_mib"] == 1024
    assert content["boot_timeout"] == 7
    assert content["steps"] == [{"run": "true", "expect": ""}]
    assert json.loads(json.dumps(content)) == content


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    optional = ("network", "firmware", "append", "drives", "devices", "steps", "checks")
    box = machine.load(written(tmp_path, dict.fromkeys(optional)))
    assert box.qemu_argv[-2:] == ["-append", ""]
    assert (box.firmware, box.steps, box.checks, box.boot_timeout) == ([], [], [], 60)


def test_a_readonly_drive_and_devices_reach_qemu(tmp_path: Path) -> None:
    drive = {"file": "rootfs.bin", "format": "raw", "interface": "virtio", "readonly": True}
    argv = machine.load(written(tmp_path, {"drives": [drive], "devices": ["a,b=c"]})).qemu_argv
    assert "file=/pack/rootfs.bin,format=raw,if=virtio,readonly=on" in argv
    assert argv[argv.index("-device") + 1] == "a,b=c"


DRIVE = GOOD["drives"][0]


@pytest.mark.parametrize(
    ("changes", "key", "cause"),
    [
        ({"prompt": None}, "title", "'prompt' is missing"),
        ({"prompt": ""}, "prompt", "prompt: '' should be non-empty"),
        ({"colour": "red"}, "colour", "unknown key 'colour'"),
        ({"memory": 512}, "memory", "memory: 512 is not of type 'string'"),
        ({"memory": "512 MB"}, "memory", "memory: '512 MB' does not match"),
        ({"memory": "3G"}, "memory", "memory: 3072 MiB is too much: beside accel's tb-size=500"),
        ({"accel": "kvm"}, "accel", "accel: 'kvm' does not match"),
        ({"accel": "tcg"}, "accel", "accel: tb-size is missing"),
        ({"machine": "pc"}, "machine", "machine: pc has no version"),
        ({"machine": "q35,hpet=off"}, "machine", "machine: q35 has no version"),
        ({"network": "user"}, "network", "network: 'none' was expected|is not one of"),
        ({"devices": ["virtio-net-pci"]}, "devices", "virtio-net-pci is a network card"),
        ({"kernel": "vmlinux"}, "kernel", "kernel: nothing builds vmlinux"),
        ({"kernel": "../bzImage"}, "kernel", "kernel: '../bzImage' does not match"),
        ({"drives": [DRIVE, DRIVE]}, "drives", "drives.1.file: rootfs.bin is there already"),
        ({"drives": [DRIVE | {"cache": "no"}]}, "drives", "unknown key 'cache'"),
        ({"drives": []}, "append", "append.1: there is no drive for root=/dev/vda"),
        ({"firmware": ["a.bin", "a.bin"]}, "firmware", "firmware.1: a.bin is there already"),
        ({"append": ["root=/dev/vda", "root=/dev/vda"]}, "append", "append.1: root is given twice"),
        ({"append": ["root=/dev/vdb"]}, "append", "append.0: there is no drive for root=/dev/vdb"),
        ({"append": ["ro", "quiet", "rw"]}, "append", "append.2: both ro and rw are given"),
        (
            {"append": ["root=/dev/vda", "rw"], "drives": [DRIVE | {"readonly": True}]},
            "append",
            "append.0: rw is given, but the drive is readonly",
        ),
        ({"append": ["ro rw"]}, "append", "append.0: 'ro rw' does not match"),
        ({"boot-timeout": 0}, "boot-timeout", "boot-timeout: 0 is less than the minimum of 1"),
        ({"steps": [{"run": "true"}]}, "steps", "steps.0: 'expect' is missing"),
        ({"steps": [{"run": "a\nb", "expect": ""}]}, "steps", "steps.0.run: .* does not match"),
        ({"checks": [{"run": "echo '~ # '", "expect": ""}]}, "checks", "has the prompt in it"),
    ],
)
def test_each_mistake_is_one_message_with_its_line(
    tmp_path: Path, changes: dict[str, Any], key: str, cause: str
) -> None:
    path = written(tmp_path, changes)
    lines = path.read_text().splitlines()
    number = next(n for n, line in enumerate(lines, start=1) if line.startswith(f"{key}:"))
    with pytest.raises(ThawError, match=f"^{re.escape(str(path))}:{number}: .*({cause})") as info:
        machine.load(path)
    assert "\n" not in info.value.message


def test_consoles_may_be_several(tmp_path: Path) -> None:
    machine.load(written(tmp_path, {"append": ["console=tty0", "console=ttyS0"]}))


def test_the_memory_cap_is_that_of_the_wasm_build() -> None:
    recipe = (ROOT / "qemu/recipes/qemu-wasm.sh").read_text()
    assert f"-sINITIAL_MEMORY={machine.WASM_MEMORY_MIB}MB" in recipe


def test_the_schema_is_one() -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(machine.SCHEMA)
    assert set(yaml.safe_load((ROOT / "images/x86_64/machine.yaml").read_text())) <= set(
        machine.SCHEMA["properties"]
    )


def test_a_machine_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/machine.yaml").touch()

    with pytest.raises(ThawError, match=r"two/machine\.yaml: there is no such machine") as raised:
        machine.load(tmp_path / "two/machine.yaml")

    assert "one of one" in raised.value.remedy
