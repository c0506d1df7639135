"""The emsdk toolchain: an upstream-shaped release archive by URL and SHA-256, or $EMSDK.

The real archive can't be fetched everywhere, so one of the same shape is made of the locked
Debian packages, served over HTTP on loopback, and a wasm dependency is cross-compiled with it by
the same recipes.
"""

import hashlib
import http.server
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from checkout import TOP, scons

from thaw import config, engine
from thaw.nodes import TreeNode
from thaw.step import Manifest

THIS = f"THAW={TOP}"
URL = "http://127.0.0.1:{port}/wasm-binaries.tar"
SCONSTRUCT = """
env = Environment(tools=["thaw"], toolpath=[ARGUMENTS["THAW"] + "/site_scons/site_tools"])
wasm = env.Toolchain("toolchains/emsdk.yaml")
sources = env.Sources(env.ThawData("qemu/source.yaml"))
emcache = env.EmscriptenLibraries("emcache", toolchain=wasm)
env.WasmLibrary("zlib", archive=sources["zlib"], emcache=emcache, toolchain=wasm)
"""

# Where an emsdk release has what Debian's packages have elsewhere. Directories end in "/".
LLVM = "usr/lib/llvm-19"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
LAYOUT = {
    f"{LLVM}/bin/": "install/bin",
    f"{LLVM}/lib/clang/": "install/lib/clang",
    "usr/share/emscripten/": "install/emscripten",
    "usr/share/nodejs/": "install/emscripten/node_modules",
}
BINARYEN = ("wasm-opt", "wasm-emscripten-finalize", "wasm-metadce", "wasm-ctor-eval", "wasm-dis")
NEEDED = (
    ("libLLVM.so.19.1", "libclang-cpp.so.19.1", "libbinaryen.so")
    + ("libbsd.so.0", "libedit.so.2", "libffi.so.8", "liblzma.so.5", "libmd.so.0")
    + ("libtinfo.so.6", "libxml2.so.2", "libz.so.1", "libz3.so.4", "libzstd.so.1")
)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """The same bytes every time: no owners, no times. Prebuilt wasm32 libraries are left out."""
    if "/emscripten/cache/" in member.name or member.name.endswith("/emscripten/node_modules"):
        return None
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _release(tree: Path, target: Path) -> None:
    """An archive that is shaped as wasm-binaries.tar.xz of an emsdk release."""
    with tarfile.open(target, "w", dereference=True, format=tarfile.GNU_FORMAT) as archive:

        def add(source: Path, name: str) -> None:
            if source.is_dir():
                for child in sorted(source.iterdir()):
                    if child.exists():  # some links lead to packages that are not there
                        add(child, f"{name}/{child.name}")
            else:
                archive.add(source, name, recursive=False, filter=_plain)

        for source, name in LAYOUT.items():
            add(tree / source, name)
        for name in BINARYEN:
            archive.add(tree / "usr/bin" / name, f"install/bin/{name}", filter=_plain)
        for name in NEEDED:
            archive.add(tree / LIBRARIES / name, f"install/lib/{name}", filter=_plain)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """URL and SHA-256 of the archive, served for as long as the tests run; its directory."""
    top = tmp_path_factory.mktemp("release")
    thaw = engine.create(config.load(TOP, {}), TOP / "toolchains/bubblewrap.yaml", 2)
    thaw.run_toolchain(TOP / "toolchains/emscripten.yaml", top / "debian.json")
    root = Manifest.read(top / "debian.json").outputs["root"]
    assert isinstance(root, TreeNode)
    archive = top / "wasm-binaries.tar"
    _release(thaw.store.unpacked(root), archive)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(top))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open(archive, "rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
        yield URL.format(port=server.server_port), checksum, top
        server.shutdown()
    shutil.rmtree(top)


def _project(top: Path, url: str, checksum: str) -> Path:
    """A project whose emsdk toolchain is this project's, with another archive."""
    (top / "toolchains").mkdir(parents=True)
    text = (TOP / "toolchains/emsdk.yaml").read_text()
    lines = []
    for line in text.splitlines():
        if line.strip().startswith("- url:"):
            line = f"  - url: {url}"
        elif line.strip().startswith("sha256:"):
            line = f"    sha256: {checksum}"
        lines.append(line)
        if line == "env:":
            # A release is linked statically; Debian's LLVM looks for libraries' libraries.
            lines.append("  LD_LIBRARY_PATH: /opt/emsdk/upstream/lib")
    (top / "toolchains/emsdk.yaml").write_text("\n".join(lines) + "\n")
    shutil.copy(TOP / "toolchains/emsdk.lock", top / "toolchains/emsdk.lock")
    (top / "SConstruct").write_text(SCONSTRUCT)
    return top


def test_a_release_archive_cross_compiles_a_dependency(
    release: tuple[str, str, Path], tmp_path: Path
) -> None:
    url, checksum, _ = release
    project = _project(tmp_path / "project", url, checksum)

    done = scons(project, THIS, "out")

    assert done.code == 0, done.text
    manifest = json.loads((project / "out/manifests/wasm-zlib.json").read_text())
    assert "prefix" in manifest["outputs"]
    assert "platform" not in manifest


def test_an_archive_with_another_checksum_is_refused(
    release: tuple[str, str, Path], tmp_path: Path
) -> None:
    url, _, _ = release
    project = _project(tmp_path / "project", url, "f" * 64)

    done = scons(project, THIS, "out/manifests/toolchain-emsdk.json")

    assert done.code == 2
    assert "wrong checksum" in done.text
    assert not (project / "out/manifests/toolchain-emsdk.json").exists()


def test_what_an_installed_emsdk_makes_is_marked_not_shareable(
    release: tuple[str, str, Path], tmp_path: Path
) -> None:
    url, checksum, top = release
    project = _project(tmp_path / "project", url, checksum)
    installed = tmp_path / "emsdk"
    with tarfile.open(top / "wasm-binaries.tar") as archive:
        archive.extractall(installed, filter="data")
    (installed / "install").rename(installed / "upstream")

    done = scons(
        project, THIS, "out/manifests/toolchain-emsdk.json", environment={"EMSDK": str(installed)}
    )

    assert done.code == 0, done.text
    manifest = json.loads((project / "out/manifests/toolchain-emsdk.json").read_text())
    assert manifest["platform"] == {"thaw-shareable": "no"}
    shutil.rmtree(installed)
