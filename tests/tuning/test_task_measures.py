"""Labels and JSON are measured as their docstrings say; the plain router routes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from tuning.task_measures import (
    JsonScores,
    LabelScores,
    json_scores,
    label_scores,
    routing_baseline,
)

LABELS = ["billing", "shipping", "returns"]


def test_right_labels_score_one_whatever_their_case_and_space() -> None:
    gold = ["Billing", "shipping", "returns"]
    assert label_scores([" billing\n", "SHIPPING", "returns"], gold, LABELS) == LabelScores(1, 1)


def test_macro_f1_is_the_mean_over_the_gold_labels() -> None:
    gold = ["billing"] * 8 + ["shipping"] * 2
    scores = label_scores(["billing"] * 10, gold, LABELS)
    # billing: precision .8, recall 1; shipping: none found; returns is not in the gold.
    assert scores.accuracy == 0.8
    assert scores.macro_f1 == pytest.approx((2 * 0.8 / 1.8 + 0) / 2)


def test_an_unknown_label_is_wrong_and_nobodys_false_positive() -> None:
    scores = label_scores(["billing", "I think it is billing"], ["billing", "billing"], LABELS)
    assert scores.accuracy == 0.5
    assert scores.macro_f1 == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_a_gold_label_that_was_never_trained_counts() -> None:
    assert label_scores(["billing"], ["legal"], LABELS) == LabelScores(0.0, 0.0)


def test_nothing_to_measure_is_zero_and_uneven_lists_are_refused() -> None:
    assert label_scores([], [], LABELS) == LabelScores(0.0, 0.0)
    assert json_scores([], []) == JsonScores(0.0, 0.0)
    with pytest.raises(ValueError, match="1 and 2 items"):
        label_scores(["a"], ["a", "b"], LABELS)
    with pytest.raises(ValueError, match="1 and 2 items"):
        json_scores(["{}"], ["{}", "{}"])


GOLD = json.dumps({"name": "Ann", "items": [{"sku": "A", "n": 2}, {"sku": "B", "n": 1}]})


@pytest.mark.parametrize(
    ("text", "valid", "fields"),
    [
        (GOLD, 1, 1),
        (f"```json\n{GOLD}\n```", 1, 1),
        (GOLD.replace('"Ann"', '" ann"').replace("2", "2.0"), 1, 1),
        (GOLD.replace('"n": 1', '"n": true'), 1, 4 / 5),
        (GOLD.replace('"A"', '"C"'), 1, 4 / 5),
        ('{"name": "Ann"}', 1, 1 / 5),
        (GOLD[:-1] + ', "made": "up"}', 1, 5 / 6),
        ("{}", 1, 0),
        (GOLD[:-1], 0, 0),
        ("12", 0, 0),
        ("The name is Ann.", 0, 0),
    ],
)
def test_json_is_measured_by_its_fields(text: str, valid: float, fields: float) -> None:
    scores = json_scores([text], [GOLD])
    assert scores.valid == valid and scores.field_accuracy == pytest.approx(fields)


def test_json_scores_are_means_over_the_rows() -> None:
    assert json_scores(["[]", "no"], ["[]", "[]"]) == JsonScores(0.5, 0.5)


def test_gold_that_is_no_json_is_refused_with_its_number() -> None:
    with pytest.raises(ValueError, match="gold reply 2 is no JSON"):
        json_scores(["{}", "{}"], ["{}", "fine"])


def words_of_each_label(texts: Sequence[str]) -> np.ndarray:  # (n, 3) float32, unit rows
    words = ("charged", "parcel", "refund")
    rows = np.array([[1e-3 + text.count(word) for word in words] for text in texts], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_plain_router_routes_and_writes_labels_as_they_were_written() -> None:
    texts = ["charged twice", "where is my parcel", "a refund please"] * 4
    labels = ["Billing", "Shipping", "Returns", "billing", "shipping ", "returns"] * 2
    routed = routing_baseline(
        texts, labels, ["the parcel is late", "I was charged"], words_of_each_label
    )
    assert routed == ["Shipping", "Billing"]


def test_one_label_or_no_text_needs_no_router() -> None:
    assert routing_baseline(["a", "b"], ["x", "X"], ["c"], words_of_each_label) == ["x"]
    assert routing_baseline(["a", "b"], ["x", "y"], [], words_of_each_label) == []
