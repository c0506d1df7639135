"""Settings: defaults, the user's file, the project's file, the command line; the last one wins."""

from pathlib import Path

import pytest

from thaw import config
from thaw.errors import ThawError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "home/.config/thaw").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def project(tmp_path: Path, home: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def test_without_any_file_the_cache_is_in_the_home_directory(home: Path, project: Path) -> None:
    assert config.load(project, {}).cache_directory == home / ".cache/thaw"


def test_the_cache_follows_xdg(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert config.load(project, {}).cache_directory == Path("/elsewhere/thaw")


def test_later_ones_win(home: Path, project: Path) -> None:
    user = home / ".config/thaw/config.yaml"
    user.write_text("disk-cache: /user\nnpm-registry: user\ndistdir: /user\n")
    (project / "thaw.yaml").write_text("disk-cache: /project\nnpm-registry: project\n")
    found = config.load(project, {"disk_cache": "/line", "npm_registry": None})
    assert (found.disk_cache, found.npm_registry, found.distdir) == ("/line", "project", ("/user",))


def test_a_list_may_be_given_as_one_word(project: Path) -> None:
    (project / "thaw.yaml").write_text("distdir: [/a, /b]\ndebian-mirror: x://host/debian\n")
    found = config.load(project, {})
    assert found.distdir == ("/a", "/b")
    assert found.debian_mirror == ("x://host/debian",)


def test_a_tilde_is_the_home_directory(home: Path, project: Path) -> None:
    found = config.load(project, {"disk_cache": "~/cache"})
    assert found.cache_directory == home / "cache"


def test_an_empty_file_says_nothing(project: Path) -> None:
    (project / "thaw.yaml").write_text("# nothing yet\n")
    assert config.load(project, {}) == config.Config()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("disk_cache: /x\n", "1: unknown key 'disk_cache'"),
        ("# comment\ndistdir: 5\n", "2: distdir: 5 is not of type 'string', 'array'"),
        ("distdir:\n- a\n- {b: c}\n", "3: distdir.1: {'b': 'c'} is not of type 'string'"),
        ("disk-cache: [/x\n", "2: malformed YAML"),
    ],
)
def test_a_mistake_is_shown_with_its_line(project: Path, text: str, cause: str) -> None:
    (project / "thaw.yaml").write_text(text)
    with pytest.raises(ThawError, match=rf"thaw\.yaml:{cause}"):
        config.load(project, {})
