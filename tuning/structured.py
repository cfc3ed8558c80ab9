"""Whether a label or a JSON reply is right: accuracy, macro-F1, validity, field accuracy. Pure.

For voices that route tickets or write structured output; knows no model. The functions on one
reply give the gate its rows, those on many give the tables their figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sklearn.metrics import f1_score


def same_label(written: str, gold: str) -> bool:
    """Whether two labels are one, case, space and a closing mark aside."""
    return _label(written) == _label(gold)


def accuracy(written: Sequence[str], gold: Sequence[str]) -> float:
    """The share of labels that are right; NaN of none."""
    pairs = list(zip(written, gold, strict=True))
    return sum(same_label(a, b) for a, b in pairs) / len(pairs) if pairs else float("nan")


def macro_f1(written: Sequence[str], gold: Sequence[str]) -> float:
    """The mean F1 over the labels that `gold` holds, each counting the same; NaN of none.

    A label that nobody asked for is a mistake for the row's own label, but no class of its own:
    a generator that invents twenty would otherwise be divided by twenty more.
    """
    pairs = [(_label(a), _label(b)) for a, b in zip(written, gold, strict=True)]
    if not pairs:
        return float("nan")
    guesses, truths = zip(*pairs, strict=True)
    labels = sorted(set(truths))
    return float(f1_score(truths, guesses, labels=labels, average="macro", zero_division=0))


def valid_json(text: str) -> bool:
    """Whether a text is one JSON object or list and nothing else, as RFC 8259 has it."""
    return isinstance(_parsed(text), (dict, list))


def field_accuracy(text: str, gold: str) -> float:
    """The share of fields with the right value, of all that either side holds, 0..1.

    A field is a value that is neither object nor list, named by its path. Texts are compared
    without case and surplus space, numbers by value; what is no JSON has no field right.

    Raises:
        ValueError: `gold` itself is not valid JSON.
    """
    truth, written = _parsed(gold), _parsed(text)
    if not isinstance(truth, (dict, list)):
        raise ValueError(f"the reference is not a JSON object or list: {gold[:80]!r}")
    if not isinstance(written, (dict, list)):
        return 0.0
    right, told = dict(_fields(truth)), dict(_fields(written))
    matching = sum(path in told and told[path] == value for path, value in right.items())
    return matching / len(right | told)


def _label(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .!\"'`*")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _fields(value: dict[str, Any] | list[Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), value)]
    while waiting:
        path, held = waiting.pop()
        if not isinstance(held, (dict, list)):
            yield path, _comparable(held)
        elif not held:
            yield path, type(held).__name__  # an empty object or list is a value too
        else:
            items = held.items() if isinstance(held, dict) else enumerate(held)
            waiting += [((*path, key), inner) for key, inner in items]


def _comparable(value: Any) -> tuple[str, Any]:
    """A value with its kind, so that true is not 1 and "1" is not 1, but 1 is 1.0."""
    if isinstance(value, str):
        return "text", " ".join(value.casefold().split())
    if isinstance(value, bool) or value is None:
        return "word", value
    return "number", value
