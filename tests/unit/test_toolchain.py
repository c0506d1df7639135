"""Toolchains: what a yaml asks for, what its lock names, and the tree that comes of them."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thaw import toolchain
from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.fetch import Fetcher
from thaw.store import Store

# The digest below is the key of `representative`'s tree. A change of it means that every toolchain
# is unpacked anew, everywhere: right after a change of the unpacker (raise toolchain.UNPACKER),
# wrong otherwise. Take the new value from the failing test's message.
GOLDEN = "8bcf820e01fe29cc9fe4632998af570aaee6e60e882ddd0139b2a3163896cf5c/141"

YAML = """\
suite: trixie
packages: [hello, world]
links: {usr/bin/hi: hello}
files: {etc/motd: "hello\\n"}
env: {GREETING: hello}
"""


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as writer:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            writer.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def deb(files: dict[str, bytes]) -> bytes:
    """A Debian package: an ar archive of three members."""
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": tar({"./control": b"Package: hello\n"}),
        "data.tar.xz": tar(files),
    }
    data = b"!<arch>\n"
    for name, content in members.items():
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        data += content + b"\n" * (len(content) % 2)
    return data


PACKAGES = {
    "hello_1_amd64.deb": deb({"./usr/bin/hello": b"#!/bin/sh\necho hello\n", "./bin/old": b"old"}),
    "world_2_amd64.deb": deb({"./usr/share/world": b"world"}),
}


def lock_of(packages: dict[str, bytes]) -> dict[str, Any]:
    entries = []
    for name, data in packages.items():
        digest = Digest.of_bytes(data)
        path = f"pool/main/h/hello/{name}"
        entries.append({"debian": path, "sha256": digest.hash, "size": digest.size})
    return {"suite": "trixie", "asked": ["hello", "world"], "packages": entries}


def described(top: Path, text: str = YAML, packages: dict[str, bytes] = PACKAGES) -> Path:
    """Write a description and its lock."""
    path = top / "greeting.yaml"
    path.write_text(text)
    path.with_suffix(".lock").write_text(json.dumps(lock_of(packages)))
    return path


def with_packages(store: Store, packages: dict[str, bytes] = PACKAGES) -> Store:
    for data in packages.values():
        store.put_bytes(data)
    return store


def tree(path: Path, store: Store) -> Path:
    found = toolchain.unpack(toolchain.read(path), store, Fetcher(store))
    return store.unpacked(found)


def test_the_tree_has_the_packages_and_what_the_yaml_adds(store: Store, tmp_path: Path) -> None:
    top = tree(described(tmp_path), with_packages(store))
    assert (top / "usr/bin/hello").stat().st_mode & 0o111
    assert (top / "usr/bin/old").read_text() == "old"
    assert (top / "bin").readlink() == Path("usr/bin")
    assert (top / "usr/bin/hi").readlink() == Path("hello")
    assert (top / "etc/motd").read_text() == "hello\n"
    assert (top / "usr/share/world").read_text() == "world"


def test_an_archive_is_unpacked_where_the_yaml_says(store: Store, tmp_path: Path) -> None:
    data = tar({"emsdk/bin/emcc": b"text"})
    digest = store.put_bytes(data)
    text = f"archives: [{{url: u/emsdk.tar.xz, sha256: {digest.hash}, to: opt/sdk, strip: 1}}]\n"
    top = tree(described(tmp_path, YAML + text), with_packages(store))
    assert (top / "opt/sdk/bin/emcc").read_text() == "text"


@pytest.mark.parametrize("size", [0, 10, -9])
def test_a_damaged_archive_is_named(store: Store, tmp_path: Path, size: int) -> None:
    digest = store.put_bytes(tar({"x/y": b"text" * 1000})[:size])
    text = f"archives: [{{url: u/emsdk.tar.xz, sha256: {digest.hash}, to: opt/sdk}}]\n"
    with pytest.raises(ThawError, match=r"emsdk\.tar\.xz: damaged archive"):
        tree(described(tmp_path, YAML + text), with_packages(store))


@pytest.mark.parametrize("size", [0, 30, 250, -60])
def test_a_damaged_package_is_named(store: Store, tmp_path: Path, size: int) -> None:
    packages = {**PACKAGES, "hello_1_amd64.deb": PACKAGES["hello_1_amd64.deb"][:size]}
    path = described(tmp_path, packages=packages)
    with pytest.raises(ThawError, match=r"^hello_1_amd64\.deb: damaged archive: .+\n  next: "):
        tree(path, with_packages(store, packages))


def test_a_package_damaged_in_the_cache_is_not_used(store: Store, tmp_path: Path) -> None:
    path = described(tmp_path)
    with_packages(store)
    blob = store.path(toolchain.read(path).packages[0].digest)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    (tmp_path / "hello_1_amd64.deb").write_bytes(PACKAGES["hello_1_amd64.deb"])
    toolchain.unpack(toolchain.read(path), store, Fetcher(store, distdirs=[tmp_path]))
    assert store.intact(toolchain.read(path).packages[0].digest)


# Keys


def test_the_key_of_a_known_toolchain_stays(store: Store, tmp_path: Path) -> None:
    found = toolchain.read(described(tmp_path))
    assert str(toolchain.action_digest(found, store)) == GOLDEN


def test_the_key_needs_no_package_to_be_there(store: Store, tmp_path: Path) -> None:
    path = described(tmp_path)
    before = toolchain.action_digest(toolchain.read(path), store)
    assert toolchain.action_digest(toolchain.read(path), with_packages(store)) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda yaml: yaml.replace("hi: hello", "hi: world"),
        lambda yaml: yaml.replace('"hello\\n"', '"bye\\n"'),
        lambda yaml: yaml + f"archives: [{{url: x, sha256: {'a' * 64}, to: opt}}]\n",
    ],
    ids=["links", "files", "archives"],
)
def test_what_changes_the_tree_changes_the_key(
    store: Store, tmp_path: Path, change: Callable[[str], str]
) -> None:
    before = toolchain.action_digest(toolchain.read(described(tmp_path)), store)
    other = toolchain.read(described(tmp_path, change(YAML)))
    assert toolchain.action_digest(other, store) != before


def test_another_package_changes_the_key(store: Store, tmp_path: Path) -> None:
    before = toolchain.action_digest(toolchain.read(described(tmp_path)), store)
    packages = {**PACKAGES, "world_2_amd64.deb": deb({"./usr/share/world": b"moon"})}
    other = toolchain.read(described(tmp_path, packages=packages))
    assert toolchain.action_digest(other, store) != before


def test_the_environment_is_its_users_and_not_the_trees(store: Store, tmp_path: Path) -> None:
    before = toolchain.action_digest(toolchain.read(described(tmp_path)), store)
    other = toolchain.read(described(tmp_path, YAML.replace("GREETING: hello", "GREETING: bye")))
    assert other.environment == {"GREETING": "bye"}
    assert toolchain.action_digest(other, store) == before


# Locks


@pytest.mark.parametrize(
    ("old", "new"), [("trixie", "sid"), ("hello, world", "hello"), ("world", "world, more")]
)
def test_a_lock_for_other_packages_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = described(tmp_path, YAML.replace(old, new, 1))
    with pytest.raises(ThawError, match=r"greeting\.lock: was made for other packages") as raised:
        toolchain.read(path)
    assert raised.value.remedy == "renew it: ./sconsw relock"


def test_the_order_of_what_is_asked_for_does_not_matter(tmp_path: Path) -> None:
    path = described(tmp_path, YAML.replace("[hello, world]", "[world, hello]"))
    assert len(toolchain.read(path).packages) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"suite": "trixie"}',
        '{"suite": "trixie", "asked": ["hello", "world"], "packages": 5}',
        '{"suite": "trixie", "asked": ["hello", "world"], "packages": [{"debian": "x"}]}',
        '{"suite": "trixie", "asked": ["hello", "world"],'
        ' "packages": [{"debian": "x", "sha256": "no", "size": 1}]}',
        "<<<<<<< HEAD\n{}",
    ],
)
def test_a_lock_that_is_not_one_is_refused(tmp_path: Path, text: str) -> None:
    path = described(tmp_path)
    path.with_suffix(".lock").write_text(text)
    with pytest.raises(ThawError, match=r"greeting\.lock: no usable lock: ") as raised:
        toolchain.read(path)
    assert raised.value.remedy == "make it: ./sconsw relock"


def test_a_missing_lock_is_named(tmp_path: Path) -> None:
    path = described(tmp_path)
    path.with_suffix(".lock").unlink()
    with pytest.raises(ThawError, match=r"greeting\.lock: no usable lock: FileNotFoundError"):
        toolchain.read(path)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("package: [x]", "unknown key 'package'"),
        ("archives: [{url: x, to: y}]", "'sha256' is missing"),
        ("archives: [{url: x, to: y, sha256: short}]", "does not match"),
    ],
)
def test_a_wrong_description_is_refused_with_the_line(
    tmp_path: Path, line: str, cause: str
) -> None:
    path = described(tmp_path, f"{YAML}{line}\n")
    with pytest.raises(ThawError, match=rf"greeting\.yaml:6: .*{cause}"):
        toolchain.read(path)


# A toolchain that is installed on this machine

INSTALLED = f"""\
archives: [{{url: u/sdk.tar.xz, sha256: {"a" * 64}, to: opt/sdk}}]
installed: {{variable: TEST_SDK, to: opt/sdk}}
"""


def test_an_installed_one_takes_the_place_of_the_archive(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sdk/bin").mkdir(parents=True)
    (tmp_path / "sdk/bin/emcc").write_text("text")
    monkeypatch.setenv("TEST_SDK", str(tmp_path / "sdk"))
    path = described(tmp_path, YAML + INSTALLED)
    top = tree(path, with_packages(store))
    assert (top / "opt/sdk/bin/emcc").read_text() == "text"

    before = toolchain.action_digest(toolchain.read(path), store)
    (tmp_path / "sdk/bin/emcc").write_text("edited")
    assert toolchain.action_digest(toolchain.read(path), store) != before


def test_an_installed_one_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SDK", str(tmp_path / "nothing"))
    with pytest.raises(ThawError, match=r"^\$TEST_SDK: .*/nothing is not a directory\n  next: "):
        toolchain.read(described(tmp_path, YAML + INSTALLED))
