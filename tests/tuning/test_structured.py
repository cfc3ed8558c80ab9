"""Labels and JSON: what counts as right."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.structured import accuracy, field_accuracy, macro_f1, same_label, valid_json

LABELS = st.sampled_from(["refund", "order", "other"])


def test_a_label_is_the_same_whatever_its_case_space_and_closing_mark() -> None:
    assert same_label(" Cancel_Order.\n", "cancel_order")
    assert same_label('"track  refund"', "Track refund")
    assert not same_label("cancel_order now", "cancel_order")
    assert not same_label("", "cancel_order")


@settings(deadline=None)
@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=30))
def test_macro_f1_is_the_mean_of_every_labels_own_f1(pairs: list[tuple[str, str]]) -> None:
    written, gold = zip(*pairs, strict=True)
    scores = []
    for label in set(gold):
        right = sum(a == b == label for a, b in pairs)
        scores.append(2 * right / (written.count(label) + gold.count(label)))
    assert macro_f1(written, gold) == pytest.approx(sum(scores) / len(scores))
    assert accuracy(written, gold) == sum(a == b for a, b in pairs) / len(pairs)


def test_an_invented_label_is_a_mistake_but_no_class() -> None:
    assert macro_f1(["refund", "sunshine"], ["refund", "order"]) == 0.5
    assert math.isnan(macro_f1([], [])) and math.isnan(accuracy([], []))
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        accuracy(["a"], [])


@pytest.mark.parametrize("text", ["{}", ' [1, "a"]\n', '{"a": {"b": null}}'])
def test_an_object_or_list_alone_is_valid(text: str) -> None:
    assert valid_json(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", '"a"', "null", "{'a': 1}", '{"a": NaN}', '{"a": 1', "[" * 100_000),
        *('Here: {"a": 1}', '```json\n{"a": 1}\n```'),
    ],
)
def test_anything_else_is_not(text: str) -> None:
    assert not valid_json(text)
    assert field_accuracy(text, '{"a": 1}') == 0.0


@pytest.mark.parametrize(
    ("text", "gold", "share"),
    [
        ('{"a": 1, "b": "X  y"}', '{"b": "x Y", "a": 1.0}', 1.0),
        ('{"a": 1}', '{"a": 1, "b": 2}', 0.5),
        ('{"a": 1, "b": 2}', '{"a": 1}', 0.5),
        ('{"a": true}', '{"a": 1}', 0.0),
        ('{"a": "1"}', '{"a": 1}', 0.0),
        ('{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3]}}', 0.5),
        ('{"a": [], "b": null}', '{"a": [], "b": null}', 1.0),
        ("{}", "{}", 1.0),
        ("[" * 900 + "]" * 900, "[" * 900 + "]" * 900, 1.0),
        ("[]", "{}", 0.0),
        ('{"0": 1}', "[1]", 0.0),
    ],
)
def test_fields_are_compared_by_path_and_value(text: str, gold: str, share: float) -> None:
    assert field_accuracy(text, gold) == share


def test_a_reference_that_is_no_json_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="the reference is not"):
        field_accuracy("{}", "nonsense")
