"""Archives and patches of the sources, unpacked and applied by the recipes in the real sandbox."""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from thaw.executor import Result
from thaw.local import ActionFailed
from thaw.nodes import TreeNode
from thaw.step import Engine

Run = Callable[..., Result]
Member = tuple[tarfile.TarInfo, bytes]

RECIPES = Path(__file__).resolve().parents[2] / "qemu/recipes"

TEXT = "".join(f"line {n}\n" for n in range(1, 21))
PATCH = """\
Say why, as patches do.
--- a/sub/file
+++ b/sub/file
@@ -1,4 +1,4 @@
 line 1
-line 2
+line two
 line 3
 line 4
@@ -17,4 +17,4 @@
 line 17
 line 18
-line 19
+line nineteen
 line 20
"""


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


def archive(*members: Member, compression: str = "xz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as writer:  # type: ignore[call-overload]
        for info, data in members:
            writer.addfile(info, io.BytesIO(data))
    return stream.getvalue()


GOOD = (
    member("qemu-1/", kind=tarfile.DIRTYPE),
    member("qemu-1/sub/file", TEXT.encode()),
    member("qemu-1/link", kind=tarfile.SYMTYPE, link="sub/file"),
    member("qemu-1/same", kind=tarfile.LNKTYPE, link="qemu-1/sub/file"),
)


@pytest.fixture
def unpack(run: Run, tmp_path: Path) -> Callable[..., Result]:
    """Unpacks an archive as every recipe does."""

    def run_unpack(data: bytes, *options: str) -> Result:
        (tmp_path / "archive").write_bytes(data)
        inputs = {
            "/src/recipe/unpack.py": {"file": str(RECIPES / "unpack.py")},
            "/src/archive": {"file": str(tmp_path / "archive")},
        }
        argv = ("python3", "/src/recipe/unpack.py", "/src/archive", "/out/x", *options)
        return run("", inputs, argv=argv)

    return run_unpack


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2", ""])
def test_an_archive_is_unpacked_without_its_top_directory(
    unpack: Callable[..., Result], engine: Engine, compression: str
) -> None:
    tree = unpack(archive(*GOOD, compression=compression)).outputs["x"]
    assert isinstance(tree, TreeNode)
    top = engine.store.unpacked(tree)
    assert sorted(path.name for path in top.iterdir()) == ["link", "same", "sub"]
    assert (top / "sub/file").read_text() == (top / "same").read_text() == TEXT
    assert (top / "link").readlink() == Path("sub/file")


def test_what_is_excluded_is_vetted_but_not_written(
    unpack: Callable[..., Result], engine: Engine
) -> None:
    tree = unpack(archive(*GOOD, member("qemu-1/roms/a/b")), "--exclude=roms/*").outputs["x"]
    assert isinstance(tree, TreeNode)
    assert not (engine.store.unpacked(tree) / "roms").exists()
    with pytest.raises(ActionFailed, match="OutsideDestinationError"):
        unpack(archive(*GOOD, member("qemu-1/roms/../../b")), "--exclude=roms/*")


@pytest.mark.parametrize(
    ("evil", "cause"),
    [
        (member("/etc/passwd"), "OutsideDestinationError: '/etc/passwd'"),
        (member("../evil"), "OutsideDestinationError: '../evil'"),
        (member("qemu-1/../../evil"), "OutsideDestinationError: 'qemu-1/../../evil'"),
        (member("qemu-1/null", kind=tarfile.CHRTYPE), "SpecialFileError: 'null'"),
        (member("qemu-1/disk", kind=tarfile.BLKTYPE), "SpecialFileError: 'disk'"),
        (member("qemu-1/pipe", kind=tarfile.FIFOTYPE), "SpecialFileError: 'pipe'"),
        (member("qemu-1/a", kind=tarfile.SYMTYPE, link="/etc"), "AbsoluteLinkError: 'a'"),
        (member("qemu-1/a", kind=tarfile.SYMTYPE, link="../../b"), "LinkOutsideDestinationError"),
        (member("qemu-1/a", kind=tarfile.LNKTYPE, link="qemu-1/../../b"), "LinkOutsideDestin"),
        (member("plain"), "SpecialFileError: 'plain'"),
    ],
    ids=[
        "absolute",
        "dot dot",
        "dot dot inside",
        "character device",
        "block device",
        "fifo",
        "absolute link",
        "link outside",
        "hard link outside",
        "no top directory",
    ],
)
def test_an_unsafe_member_is_refused_by_name(
    unpack: Callable[..., Result], evil: Member, cause: str
) -> None:
    with pytest.raises(ActionFailed) as raised:
        unpack(archive(*GOOD, evil))
    assert f"  | /src/archive: refused: {cause}" in str(raised.value)
    assert "check its origin and its SHA-256 in the lock" in str(raised.value)


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2"])
@pytest.mark.parametrize("left", [0, 20, 0.5, -9])
def test_a_truncated_archive_is_refused(
    unpack: Callable[..., Result], compression: str, left: float
) -> None:
    data = archive(*GOOD, compression=compression)
    with pytest.raises(ActionFailed, match=r"exit code 1\n  \| /src/archive: refused: ") as raised:
        unpack(data[: int(len(data) * left) if isinstance(left, float) else left])
    assert "Traceback" not in str(raised.value)


# Patches


@pytest.fixture
def source(run: Run, tmp_path: Path) -> Callable[..., Result]:
    """Makes QEMU's source tree of a small one, with these patches."""

    def run_source(patches: Mapping[str, str], debian: Mapping[str, str] | None = None) -> Result:
        debian = debian or {}
        packages = member("qemu-1/python/qemu/qmp.py")
        (tmp_path / "qemu.tar.xz").write_bytes(archive(*GOOD, packages))
        members = [member(f"debian/patches/{name}", data.encode()) for name, data in debian.items()]
        top = member("debian/", kind=tarfile.DIRTYPE)
        (tmp_path / "qemu-debian.tar.xz").write_bytes(archive(top, *members))
        (tmp_path / "patches").mkdir(exist_ok=True)
        for name, data in patches.items():
            (tmp_path / "patches" / name).write_text(data)
        inputs: dict[str, dict[str, Any]] = {
            f"/src/recipe/{name}": {"file": str(RECIPES / name)}
            for name in ("source.py", "unpack.py")
        }
        inputs["/src/patches"] = {"dir": str(tmp_path / "patches")}
        for name in ("qemu.tar.xz", "qemu-debian.tar.xz"):
            inputs[f"/src/{name}"] = {"file": str(tmp_path / name)}
        names = [name.partition(".")[0] for name in debian]
        argv = ("python3", "/src/recipe/source.py", *names)
        return run("", inputs, ("tree", "python"), argv=argv, name="qemu-source")

    return run_source


def test_patches_are_applied_in_order_debians_first(
    source: Callable[..., Result], engine: Engine
) -> None:
    first = PATCH
    second = PATCH.replace("-line 2\n+line two", "-line two\n+line zwei").replace(
        "-line 19\n+line nineteen", "-line nineteen\n+line neunzehn"
    )
    outputs = source({"0001-second.patch": second}, {"first.patch": first}).outputs
    tree, python = outputs["tree"], outputs["python"]
    assert isinstance(tree, TreeNode) and isinstance(python, TreeNode)
    assert (engine.store.unpacked(python) / "qemu/qmp.py").exists()
    lines = (engine.store.unpacked(tree) / "sub/file").read_text().splitlines()
    assert lines[1] == "line zwei"
    assert lines[18] == "line neunzehn"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (("-line 19", "-line xx"), "sub/file: Hunk #2 FAILED at 17"),
        (("-line 2\n", "-line xx\n"), "sub/file: Hunk #1 FAILED at 1"),
        ((" line 18", " line xx"), "sub/file: Hunk #2 FAILED at 17"),
        (("sub/file", "sub/other"), "can't find file to patch"),
        ((" line 20\n", ""), "malformed patch|unexpectedly ends|Hunk #2 FAILED"),
    ],
    ids=["second hunk", "first hunk", "context", "file", "cut off"],
)
def test_a_patch_that_does_not_apply_is_named_with_its_hunk(
    source: Callable[..., Result], engine: Engine, change: tuple[str, str], cause: str
) -> None:
    with pytest.raises(ActionFailed, match=rf"0001-fix\.patch: does not apply: .*({cause})"):
        source({"0001-fix.patch": PATCH.replace(*change)})
    assert not [path for path in (engine.store.top / "ac").rglob("*") if path.is_file()]


def test_a_patch_that_is_there_already_is_an_error(source: Callable[..., Result]) -> None:
    with pytest.raises(ActionFailed, match=r"0002-again\.patch: does not apply: "):
        source({"0001-fix.patch": PATCH, "0002-again.patch": PATCH})


def test_a_debian_patch_that_is_not_there_is_named(source: Callable[..., Result]) -> None:
    with pytest.raises(ActionFailed, match=r"nonesuch: no such patch in /src/qemu-debian\.tar\.xz"):
        source({}, {"nonesuch.txt": PATCH})
