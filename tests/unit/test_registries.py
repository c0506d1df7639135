"""Where this machine gets packages from: what its own clients say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from thaw import registries


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """The answers are remembered for a process's life: not from one test to the next."""
    registries.apt_archives.cache_clear()
    registries.npm_registry.cache_clear()
    yield
    registries.apt_archives.cache_clear()
    registries.npm_registry.cache_clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is installed and nothing is configured: its bin directory."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "apt").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("npm_config_registry", raising=False)
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.setattr(registries, "APT", tmp_path / "apt")
    return tmp_path / "bin"


def program(machine: Path, name: str, text: str) -> None:
    path = machine / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_machine_without_clients_has_no_address(machine: Path) -> None:
    assert registries.apt_archives() == ()
    assert registries.npm_registry() is None


def test_apts_debian_archives_are_used_without_their_security_twins(machine: Path) -> None:
    rows = (
        r"http://mirror.test/debian/\tDebian\tmirror.test\n"
        r"http://mirror.test/debian/\tDebian\tmirror.test\n"
        r"http://mirror.test/debian-security/\tDebian\tmirror.test\n"
        r"http://other.test/stuff/\tOther\tother.test\n"
        r"a line of another kind\n"
    )
    program(machine, "apt-get", f"printf '{rows}'")
    assert registries.apt_archives() == ("http://mirror.test/debian/",)


def test_before_the_first_update_apts_source_files_are_read(machine: Path) -> None:
    program(machine, "apt-get", "exit 100")
    apt = machine.parent / "apt"
    (apt / "sources.list").write_text(
        "# deb http://comment.test/debian stable main\n"
        "deb [signed-by=/key] http://one.test/debian stable main\n"
    )
    (apt / "sources.list.d").mkdir()
    (apt / "sources.list.d/two.sources").write_text(
        "Types: deb\nURIs: http://two.test/debian/ http://security.test/debian-security\n"
    )
    (apt / "sources.list.d/other.list").write_text("deb http://other.test/stuff stable main\n")
    assert registries.apt_archives() == ("http://one.test/debian/", "http://two.test/debian/")


def test_npm_says_its_registry(machine: Path) -> None:
    program(machine, "npm", 'test "$*" = "config get registry" && echo http://npm.test/path/')
    assert registries.npm_registry() == "http://npm.test/path"


def test_an_npm_that_has_none_is_as_no_npm(machine: Path) -> None:
    program(machine, "npm", "echo undefined")
    assert registries.npm_registry() is None


def test_npms_environment_variable_comes_first(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(machine, "npm", "echo http://npm.test/")
    monkeypatch.setenv("npm_config_registry", "http://variable.test/")
    assert registries.npm_registry() == "http://variable.test"
