"""The web bundle: ``env.WasmBundle``, a static site in which the machine goes on running.

``env.FilePackager`` is Emscripten's packer of files, apart from the rest of Emscripten: a bundle
is made anew after every small change, and should not have to look at a whole compiler.
"""

import os


def generate(env):
    env.AddMethod(file_packager, "FilePackager")
    env.AddMethod(wasm_bundle, "WasmBundle")


def exists(env):
    return True


def file_packager(env, name, *, toolchain):
    """Emscripten's ``file_packager``: output ``emscripten``, a directory that Python can run."""
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["bash", "/src/recipe/file-packager.sh"],
        inputs=env.ThawRecipe("web/recipes", "file-packager.sh"),
        outputs=["emscripten"],
    )


def wasm_bundle(
    env, name, *, machine, pack, snapshot, qemu, npm, packager, toolchain, lay_out, page=None
):
    """Page, QEMU and pack in one directory: output ``bundle``, also laid out at ``lay_out``.

    packager: the file packager; toolchain: one with Python
    npm: the packages xterm, xterm-pty and addon-fit (see ``env.Sources``)
    page: directory with the page's own source (default: this project's)
    """
    files = {**pack, "vm.state": env.ThawOutput(snapshot, "vm.state")}
    program = machine.program
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["python3", "/src/recipe/bundle.py"],
        inputs={
            "/src/web": {"dir": str(page or env.ThawData("web/page"))},
            "/src/machine.json": {"json": machine.to_json()},
            "/src/emscripten": env.ThawOutput(packager, "emscripten"),
            **{f"/src/{package}.tgz": npm[package] for package in ("xterm", "xterm-pty")},
            "/src/addon-fit.tgz": npm["addon-fit"],
            f"/deps/qemu/{program}.js": env.ThawOutput(qemu, f"{program}.js"),
            f"/deps/qemu/{program}.wasm": env.ThawOutput(qemu, f"{program}.wasm"),
            **{f"/deps/pack/{file}": value for file, value in files.items()},
            **env.ThawRecipe("web/recipes", "bundle.py"),
        },
        outputs=["bundle"],
        lay_out={"bundle": os.path.join(lay_out, "index.html")},
        trees=["bundle"],
        hint=f"a site for any web server; to see it here: ./sconsw MACHINE={machine.name} serve",
    )
