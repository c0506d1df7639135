"""Firmware: ``env.Firmware`` takes the files a machine names out of locked packages."""


def generate(env):
    env.AddMethod(firmware, "Firmware")


def exists(env):
    return True


def firmware(env, name, *, files, packages, toolchain):
    """The named files of a toolchain of firmware packages, each an output."""
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["bash", "/src/recipe/firmware.sh", *files],
        inputs={
            "/deps/firmware": env.ThawOutput(packages, "root"),
            **env.ThawRecipe("images/recipes", "firmware.sh"),
        },
        outputs=files,
    )
