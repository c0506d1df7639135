"""Digests name content by SHA-256 and size, written ``hash/size``."""

from pathlib import Path

import pytest

from thaw.digest import Digest

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_digest_of_nothing_is_the_one_the_remote_execution_api_names() -> None:
    assert str(Digest.of_bytes(b"")) == f"{EMPTY}/0"


def test_a_file_and_its_bytes_have_the_same_digest(tmp_path: Path) -> None:
    data = b"x" * 3_000_000
    (tmp_path / "file").write_bytes(data)
    assert Digest.of_file(tmp_path / "file") == Digest.of_bytes(data)


def test_parse_is_the_inverse_of_str() -> None:
    digest = Digest.of_bytes(b"some")
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY,
        f"{EMPTY}/",
        f"{EMPTY}/-1",
        f"{EMPTY[:-1]}/0",
        f"{EMPTY.upper()}/0",
        f"../{EMPTY}/0",
    ],
)
def test_what_is_not_a_digest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a digest"):
        Digest.parse(text)
