"""Measures of labels and of structured replies, and the plain router to compare a voice with.

Each measure is defined in its function's docstring. It writes nothing and loads no model: what
was predicted, and the function that embeds, are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuning.task import label_key, read_json

Embed = Callable[[Sequence[str]], np.ndarray]  # texts -> (n, dim) float32, unit rows

_UNKNOWN = -1  # what was predicted is none of the labels


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Shares from 0 to 1."""

    accuracy: float
    macro_f1: float


@dataclass(frozen=True, slots=True)
class JsonScores:
    """Shares from 0 to 1."""

    valid: float
    field_accuracy: float


def label_scores(
    predicted: Sequence[str], gold: Sequence[str], labels: Sequence[str]
) -> LabelScores:
    """Measure predicted labels against the gold ones.

    *Accuracy* is the share of rows whose label is right. *Macro-F1* is the plain mean of the F1
    of every label that the gold holds, so that a rare label counts as much as a frequent one.
    Labels are compared without outer space and case; a prediction that is none of `labels` is
    wrong, and of no label a false positive.
    """
    _same_length(predicted, gold)
    if not gold:
        return LabelScores(0.0, 0.0)
    from sklearn.metrics import f1_score

    number: dict[str, int] = {}
    for label in (*labels, *gold):
        number.setdefault(label_key(label), len(number))
    right = [number[label_key(label)] for label in gold]
    told = [number.get(label_key(label), _UNKNOWN) for label in predicted]
    return LabelScores(
        accuracy=float(np.mean(np.equal(right, told))),
        macro_f1=float(
            f1_score(right, told, labels=sorted(set(right)), average="macro", zero_division=0.0)
        ),
    )


def json_scores(texts: Sequence[str], gold: Sequence[str]) -> JsonScores:
    """Measure written JSON against the gold replies.

    *Valid* is the share of texts that are a JSON object or array, in a code fence or not.
    *Field accuracy* is the mean over the rows of the share of right fields among those that the
    gold or the text has: a field is the path to a plain value (`items.0.price`), and right if
    both have the same value there, texts without outer space and case. A text that is not JSON
    has no right field.

    Raises:
        ValueError: a gold reply is not JSON.
    """
    _same_length(texts, gold)
    valid, shares = 0, []
    for row, (text, wanted) in enumerate(zip(texts, gold, strict=True)):
        right = read_json(wanted)
        if right is None:
            raise ValueError(f"gold reply {row + 1} is no JSON object or array")
        written = read_json(text)
        if written is None:
            shares.append(0.0)
            continue
        valid += 1
        shares.append(_same_fields(_fields(written), _fields(right)))
    return JsonScores(valid / len(gold), float(np.mean(shares))) if gold else JsonScores(0.0, 0.0)


def routing_baseline(
    train_texts: Sequence[str],
    train_labels: Sequence[str],
    test_texts: Sequence[str],
    embed: Embed,
) -> list[str]:
    """The labels that a logistic regression over embeddings predicts for the test texts.

    The plain way of routing, which takes seconds: a label voice has to be worth more than this.
    Labels are weighted by their rarity. Where there is but one label, that is the answer.
    """
    _same_length(train_texts, train_labels)
    written = {label_key(label): label.strip() for label in reversed(train_labels)}
    keys = [label_key(label) for label in train_labels]
    if not test_texts or not keys:
        return [""] * len(test_texts)
    if len(written) == 1:
        return [written[keys[0]]] * len(test_texts)
    from sklearn.linear_model import LogisticRegression

    router = LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced")
    router.fit(embed(train_texts), keys)
    return [written[key] for key in router.predict(embed(test_texts))]


def _fields(value: Any, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    """Every plain value by its path; an empty object or array is a value of its own."""
    if isinstance(value, Mapping) and value:
        items: Any = value.items()
    elif isinstance(value, list) and value:
        items = enumerate(value)
    else:
        return {path: label_key(value) if isinstance(value, str) else value}
    return {p: v for key, item in items for p, v in _fields(item, (*path, key)).items()}


def _same_fields(
    written: Mapping[tuple[str | int, ...], Any], right: Mapping[tuple[str | int, ...], Any]
) -> float:
    # A bool equals 1 in Python, but true is not 1 in JSON; 1 and 1.0 are the same number.
    same = sum(
        path in written
        and written[path] == value
        and isinstance(written[path], bool) == isinstance(value, bool)
        for path, value in right.items()
    )
    return same / len(written.keys() | right.keys())


def _same_length(left: Sequence[Any], right: Sequence[Any]) -> None:
    if len(left) != len(right):
        raise ValueError(f"{len(left)} and {len(right)} items cannot be compared one by one")
