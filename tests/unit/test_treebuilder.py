"""Archives become trees; what could reach outside one is refused, naming archive and member."""

import errno
import io
import random
import tarfile
from pathlib import Path

import pytest

from thaw.errors import ThawError
from thaw.store import Store
from thaw.treebuilder import TreeBuilder


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.uid, info.uname, info.mtime = 1234, "somebody", 99
    return info


def archive(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as writer:
        for entry in members:
            info, data = entry if isinstance(entry, tuple) else (entry, b"")
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def add(builder: TreeBuilder, data: bytes, prefix: str = "", strip: int = 0) -> TreeBuilder:
    with tarfile.open(fileobj=io.BytesIO(data)) as reader:
        builder.add_tar(reader, "x.tar.gz", prefix, strip)
    return builder


def unpacked(store: Store, builder: TreeBuilder) -> Path:
    return store.unpacked(builder.finish())


def test_files_links_and_modes_are_taken_owners_and_times_are_not(store: Store) -> None:
    data = archive(
        member("./usr", tarfile.DIRTYPE),
        (member("./usr/tool", mode=0o4755), b"#!/bin/sh\n"),
        member("./usr/same", tarfile.LNKTYPE, "./usr/tool"),
        member("./usr/link", tarfile.SYMTYPE, "/anywhere"),
        member("./empty", tarfile.DIRTYPE),
    )
    top = unpacked(store, add(TreeBuilder(store), data))
    assert (top / "usr/tool").stat().st_mode & 0o7777 == 0o555
    assert (top / "usr/same").read_bytes() == b"#!/bin/sh\n"
    assert (top / "usr/link").readlink() == Path("/anywhere")
    assert list((top / "empty").iterdir()) == []


def test_a_big_file_is_taken_whole(store: Store) -> None:
    data = bytes(range(256)) * 40_000
    top = unpacked(store, add(TreeBuilder(store), archive((member("big"), data))))
    assert (top / "big").read_bytes() == data


def test_leading_directories_can_be_stripped(store: Store) -> None:
    data = archive(
        member("emsdk", tarfile.DIRTYPE),
        (member("emsdk/bin/emcc"), b"text"),
        member("emsdk/em++", tarfile.LNKTYPE, "emsdk/bin/emcc"),
    )
    top = unpacked(store, add(TreeBuilder(store), data, "opt/emsdk", strip=1))
    assert (top / "opt/emsdk/bin/emcc").read_text() == (top / "opt/emsdk/em++").read_text()


@pytest.mark.parametrize("name", ["/etc/passwd", "../evil", "a/../../evil", "a/.."])
def test_a_member_outside_the_archive_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ThawError, match=f"x.tar.gz: member {name} lies outside") as raised:
        add(TreeBuilder(store), archive((member(name), b"")))
    assert "not to be trusted" in raised.value.remedy


@pytest.mark.parametrize("target", ["/etc/passwd", "../evil"])
def test_a_hard_link_to_outside_is_refused(store: Store, target: str) -> None:
    with pytest.raises(ThawError, match=f"member {target} lies outside"):
        add(TreeBuilder(store), archive(member("x", tarfile.LNKTYPE, target)))


def test_a_hard_link_to_nothing_is_refused(store: Store) -> None:
    with pytest.raises(ThawError, match=r"x.tar.gz: hard link to /later, which is not"):
        add(TreeBuilder(store), archive(member("x", tarfile.LNKTYPE, "later")))


@pytest.mark.parametrize(
    "kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE], ids=["char", "block", "fifo"]
)
def test_a_special_file_is_refused(store: Store, kind: bytes) -> None:
    with pytest.raises(ThawError, match=r"x.tar.gz: member dev/thing is a device node or another"):
        add(TreeBuilder(store), archive(member("dev/thing", kind)))


def test_a_file_behind_a_link_stays_inside(store: Store, tmp_path: Path) -> None:
    """The oldest trick: a link to a directory outside, then a file in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    data = archive(member("door", tarfile.SYMTYPE, str(outside)), (member("door/planted"), b"text"))
    top = unpacked(store, add(TreeBuilder(store), data))
    assert (top / "door/planted").read_text() == "text"
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("how", ["cut in a file", "cut in the end", "flipped"])
def test_a_damaged_archive_is_one_clear_error(store: Store, how: str) -> None:
    noise = random.Random(0).randbytes(50_000)
    data = archive((member("one"), noise), (member("two"), noise))
    flipped = data[:60_000] + bytes([data[60_000] ^ 255]) + data[60_001:]
    damaged = {"cut in a file": data[:60_000], "cut in the end": data[:-9], "flipped": flipped}
    with pytest.raises(ThawError, match=r"^x\.tar\.gz: damaged archive: .+\n  next: .*SHA-256"):
        add(TreeBuilder(store), damaged[how])


def test_a_full_disk_is_not_called_a_damaged_archive(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "put_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        add(TreeBuilder(store), archive((member("x"), b"text")))


# Debian's merged /usr


def merged(store: Store) -> TreeBuilder:
    builder = TreeBuilder(store)
    for name in ("bin", "lib", "lib64", "sbin"):
        builder.add_link(name, f"usr/{name}")
    return builder


def test_files_of_bin_and_lib_come_to_usr(store: Store) -> None:
    old = archive(
        member("./bin", tarfile.DIRTYPE),
        (member("./bin/sh"), b"shell"),
        member("./lib/x", tarfile.DIRTYPE),
        member("./lib/x/link", tarfile.SYMTYPE, "y"),
    )
    top = unpacked(store, add(merged(store), old))
    assert (top / "bin").readlink() == Path("usr/bin")
    assert (top / "usr/bin/sh").read_text() == "shell"
    assert (top / "usr/lib/x/link").readlink() == Path("y")


def test_an_empty_bin_of_a_package_does_not_replace_the_link(store: Store) -> None:
    package = add(TreeBuilder(store), archive(member("./bin", tarfile.DIRTYPE))).finish()
    builder = merged(store)
    builder.add_tree("", package)
    assert (unpacked(store, builder) / "bin").readlink() == Path("usr/bin")


def test_a_package_may_bring_the_links_themselves(store: Store) -> None:
    top = unpacked(store, add(merged(store), archive(member("bin", tarfile.SYMTYPE, "usr/bin"))))
    assert (top / "bin").readlink() == Path("usr/bin")


def test_a_file_in_place_of_a_link_is_refused(store: Store) -> None:
    with pytest.raises(ThawError, match="lib: would replace the link to usr/lib"):
        add(merged(store), archive(member("lib", tarfile.SYMTYPE, "elsewhere")))


def test_a_later_package_replaces_a_file_of_an_earlier_one(store: Store) -> None:
    builder = TreeBuilder(store)
    for text in (b"first", b"second"):
        builder.add_tree("", add(TreeBuilder(store), archive((member("etc/x"), text))).finish())
    assert (unpacked(store, builder) / "etc/x").read_bytes() == b"second"
