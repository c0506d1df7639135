"""Make the static site: the page, QEMU, and the machine's files packed for it.

Inputs   /src/web          the page's source
         /src/machine.json what the machine is called, its arguments and its prompt
         /src/xterm.tgz /src/xterm-pty.tgz /src/addon-fit.tgz   npm packages
         /src/emscripten   Emscripten's file packager (see file-packager.sh)
         /deps/qemu        qemu-system-<arch>.js and .wasm (and what else was linked beside them)
         /deps/*           every other directory: files that go to /pack/ in the machine
Output   /out/bundle

Emscripten's own file packager makes load.js and pack.data.
"""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PACK = "pack.data"
STATE = "/pack/vm.state"
# Where each file of an npm package goes in the bundle. All scripts are named .js: not every web
# server knows .mjs.
VENDOR = {
    "xterm": {
        "lib/xterm.mjs": "xterm.js",
        "css/xterm.css": "xterm.css",
        "LICENSE": "LICENSE.xterm.txt",
    },
    "xterm-pty": {"index.mjs": "xterm-pty.js", "LICENSE.txt": "LICENSE.xterm-pty.txt"},
    "addon-fit": {"lib/addon-fit.mjs": "addon-fit.js", "LICENSE": "LICENSE.addon-fit.txt"},
}


def vendor(bundle: Path) -> None:
    """Take what the page needs out of the npm packages."""
    (bundle / "vendor").mkdir()
    for package, wanted in VENDOR.items():
        archive_path = f"/src/{package}.tgz"
        with tarfile.open(archive_path) as archive:
            for member, name in wanted.items():
                try:
                    file = archive.extractfile(f"package/{member}")
                except KeyError:
                    file = None
                if file is None:
                    sys.exit(f"{archive_path}: no file package/{member}; has the package changed?")
                (bundle / "vendor" / name).write_bytes(without_map(file.read()))


def without_map(text: bytes) -> bytes:
    """The file without the reference to a source map that is not in the bundle."""
    lines = text.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"//# sourceMappingURL="))


def pack(bundle: Path, directories: list[Path]) -> None:
    """Pack the files of some directories, to be found in /pack/ by the machine."""
    command = [sys.executable, "/src/emscripten/tools/file_packager.py", PACK]
    command += ["--js-output=load.js", "--no-node", "--quiet", "--preload"]
    command += [f"{directory}@/pack" for directory in directories]
    subprocess.run(command, cwd=bundle, check=True)


def description(machine: dict[str, object], program: str, bundle: Path) -> dict[str, object]:
    """What the page knows of the machine and of the files it will download."""
    arguments = machine["qemu_argv"]
    assert isinstance(arguments, list)
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    return {
        "title": machine["title"],
        "prompt": machine["prompt"],
        "qemu": program,
        "pack": PACK,
        "cold": arguments,
        "resume": [*arguments, "-incoming", f"file:{STATE}"],
        "files": {str(path.relative_to(bundle)): path.stat().st_size for path in files},
    }


def main() -> None:
    machine = json.loads(Path("/src/machine.json").read_text())
    program = f"qemu-system-{machine['arch']}"
    bundle = Path("/out/bundle")
    # The tree is copied without times, owners and modes: only names and bytes count.
    shutil.copytree("/src/web", bundle, copy_function=shutil.copyfile)
    vendor(bundle)
    for suffix in (".js", ".wasm"):
        source = Path("/deps/qemu", program + suffix)
        if not source.is_file():
            sys.exit(f"{source}: missing; the machine's arch is {machine['arch']}")
        shutil.copyfile(source, bundle / source.name)
    directories = sorted(path for path in Path("/deps").iterdir() if path.name != "qemu")
    if not any(path.joinpath("vm.state").is_file() for path in directories):
        sys.exit("/deps: no vm.state in any directory; build it first with `scons snapshot`")
    pack(bundle, directories)
    text = json.dumps(description(machine, program, bundle), indent=1, ensure_ascii=False)
    (bundle / "machine.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
