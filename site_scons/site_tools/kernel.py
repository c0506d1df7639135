"""Linux kernels: ``env.Kernel`` and, for the configuration only, ``env.KernelConfigCheck``."""

RECIPES = "images/recipes"


def generate(env):
    env.AddMethod(kernel, "Kernel")
    env.AddMethod(kernel_config_check, "KernelConfigCheck")


def exists(env):
    return True


def kernel(env, name, *, linux, config, toolchain, arch="x86_64"):
    """A kernel from source and a fragment: outputs ``bzImage`` and ``config``."""
    return _step(env, name, linux, config, toolchain, [arch], ["bzImage", "config"])


def kernel_config_check(env, name, *, linux, config, toolchain, arch="x86_64"):
    """Whether every option of a fragment survives: output ``config``, the whole of it."""
    return _step(env, name, linux, config, toolchain, ["--check-only", arch], ["config"])


def _step(env, name, linux, config, toolchain, arguments, outputs):
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["python3", "/src/recipe/kernel.py", *arguments],
        inputs={
            "/src/linux.tar.xz": linux,
            "/src/kernel.config": {"file": str(config)},
            **env.ThawRecipe(RECIPES, "kernel.py", "kconfig.py"),
            **env.ThawRecipe("qemu/recipes", "unpack.py"),
        },
        outputs=outputs,
        use_ccache=True,
    )
