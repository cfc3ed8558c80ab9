"""The JSON schema that replies share: their fields and the kinds of their values. Pure.

Strings stay free and numbers may have decimals: what was not seen may be right all the same.
A field that a reply lacks may be left out. Read `schema_of` first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_FIELDS = 60  # of one object: more, and its keys are data rather than fields
DEEPEST = 8  # levels that are told; what is deeper stays free


def schema_of(values: Sequence[Any], *, depth: int = 0) -> dict[str, Any]:
    """A schema that all the values meet, their fields in the order in which they were first seen.

    Values are as `json.loads` gives them; no values at all give the schema that allows anything.
    """
    if depth == DEEPEST:
        return {}
    kinds: dict[str, dict[str, Any]] = {}
    if objects := [value for value in values if isinstance(value, Mapping)]:
        kinds["object"] = _object(objects, depth)
    if arrays := [value for value in values if isinstance(value, list)]:
        items = [item for array in arrays for item in array]
        kinds["array"] = {"type": "array"}
        if items:
            kinds["array"]["items"] = schema_of(items, depth=depth + 1)
    for value in values:
        if not isinstance(value, Mapping | list):
            kind = _kind(value)
            kinds[kind] = {"type": kind}
    told = list(kinds.values())
    return {"anyOf": told} if len(told) > 1 else next(iter(told), {})


def _object(objects: Sequence[Mapping[str, Any]], depth: int) -> dict[str, Any]:
    fields: dict[str, list[Any]] = {}
    for value in objects:
        for name, inner in value.items():
            fields.setdefault(name, []).append(inner)
    if len(fields) > MOST_FIELDS:
        return {"type": "object"}
    return {
        "type": "object",
        "properties": {name: schema_of(inner, depth=depth + 1) for name, inner in fields.items()},
        "required": [name for name, inner in fields.items() if len(inner) == len(objects)],
        "additionalProperties": False,
    }


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"
