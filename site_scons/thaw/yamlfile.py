"""YAML files that people write: read and checked against a schema, errors with file and line."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from thaw.errors import ThawError
from thaw.schema import surely_conforms

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Document:
    """A YAML file's value, and where each part of it stands."""

    def __init__(self, path: Path, value: Any, node: yaml.Node | None) -> None:
        self.path, self.value, self._node = path, value, node

    def line(self, where: Iterable[str | int]) -> int:
        """The line, from 1, of the part at a path of keys and indices (or of what holds it)."""
        node, line = self._node, 1
        for step in where:
            child = _child(node, step)
            if child is None:
                break
            mark, node = child
            line = mark.start_mark.line + 1
        return line

    def error(self, where: Iterable[str | int], cause: str, remedy: str = "") -> ThawError:
        """An error about one part of the file."""
        return ThawError(f"{self.path}:{self.line(where)}: {cause}", remedy=remedy)


def load(path: Path, schema: Mapping[str, Any]) -> Any:
    """The value of a YAML file that is as its JSON Schema says. Raises ThawError."""
    return load_document(path, schema).value


def load_document(path: Path, schema: Mapping[str, Any]) -> Document:
    """As ``load``, with the positions, for checks that a schema can't express."""
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_Loader)
        _refuse_duplicates(path, node)
        value = yaml.load(text, Loader=_Loader)
    except OSError as error:
        raise ThawError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ThawError(f"{path}: is not UTF-8 text: {error.reason}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ThawError(f"{path}:{line}: malformed YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ThawError(f"{path}:{line}: malformed YAML: {error.reason}") from error
    except RecursionError as error:
        raise ThawError(f"{path}: malformed YAML: a part of it contains itself") from error
    document = Document(path, value, node)
    _validate(document, schema)
    return document


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Where the child is named, and the child."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key, value
    elif isinstance(node, yaml.SequenceNode) and step in range(len(node.value)):
        return node.value[int(step)], node.value[int(step)]
    return None


def _refuse_duplicates(path: Path, node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused by the loader, with a better message
            line = key.start_mark.line + 1
            if key.value in seen:
                raise ThawError(
                    f"{path}:{line}: {key.value} is there already in line {seen[key.value]}"
                )
            seen[key.value] = line
            _refuse_duplicates(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(path, item)


def _validate(document: Document, schema: Mapping[str, Any]) -> None:
    if surely_conforms(document.value, schema):
        return
    import jsonschema  # late: see thaw.schema

    validator = jsonschema.Draft202012Validator(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(document.value))
    if error is None:
        return
    where = list(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        unknown = next((key for key in error.instance if key not in known), None)
        if unknown is not None:
            known_text = ", ".join(sorted(known))
            cause = f"unknown key {unknown!r}"
            raise document.error([*where, str(unknown)], cause, f"known keys are {known_text}")
    name = ".".join(str(part) for part in where)
    cause = error.message.replace("is a required property", "is missing")
    if document.value is None:
        cause = "the file is empty"
    raise document.error(where, f"{name}: {cause}" if name else cause)
