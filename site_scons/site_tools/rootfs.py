"""Root file systems: ``env.BusyBox`` and ``env.RootFS``."""

RECIPES = "images/recipes"


def generate(env):
    env.AddMethod(busybox, "BusyBox")
    env.AddMethod(rootfs, "RootFS")


def exists(env):
    return True


def busybox(env, name, *, archive, config, toolchain):
    """BusyBox, static, from source: output ``busybox``."""
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["python3", "/src/recipe/busybox.py"],
        inputs={
            "/src/busybox.tar.bz2": archive,
            "/src/busybox.config": {"file": str(config)},
            **env.ThawRecipe(RECIPES, "busybox.py", "kconfig.py"),
            **env.ThawRecipe("qemu/recipes", "unpack.py"),
        },
        outputs=["busybox"],
        use_ccache=True,
    )


def rootfs(env, name, *, busybox, overlay, toolchain):
    """A file system image of BusyBox and an overlay tree: output ``rootfs.bin``."""
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["python3", "/src/recipe/rootfs.py"],
        inputs={
            "/src/overlay": {"dir": str(overlay)},
            "/deps/busybox": env.ThawOutput(busybox, "busybox"),
            **env.ThawRecipe(RECIPES, "rootfs.py"),
        },
        outputs=["rootfs.bin"],
    )
