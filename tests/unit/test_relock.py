"""Renewing locks: what is printed, and what apt is asked for."""

import json
from pathlib import Path

import pytest

from thaw import relock
from thaw.errors import ThawError

YAML = "suite: trixie\npackages: [world, hello]\n"
LISTING = (
    "Reading package lists...\n"
    "'http://mirror.test/debian/pool/main/w/world_2%3a1_amd64.deb' world_2.deb 20 SHA256:bbb\n"
    "'http://mirror.test/debian/pool/main/h/hello_1.1_amd64.deb' hello_1.1.deb 10 SHA256:aaa\n"
)


def entry(file: str) -> dict[str, object]:
    return {"debian": f"pool/main/x/{file}", "sha256": "a" * 64, "size": 1}


def test_changes_name_versions_new_and_gone_packages() -> None:
    before = [entry("gone_1_amd64.deb"), entry("kept_1_all.deb"), entry("up_1.0-1_amd64.deb")]
    after = [entry("kept_1_all.deb"), entry("new_2_amd64.deb"), entry("up_1.0-2_amd64.deb")]
    assert relock.changes(before, after) == [
        "gone 1 -> (gone)",
        "new (new) -> 2",
        "up 1.0-1 -> 1.0-2",
    ]


def test_an_equal_lock_has_no_changes() -> None:
    assert relock.changes([entry("kept_1_all.deb")], [entry("kept_1_all.deb")]) == []


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that answers from a file, and fails when that is not there."""
    program = tmp_path / "bin/apt-get"
    program.parent.mkdir()
    listing = tmp_path / "listing"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *update) exit 0;; esac\n'
        f'while read -r line; do echo "$line"; done < {listing} || exit 100\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    listing.write_text(LISTING)
    return listing


def test_a_lock_is_written_beside_the_yaml_sorted_by_name(tmp_path: Path, apt: Path) -> None:
    description = tmp_path / "greeting.yaml"
    description.write_text(YAML)
    changed = relock.relock(description, ["http://mirror.test/debian/"])
    assert changed == ["hello (new) -> 1.1", "world (new) -> 2:1"]
    lock = json.loads((tmp_path / "greeting.lock").read_text())
    assert lock["asked"] == ["hello", "world"]
    assert lock["packages"] == [
        {"debian": "pool/main/h/hello_1.1_amd64.deb", "sha256": "aaa", "size": 10},
        {"debian": "pool/main/w/world_2:1_amd64.deb", "sha256": "bbb", "size": 20},
    ]


def test_when_apt_fails_the_lock_stays(tmp_path: Path, apt: Path) -> None:
    description = tmp_path / "greeting.yaml"
    description.write_text(YAML)
    old = '{"suite": "trixie", "asked": [], "packages": []}'
    (tmp_path / "greeting.lock").write_text(old)
    apt.unlink()
    with pytest.raises(ThawError, match="relock: apt-get failed") as raised:
        relock.relock(description, ["http://mirror.test/debian/"])
    assert "check the packages' names" in raised.value.remedy
    assert (tmp_path / "greeting.lock").read_text() == old


def test_without_apt_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greeting.yaml").write_text(YAML)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ThawError, match="relock: needs apt-get") as raised:
        relock.relock(tmp_path / "greeting.yaml", ["http://mirror.test/debian/"])
    assert "--debian-mirror" in raised.value.remedy
