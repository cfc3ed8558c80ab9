from __future__ import annotations

import json
from typing import Any

import pysqlite3 as sqlite3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import FilterError
from retrieval.filter import Filter, check_value

keys = st.sampled_from(["a", "b", "c.d", "e\"'", "$.a"])
numbers = st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -2.5, 2**53])
words = st.sampled_from(["", "x", "X", "é", "1", "true", "zz"])
values = st.booleans() | numbers | words
comparisons = st.one_of(
    st.fixed_dictionaries({"type": st.sampled_from(["eq", "ne"]), "key": keys, "value": values}),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["gt", "gte", "lt", "lte"]),
            "key": keys,
            "value": numbers | words,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["in", "nin"]),
            "key": keys,
            "value": st.lists(values, max_size=3),
        }
    ),
)
filters = st.recursive(
    comparisons,
    lambda inner: st.fixed_dictionaries(
        {"type": st.sampled_from(["and", "or"]), "filters": st.lists(inner, min_size=1, max_size=3)}
    ),
    max_leaves=6,
)


def passes_in_sql(parsed: Filter, attributes: dict[str, Any]) -> bool:
    condition, parameters = parsed.to_sql("attributes")
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (attributes TEXT)")
    connection.execute("INSERT INTO t VALUES (?)", (json.dumps(attributes),))
    sql = f"SELECT count(*) FROM t WHERE {condition}"
    found = bool(connection.execute(sql, parameters).fetchone()[0])
    connection.close()
    return found


@given(filters, st.dictionaries(keys, values, max_size=4))
def test_sql_and_python_agree(given_filter: dict[str, Any], attributes: dict[str, Any]) -> None:
    parsed = Filter.parse(given_filter)
    assert passes_in_sql(parsed, attributes) is parsed.matches(attributes)


@pytest.mark.parametrize(
    ("kind", "value", "matched"),
    [
        ("eq", 5, True),
        ("eq", "5", False),
        ("eq", True, False),
        ("ne", "5", True),
        ("gt", 4, True),
        ("gt", "4", False),
        ("lte", 5.0, True),
        ("in", [1, 5], True),
        ("nin", [1, 5], False),
    ],
)
def test_values_compare_within_their_json_type(kind: str, value: Any, matched: bool) -> None:
    parsed = Filter.parse({"type": kind, "key": "n", "value": value})
    assert parsed.matches({"n": 5}) is matched


def test_a_missing_attribute_matches_only_negations() -> None:
    for kind, value in (("eq", 1), ("gt", 1), ("lt", 1), ("in", [1])):
        assert not Filter.parse({"type": kind, "key": "n", "value": value}).matches({})
    assert Filter.parse({"type": "ne", "key": "n", "value": 1}).matches({})
    assert Filter.parse({"type": "nin", "key": "n", "value": [1]}).matches({})


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "eq", "key": "a", "value": 1}
    for _ in range(depth):
        inner = {"type": "and", "filters": [inner]}
    return inner


@pytest.mark.parametrize(
    ("given_filter", "words_of_it"),
    [
        ("x", "must be an object"),
        ({"type": "like", "key": "a", "value": 1}, "unknown 'like'"),
        ({"type": "eq", "value": 1}, "filters.key"),
        ({"type": "eq", "key": "a"}, "must be a string, a number or a boolean"),
        ({"type": "eq", "key": "a", "value": None}, "filters.value"),
        ({"type": "eq", "key": "a", "value": 2**60}, "2\\^53"),
        ({"type": "eq", "key": "a", "value": float("nan")}, "finite"),
        ({"type": "eq", "key": "a", "value": "\ud800"}, "surrogate"),
        ({"type": "gt", "key": "a", "value": True}, "number or a string"),
        ({"type": "in", "key": "a", "value": 1}, "list of values"),
        ({"type": "and", "filters": []}, "at least one"),
        ({"type": "or", "filters": [{"type": "eq"}]}, r"filters\.filters\[0\]"),
        (nested(100), "nested deeper"),
        ({"type": "in", "key": "a", "value": list(range(1000))}, "at most"),
    ],
)
def test_a_malformed_filter_is_refused_naming_the_part(given_filter: Any, words_of_it: str) -> None:
    with pytest.raises(FilterError, match=words_of_it):
        Filter.parse(given_filter)


def test_attribute_values_that_json_cannot_keep_are_named() -> None:
    assert check_value("x\0") and check_value(float("inf")) and check_value(None)
    assert not any(map(check_value, ["x", 1, 1.5, True, "é"]))
