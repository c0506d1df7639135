"""A quick yes for data that are as a JSON Schema says.

``jsonschema`` takes longer to import than a build with nothing to do takes to read the graph. So
this looks first, at the keywords that Thaw's schemas use, and says yes only where it knows every
keyword it meets. All else, a mistake or a keyword it does not know, is for ``jsonschema`` to judge
and to explain.
"""

import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

TYPES = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": NoneType,
    "object": dict,
    "string": str,
}
Schema = Mapping[str, Any]


def surely_conforms(value: Any, schema: Schema) -> bool:
    """Whether the value is as the schema says, as far as this can tell: no may be wrong."""
    return all(
        keyword in _KEYWORDS and _KEYWORDS[keyword](value, argument, schema)
        for keyword, argument in schema.items()
    )


def _type(value: Any, names: str | list[str], _: Schema) -> bool:
    # type(), not isinstance(): to Python, not to JSON, True is an integer.
    return type(value) in [TYPES.get(name) for name in ([names] if type(names) is str else names)]


def _properties(value: Any, known: Mapping[str, Schema], _: Schema) -> bool:
    return type(value) is not dict or all(
        surely_conforms(value[name], schema) for name, schema in known.items() if name in value
    )


def _additional(value: Any, allowed: bool | Schema, schema: Schema) -> bool:
    if type(value) is not dict:
        return True
    rest = [value[name] for name in value if name not in schema.get("properties", {})]
    if isinstance(allowed, bool):
        return allowed or not rest
    return all(surely_conforms(entry, allowed) for entry in rest)


_KEYWORDS: Mapping[str, Callable[[Any, Any, Schema], bool]] = {
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "required": lambda value, names, _: type(value) is not dict or value.keys() >= set(names),
    "items": lambda value, schema, _: (
        type(value) is not list or all(surely_conforms(item, schema) for item in value)
    ),
    "enum": lambda value, known, _: type(value) is str and value in known,
    "pattern": lambda value, wanted, _: (
        type(value) is not str or re.search(wanted, value) is not None
    ),
    "minLength": lambda value, length, _: type(value) is not str or len(value) >= length,
    "minimum": lambda value, least, _: type(value) is int and value >= least,
}
