"""Locked archives: ``env.Sources(yaml)`` reads them, for other builders to take as inputs.

    sources = env.Sources("qemu/source.yaml")
    inputs = {"/src/zlib.tar.gz": sources["zlib"]}

Nothing is fetched until an action that needs the file really runs. ``env.QemuSource`` makes the
one patched source tree that both QEMU builds use.
"""

from pathlib import Path

from thaw import sources
from thaw.fetch import Source


def generate(env):
    env.AddMethod(read_sources, "Sources")
    env.AddMethod(qemu_source, "QemuSource")


def exists(env):
    return True


def read_sources(env, path):
    """The sources of a yaml file, by name, as inputs (see ``thaw.sources.Listed``)."""
    with env.ThawReported():
        listed = sources.read(Path(env.File(path).srcnode().get_path()))
    entries = [archive["source"] for archive in listed.archives.values()]
    env["THAW_ENGINE"].fetcher.expect(Source.from_json(e["name"], e) for e in entries)
    return listed


def qemu_source(env, name, listed, *, patches, toolchain):
    """The source tree: Debian's archive, the patches of Debian it needs, then ours.

    Outputs ``tree``, and ``python``, the part of it that speaks QEMU's protocols.
    """
    inputs = {
        "/src/qemu.tar.xz": listed["qemu"],
        "/src/qemu-debian.tar.xz": listed["qemu-debian"],
        **env.ThawRecipe("qemu/recipes", "source.py", "unpack.py"),
        **{f"/src/patches/{Path(str(p)).name}": {"file": str(p)} for p in patches},
    }
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["python3", "/src/recipe/source.py", *listed.debian_patches],
        inputs=inputs,
        outputs=["tree", "python"],
    )
