"""The quick yes: never said where jsonschema says no, and said for every file of this project."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from thaw import config, machine, sources, toolchain
from thaw.schema import surely_conforms

TOP = Path(__file__).resolve().parents[2]
FILES = [
    *((path, machine.SCHEMA) for path in TOP.glob("images/*/machine.yaml")),
    *((path, toolchain.SCHEMA) for path in TOP.glob("toolchains/*.yaml")),
    *((path, sources.SCHEMA) for path in (TOP / "qemu/source.yaml", TOP / "web/npm.yaml")),
]
OTHERS: list[Any] = [None, True, False, 0, 1, -1, 1.0, 1.5, "", "x", "a\nb", [], [1], {}, {"x": 1}]


@pytest.mark.parametrize(("path", "schema"), FILES, ids=[str(p.name) for p, _ in FILES])
def test_every_file_of_this_project_gets_the_quick_yes(path: Path, schema: dict[str, Any]) -> None:
    assert surely_conforms(yaml.safe_load(path.read_text()), schema)


@pytest.mark.parametrize(("path", "schema"), FILES, ids=[str(p.name) for p, _ in FILES])
def test_what_jsonschema_refuses_is_never_said_yes_to(path: Path, schema: dict[str, Any]) -> None:
    """Every part of the file in turn is replaced by something else, removed, or added to."""
    judge = jsonschema.Draft202012Validator(schema)
    refused = 0

    for changed in changes(yaml.safe_load(path.read_text())):
        if not judge.is_valid(changed):
            refused += 1
            assert not surely_conforms(changed, schema), changed

    assert refused > 50


@pytest.mark.parametrize("value", OTHERS, ids=repr)
@pytest.mark.parametrize(
    "schema",
    [
        *({"type": name} for name in ("object", "array", "string", "integer", "boolean", "null")),
        {"type": ["string", "null"]},
        {"enum": ["x", 1]},
        {"minimum": 1},
        {"minLength": 1},
        {"pattern": "^x$"},
        {"items": {"type": "string"}},
        {"required": ["x"]},
        {"additionalProperties": False},
        {"additionalProperties": {"type": "string"}},
        {"properties": {"x": {"type": "string"}}},
        config.SCHEMA,
    ],
    ids=str,
)
def test_a_yes_to_a_keyword_is_jsonschemas_too(value: Any, schema: dict[str, Any]) -> None:
    if surely_conforms(value, schema):
        assert jsonschema.Draft202012Validator(schema).is_valid(value)


def test_a_keyword_it_does_not_know_is_left_to_jsonschema() -> None:
    assert not surely_conforms("x", {"maxLength": 5})
    assert not surely_conforms({"a": "x"}, {"properties": {"a": {"type": "text"}}})


def test_reading_the_projects_files_imports_nothing_that_only_work_needs() -> None:
    """A build with nothing to do is mostly imports: these would double it."""
    heavy = {"requests", "jsonschema", "debian", "tqdm", "grpc", "pydantic"}
    program = f"""
import sys
from pathlib import Path
from thaw import engine, machine, sources, toolchain
machine.load(Path({str(TOP / "images/x86_64/machine.yaml")!r}))
sources.read(Path({str(TOP / "qemu/source.yaml")!r}))
toolchain.read(Path({str(TOP / "toolchains/image.yaml")!r}))
print(sorted(sys.modules.keys() & {heavy!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(TOP / "site_scons")},
        capture_output=True,
        text=True,
    )

    assert done.stdout == "[]\n", done.stderr


def changes(value: Any) -> Iterator[Any]:
    """The value with one part changed, for each part and each kind of change."""
    yield from OTHERS
    if isinstance(value, dict):
        yield {**value, "no-such-key": 1}
        yield {**value, 5: "x"}
        for key in value:
            yield {name: part for name, part in value.items() if name != key}
            for part in changes(value[key]):
                yield {**value, key: part}
    if isinstance(value, list):
        for index in range(len(value[:3])):
            for part in changes(value[index]):
                changed = copy.copy(value)
                changed[index] = part
                yield changed
