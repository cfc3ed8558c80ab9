"""The bounds on JSON schemas: what passes, and what is refused at once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tuning.errors import SchemaError
from tuning.schema import MAX_DEPTH, check_schema


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def doubled(levels: int) -> dict[str, Any]:
    """Each level names the next one twice: 2^levels schemas when written out."""
    definitions: dict[str, Any] = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
        for n in range(levels)
    }
    return {"$defs": {**definitions, f"d{levels}": {}}, "$ref": "#/$defs/d0"}


def test_an_ordinary_schema_passes() -> None:
    item = {"type": "object", "properties": {"price": {"type": "number"}, "a/b~": True}}
    check_schema({"$defs": {"item": item}, "type": "array", "items": {"$ref": "#/$defs/item"}})
    check_schema({"type": "array", "items": {"$ref": "#/$defs/a~1b"}, "$defs": {"a/b": {}}})
    check_schema(nested(MAX_DEPTH))
    check_schema({"properties": {"$ref": {"type": "string"}, "enum": {"type": "string"}}})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (nested(MAX_DEPTH + 1), "levels deep"),
        (nested(900), "levels deep"),
        (nested(50_000), "levels deep"),
        (doubled(15), "levels deep|schemas"),
        (doubled(11), "schemas, \\$ref written out"),
        ({"$ref": "#"}, "itself"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
         "itself"),
        ({"$ref": "http://127.0.0.1/schema.json"}, "point into the schema"),
        ({"$ref": "#/$defs/nowhere"}, "leads nowhere"),
        ({"$ref": 3}, "point into the schema"),
        ({"enum": list(range(1001))}, "1000 enum values"),
        ({"anyOf": [{"enum": list(range(600))}] * 2}, "1000 enum values"),
        ({"enum": ["x" * 70_000]}, "characters"),
        ({"properties": {f"p{n}": {} for n in range(201)}}, "200 properties"),
        ({"pattern": "(a|b)*" * 100}, "500 characters"),
        ({"patternProperties": {"a" * 501: {}}}, "500 characters"),
        ({"x-guidance": {"lenient": True}}, "x-guidance"),
        ({"items": "string"}, "must be an object"),
        ({"anyOf": {}}, None),
        ({"anyOf": {"a": 1}}, "must be a list"),
        ({"properties": [1]}, "must be an object"),
    ],
)  # fmt: skip
def test_bombs_are_refused_at_once(schema: dict[str, Any], said: str | None) -> None:
    began = time.monotonic()
    if said is None:
        check_schema(schema)
    else:
        with pytest.raises(SchemaError, match=said):
            check_schema(schema)
    assert time.monotonic() - began < 1
