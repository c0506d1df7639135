"""Lists of locked archives."""

from pathlib import Path

import pytest

from thaw import sources
from thaw.errors import ThawError

SHA = "a" * 64
GOOD = f"""\
debian-patches: [one, two]
sources:
  qemu: {{sha256: {SHA}, size: 5, debian: pool/main/q/qemu/qemu_1.orig.tar.xz}}
  pty: {{sha256: {SHA}, size: 6, npm: "@scope/xterm-pty@0.12.0", integrity: sha512-abc}}
  sdk: {{sha256: {SHA}, size: 7, url: "x://host/path/sdk.tar.xz"}}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "source.yaml"
    path.write_text(text)
    return path


def test_each_archive_is_an_input_named_as_where_it_comes_from(tmp_path: Path) -> None:
    listed = sources.read(written(tmp_path, GOOD))
    names = {name: listed[name]["source"]["name"] for name in listed.archives}
    assert names == {
        "qemu": "qemu_1.orig.tar.xz",
        "pty": "xterm-pty-0.12.0.tgz",
        "sdk": "sdk.tar.xz",
    }
    assert listed["qemu"]["source"]["sha256"] == SHA
    assert listed.debian_patches == ["one", "two"]


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        (f"{{sha256: {SHA}, size: 5}}", "qemu: says not once where it comes from"),
        (f"{{sha256: {SHA}, size: 5, url: x, npm: a@1}}", "says not once where it comes from"),
        ("{size: 5, url: x}", "'sha256' is missing"),
        (f"{{sha256: {SHA}, url: x}}", "'size' is missing"),
        (f"{{sha256: {SHA[1:]}, size: 5, url: x}}", "sha256: 'a+' does not match"),
        (f"{{sha256: {SHA}, size: 0, url: x}}", "size: 0 is less than the minimum"),
        (f"{{sha256: {SHA}, size: 5, npm: xterm-pty}}", "npm: 'xterm-pty' does not match"),
        (f"{{sha256: {SHA}, size: 5, url: x, md5: y}}", "unknown key 'md5'"),
    ],
)
def test_a_wrong_entry_is_refused_with_the_line(tmp_path: Path, entry: str, cause: str) -> None:
    with pytest.raises(ThawError, match=rf"source\.yaml:2: .*{cause}"):
        sources.read(written(tmp_path, f"sources:\n  qemu: {entry}\n"))
