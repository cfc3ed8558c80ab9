"""The schema that replies share."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.fields import MOST_FIELDS, schema_of
from tuning.grammar import Grammars
from tuning.schema import check_schema


def test_fields_keep_their_order_and_those_that_may_lack_are_not_required() -> None:
    schema = schema_of([{"b": 1, "a": "x"}, {"b": 2.5, "c": None}, {"b": None, "a": "y"}])
    assert list(schema["properties"]) == ["b", "a", "c"]
    assert schema["required"] == ["b"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["b"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}
    assert schema["properties"]["a"] == {"type": "string"}


def test_true_is_no_number_and_an_empty_list_says_nothing_of_its_items() -> None:
    assert schema_of([True, 1]) == {"anyOf": [{"type": "boolean"}, {"type": "number"}]}
    assert schema_of([[]]) == {"type": "array"}
    assert schema_of([[], [1]]) == {"type": "array", "items": {"type": "number"}}
    assert schema_of([]) == {}


def test_keys_that_are_data_are_no_fields() -> None:
    assert schema_of([{f"k{n}": n for n in range(MOST_FIELDS + 1)}]) == {"type": "object"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text('ab\u00e9"\\'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(JSON, min_size=1, max_size=4))
def test_every_value_meets_the_schema_made_from_it(
    generator: Any, grammars: Grammars, values: list[Any]
) -> None:
    schema = schema_of(values)
    check_schema(schema)
    grammar = grammars.of_schema(schema)
    nothing = torch.zeros(len(generator.template.tokenizer))
    for value in values:
        in_order = ordered(value, schema)
        ids = generator.template.text(json.dumps(in_order, ensure_ascii=False))
        constraint = grammars.constraint(grammar)
        for token in ids:
            assert constraint.restrict(nothing)[token] == 0, (in_order, schema)
            constraint.accept(token)
        end = generator.template.end_ids[-1]
        assert constraint.done or constraint.restrict(nothing)[end] == 0, (in_order, schema)


def ordered(value: Any, schema: dict[str, Any]) -> Any:
    """The value with its fields in the schema's order, as a voice is held to write them."""
    parts = schema.get("anyOf", [schema])
    if isinstance(value, dict):
        part = next((p for p in parts if p.get("type") == "object"), {})
        fields = part.get("properties", {})
        return {k: ordered(value[k], fields[k]) for k in fields if k in value} or value
    if isinstance(value, list):
        part = next((p for p in parts if p.get("type") == "array"), {})
        return [ordered(item, part.get("items", {})) for item in value]
    return value


@pytest.fixture(scope="module")
def generator(make_generator: Any) -> Any:
    return make_generator()


@pytest.fixture(scope="module")
def grammars(generator: Any) -> Grammars:
    return Grammars(generator)
