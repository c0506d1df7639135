"""Files that people write: every mistake is one message with file and line."""

from pathlib import Path
from typing import Any

import pytest

from thaw import yamlfile
from thaw.errors import ThawError

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["memory"],
    "properties": {
        "memory": {"type": "integer", "minimum": 1},
        "drives": {"type": "array", "items": {"type": "string"}},
        "guest": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"prompt": {"type": "string"}},
        },
    },
}


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "machine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_good_file_gives_its_value(tmp_path: Path) -> None:
    path = written(tmp_path, "memory: 512\ndrives: [a, b]\n")
    assert yamlfile.load(path, SCHEMA) == {"memory": 512, "drives": ["a", "b"]}


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("memory: [1, 2\n", 2, "malformed YAML: .+"),
        ("memory: 1\n\tdrives: []\n", 2, "malformed YAML: .+"),
        ("memory: 1\n  drives: x\n", 2, "malformed YAML: .+"),
        ("memory: *unknown\n", 1, "malformed YAML: .+"),
        ("memory: 1\n---\nmemory: 2\n", 2, "malformed YAML: .+"),
        ("memory: 1\n# \x01\n", 2, "malformed YAML: .+"),
        ("memory: !!python/name:os.system\n", 1, "malformed YAML: .+"),
        ("? [a]\n: 1\n", 1, "malformed YAML: .+"),
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("- memory\n", 1, r"\['memory'\] is not of type 'object'"),
        ("memory: 1\nmemory: 2\n", 2, "memory is there already in line 1"),
        ("memory: 1\nguest:\n  prompt: a\n  prompt: b\n", 4, "prompt is there already in line 3"),
        ("memory: 1\n\nmemmory: 2\n", 3, "unknown key 'memmory'"),
        ("memory: 1\nguest:\n  promt: a\n", 3, "unknown key 'promt'"),
        ("memory: 1\n2: 3\n", 2, "unknown key 2"),
        ("memory: 512M\n", 1, "memory: '512M' is not of type 'integer'"),
        ("# first\nmemory: 0\n", 2, "memory: 0 is less than the minimum of 1"),
        ("memory: 1\ndrives:\n- a\n- 5\n", 4, "drives.1: 5 is not of type 'string'"),
        ("drives: []\n", 1, "'memory' is missing"),
    ],
)
def test_a_mistake_is_shown_with_its_line(tmp_path: Path, text: str, line: int, cause: str) -> None:
    with pytest.raises(ThawError, match=rf"machine\.yaml:{line}: {cause}") as raised:
        yamlfile.load(written(tmp_path, text), SCHEMA)
    assert "\n" not in raised.value.message


def test_an_unknown_key_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ThawError) as raised:
        yamlfile.load(written(tmp_path, "ram: 1\n"), SCHEMA)
    assert raised.value.remedy == "known keys are drives, guest, memory"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"memory: \xff\n", "is not UTF-8 text: invalid start byte"),
        (b"memory: 1\ndrives: &all [*all]\n", "malformed YAML: a part of it contains itself"),
    ],
)
def test_a_mistake_that_has_no_line_is_shown_with_the_file(
    tmp_path: Path, text: bytes, cause: str
) -> None:
    with pytest.raises(ThawError, match=rf"machine\.yaml: {cause}"):
        yamlfile.load(written(tmp_path, text), SCHEMA)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ThawError, match=r"nothing\.yaml: cannot be read: No such file"):
        yamlfile.load(tmp_path / "nothing.yaml", SCHEMA)


def test_checks_beyond_the_schema_know_the_line_too(tmp_path: Path) -> None:
    document = yamlfile.load_document(written(tmp_path, "memory: 1\ndrives:\n- a\n- b\n"), SCHEMA)
    error = document.error(["drives", 1], "b is not a drive", "use another")
    assert str(error).endswith("machine.yaml:4: b is not a drive\n  next: use another")
    assert document.line(["drives", 7]) == document.line(["drives"]) == 2
