"""Kconfig fragments: a lost, repeated or malformed line is an error that names it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "images" / "recipes"))

import kconfig

RESULT = """\
# comment
CONFIG_A=y
CONFIG_NAME="thaw"
# CONFIG_OFF is not set
"""


def file(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_what_survived_is_silent(tmp_path: Path) -> None:
    wanted = 'CONFIG_A=y\n\nCONFIG_NAME="thaw"\n# CONFIG_OFF is not set\n# CONFIG_B is not set\n'
    kconfig.check(file(tmp_path, "fragment", wanted), file(tmp_path, ".config", RESULT))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("CONFIG_A=m\n", "1: CONFIG_A: wanted m, got y"),
        ("\nCONFIG_OFF=y\n", "2: CONFIG_OFF: wanted y, got n"),
        ("# CONFIG_A is not set\n", "1: CONFIG_A: wanted n, got y"),
        ("CONFIG_TYPO=y\n", "1: CONFIG_TYPO: wanted y, got nothing"),
        ("CONFIG_A=y\nCONFIG_A=y\n", "2: CONFIG_A is already set in line 1"),
        ("CONFIG_A y\n", "1: not a Kconfig line: CONFIG_A y"),
    ],
)
def test_what_was_lost_is_named(tmp_path: Path, wanted: str, message: str) -> None:
    fragment = file(tmp_path, "fragment", wanted)
    with pytest.raises(SystemExit) as info:
        kconfig.check(fragment, file(tmp_path, ".config", RESULT))
    assert str(info.value).startswith(f"{fragment}:{message}")


def test_all_losses_are_listed_at_once(tmp_path: Path) -> None:
    fragment = file(tmp_path, "fragment", "CONFIG_X=y\nCONFIG_Y=y\n")
    with pytest.raises(SystemExit) as info:
        kconfig.check(fragment, file(tmp_path, ".config", RESULT))
    assert len(str(info.value).splitlines()) == 2


def test_a_merged_option_replaces_the_old_one(tmp_path: Path) -> None:
    config = file(tmp_path, ".config", RESULT)
    kconfig.merge(config, file(tmp_path, "fragment", "CONFIG_OFF=y\n# CONFIG_A is not set\n"))
    values = {name: value for name, (value, _) in kconfig.parse(config).items()}
    assert values == {"A": "n", "NAME": '"thaw"', "OFF": "y"}
