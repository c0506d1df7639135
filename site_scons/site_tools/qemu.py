"""QEMU, native and as WebAssembly, from one source tree; and the libraries of the latter."""

RECIPES = "qemu/recipes"
WASM_ENV = ("wasm-env.sh", "ccache.sh")


def generate(env):
    env.AddMethod(qemu_native, "QemuNative")
    env.AddMethod(emscripten_libraries, "EmscriptenLibraries")
    env.AddMethod(wasm_library, "WasmLibrary")
    env.AddMethod(qemu_wasm, "QemuWasm")


def exists(env):
    return True


def qemu_native(env, name, *, source, toolchain, arch="x86_64"):
    """The QEMU that boots the machine: output ``qemu-system-<arch>``."""
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["bash", "/src/recipe/qemu-native.sh"],
        inputs={
            "/src/tree": env.ThawOutput(source, "tree"),
            **env.ThawRecipe(RECIPES, "qemu-native.sh", "qemu-options.sh", "ccache.sh"),
        },
        outputs=[f"qemu-system-{arch}"],
        use_ccache=True,
    )


def emscripten_libraries(env, name, *, toolchain):
    """Emscripten's own system libraries as our programs need them: output ``emcache``."""
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["bash", "/src/recipe/emcache.sh"],
        inputs=env.ThawRecipe(RECIPES, "emcache.sh", *WASM_ENV),
        outputs=["emcache"],
    )


def wasm_library(env, name, *, archive, emcache, toolchain, deps=None, patches=()):
    """A library for WebAssembly, by the recipe of its name: output ``prefix``.

    deps: name -> manifest of the libraries it is compiled against
    """
    suffix = archive["source"]["name"].rpartition(".tar.")[2]
    inputs = {
        f"/src/{name}.tar.{suffix}": archive,
        "/deps/emcache": env.ThawOutput(emcache, "emcache"),
        **_prefixes(env, deps or {}),
        **env.ThawRecipe(RECIPES, f"{name}.sh", "unpack.py", *WASM_ENV),
        **{f"/src/patches/{patch.name}": {"file": str(patch)} for patch in patches},
    }
    return env.ThawStep(
        f"wasm-{name}",
        toolchain=toolchain,
        argv=["bash", f"/src/recipe/{name}.sh"],
        inputs=inputs,
        outputs=["prefix"],
        use_ccache=True,
    )


def qemu_wasm(env, name, *, source, emcache, deps, xterm_pty, toolchain, arch="x86_64"):
    """The QEMU that resumes the machine in a page: outputs ``qemu-system-<arch>.js, .wasm``."""
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["bash", "/src/recipe/qemu-wasm.sh"],
        inputs={
            "/src/tree": env.ThawOutput(source, "tree"),
            "/src/xterm-pty.tgz": xterm_pty,
            "/deps/emcache": env.ThawOutput(emcache, "emcache"),
            **_prefixes(env, deps),
            **env.ThawRecipe(
                RECIPES,
                "qemu-wasm.sh",
                "qemu-options.sh",
                "poll-library.js",
                "unpack.py",
                *WASM_ENV,
            ),
        },
        outputs=[f"qemu-system-{arch}.js", f"qemu-system-{arch}.wasm"],
        use_ccache=True,
    )


def _prefixes(env, deps):
    return {f"/deps/{name}": env.ThawOutput(node, "prefix") for name, node in deps.items()}
