"""Machines and their snapshots: ``env.Machine``, ``env.Pack`` and ``env.Snapshot``."""

from pathlib import Path

from thaw import machine


def generate(env):
    env.AddMethod(read_machine, "Machine")
    env.AddMethod(pack, "Pack")
    env.AddMethod(snapshot, "Snapshot")


def exists(env):
    return True


def read_machine(env, path):
    """The machine that a machine.yaml describes (see ``thaw.machine``)."""
    with env.ThawReported():
        return machine.load(Path(env.File(path).srcnode().get_path()))


def pack(env, machine, *, kernel, rootfs, firmware):
    """What the machine finds in /pack/: file name -> input."""
    return {
        **{name: env.ThawOutput(firmware, name) for name in machine.firmware},
        "bzImage": env.ThawOutput(kernel, "bzImage"),
        "rootfs.bin": env.ThawOutput(rootfs, "rootfs.bin"),
    }


def snapshot(env, name, *, machine, pack, qemu, qemu_source, toolchain, lay_out):
    """Boot the machine natively, run its steps, migrate it to a file: output ``vm.state``.

    The file is also laid out at ``lay_out``.
    """
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["python3", "/src/recipe/snapshot.py"],
        inputs={
            "/src/machine.json": {"json": machine.to_json()},
            "/src/qmp": env.ThawOutput(qemu_source, "python"),
            f"/deps/qemu/{machine.program}": env.ThawOutput(qemu, machine.program),
            **{f"/pack/{file}": value for file, value in pack.items()},
            **env.ThawRecipe("images/recipes", "snapshot.py", "vm.py", "console.py"),
        },
        outputs=["vm.state"],
        lay_out={"vm.state": lay_out},
        timeout=600,
    )
