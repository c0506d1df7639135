"""Build without the bytes: the real bundle from a remote cache, on a machine that has nothing."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkout import TOP, Clone, Run, clone_to
from counting_proxy import counting_proxy
from remote_servers import Server, casd

from thaw import config
from thaw import engine as engines
from thaw.nodes import FileNode
from thaw.step import Manifest

BUNDLE = "out/x86_64/bundle"
ROOM = 100_000  # bytes: for results, the message that names the files, and what gRPC adds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    shared = engines.create(config.load(TOP, {}), TOP / "toolchains/bubblewrap.yaml", 1)
    bwrap = shared.executor.here.bwrap()
    with casd(tmp_path_factory.mktemp("server") / "casd", bwrap) as server:
        yield server


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, server: Server) -> tuple[Clone, Run]:
    """A clone that takes everything from the usual cache, and gives it to the server."""
    clone = clone_to(tmp_path_factory.mktemp("first"))
    option = f"--remote-cache={server.url}"
    return clone, clone.scons(option, "--remote-upload", "wasm-bundle")


@dataclass(frozen=True)
class Second:
    """A clone whose cache was empty, what its first build printed, and how many bytes it got."""

    clone: Clone
    cache: Path
    run: Run
    bytes: int


@pytest.fixture(scope="module")
def second(
    tmp_path_factory: pytest.TempPathFactory, first: tuple[Clone, Run], server: Server
) -> Second:
    assert first[1].code == 0, first[1].text
    clone = clone_to(tmp_path_factory.mktemp("second"))
    cache = tmp_path_factory.mktemp("cache")
    with counting_proxy(server.address) as proxy:
        options = (f"--disk-cache={cache}", f"--remote-cache=grpc://{proxy.address}")
        run = clone.scons(*options, "wasm-bundle")
    return Second(clone, cache, run, proxy.down)


def contents(top: Path) -> dict[str, tuple[int, str]]:
    """Mode and hash of every file below a directory; the target of every link."""
    found = {}
    for path in sorted(top.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(top))] = (0, str(path.readlink()))
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(top))] = (path.stat().st_mode & 0o777, digest)
    return found


def hashes(top: Path) -> dict[str, Path]:
    """The different files below a directory."""
    files = [path for path in top.rglob("*") if path.is_file()]
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files}


def test_nothing_is_built(first: tuple[Clone, Run], second: Second) -> None:
    assert second.run.code == 0, second.run.text
    assert first[1].built == second.run.built == set()
    assert {"x86_64/snapshot", "qemu-wasm", "toolchain image"} <= {
        name.removesuffix("  remotely") for name in second.run.cached
    }


def test_the_bundle_is_the_same_bit_by_bit(first: tuple[Clone, Run], second: Second) -> None:
    bundle = contents(second.clone.top / BUNDLE)

    assert bundle == contents(first[0].top / BUNDLE)
    assert {"index.html", "pack.data", "qemu-system-x86_64.wasm"} <= bundle.keys()


def test_results_and_the_files_of_the_bundle_travel_and_nothing_else(
    second: Second, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = hashes(second.clone.top / BUNDLE)
    # What the page has of the checkout as it is, was in the store before anything was asked for.
    brought = {h: path for h, path in bundle.items() if h not in hashes(second.clone.top / "web")}
    size = sum(path.stat().st_size for path in brought.values())
    assert size > 30_000_000

    found = re.search(r"(\d+) results; .+ received \((\d+) blobs\), 0 B sent", second.run.text)

    assert found is not None, second.run.text
    assert int(found[1]) == len(second.run.cached)
    assert int(found[2]) == len(brought) + 1, "and the message that names the files"
    with capsys.disabled():
        print(f"\n{size} bytes of files, {second.bytes} bytes over the network, {found[0]}")
    assert size < second.bytes < size + ROOM


def test_neither_a_compiler_nor_the_machine_state_was_brought(second: Second) -> None:
    assert not list((second.cache / "v1/trees").iterdir())
    assert not (second.clone.top / "out/x86_64/pack").exists()
    snapshot = Manifest.read(second.clone.top / "out/manifests/x86_64/snapshot.json")
    (state,) = snapshot.outputs.values()
    assert isinstance(state, FileNode) and state.digest.size > 1_000_000
    assert not list((second.cache / "v1/cas").glob(f"??/{state.digest.hash}*"))
