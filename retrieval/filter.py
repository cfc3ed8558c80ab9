"""Attribute filters in OpenAI's form: parsed once, then matched in Python or pushed into SQL.

`Filter.matches` is the definition; `Filter.to_sql` must agree with it (a property test
compares them). Values are compared within their JSON type: the string "5" is not the number
5, and true is not 1. A document that lacks the attribute is matched by `ne` and `nin` only.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from retrieval.errors import FilterError, InvalidAttributes
from retrieval.records import Attributes, AttributeValue

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_SQL_ORDER = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_COMPARISONS = ("eq", "ne", *_ORDER, "in", "nin")
_SQL_TYPES = {
    "text": "a.type = 'text'",
    "number": "a.type IN ('integer', 'real')",
    "boolean": "a.type IN ('true', 'false')",
}
MAX_DEPTH = 16
MAX_CONDITIONS = 256
# Whole numbers beyond this are not exact in JSON, nor in SQLite's.
MAX_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a document's attributes, or several joined by `and` or `or`."""

    type: str
    key: str = ""
    value: AttributeValue | tuple[AttributeValue, ...] = ""
    filters: tuple[Filter, ...] = ()

    @classmethod
    def parse(cls, given: Any) -> Filter:
        """Read OpenAI's filter object; `FilterError` names the part that is wrong."""
        parsed, conditions = _parse(given, place="filters", depth=0)
        if conditions > MAX_CONDITIONS:
            raise FilterError(f"filters: at most {MAX_CONDITIONS} conditions, got {conditions}")
        return parsed

    def matches(self, attributes: Attributes) -> bool:
        """Say whether a document with these attributes passes."""
        if self.type == "and":
            return all(part.matches(attributes) for part in self.filters)
        if self.type == "or":
            return any(part.matches(attributes) for part in self.filters)
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if self.type in _ORDER:
            found = attributes.get(self.key)
            return _kind(found) == _kind(values[0]) and _ORDER[self.type](found, values[0])
        present = self.key in attributes and any(
            _kind(attributes[self.key]) == _kind(value) and attributes[self.key] == value
            for value in values
        )
        return present is (self.type in ("eq", "in"))

    def to_sql(self, column: str) -> tuple[str, list[AttributeValue]]:
        """Return an SQL condition over `column` (the attributes as JSON) and its parameters."""
        if self.type in ("and", "or"):
            parts = [part.to_sql(column) for part in self.filters]
            sql = f" {self.type.upper()} ".join(part for part, _ in parts)
            return f"({sql})", [value for _, values in parts for value in values]
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        sign = _SQL_ORDER.get(self.type, "=")
        tests = " OR ".join(
            f"({_SQL_TYPES[_kind(value)]} AND a.value {sign} ?)" for value in values
        )
        wanted = "NOT EXISTS" if self.type in ("ne", "nin") else "EXISTS"
        sql = f"{wanted} (SELECT 1 FROM json_each({column}) a WHERE a.key = ? AND ({tests or '0'}))"
        return sql, [self.key, *values]


def check_value(value: Any) -> str | None:
    """Say why a value can be neither an attribute nor compared with one; None if it can."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "whole numbers beyond 2^53 are not exact in JSON: use a string"
    if isinstance(value, float) and not math.isfinite(value):
        return "numbers must be finite"
    if isinstance(value, str):
        if "\0" in value:
            return "text must not hold a NUL character"
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return "text must be valid Unicode (it holds half of a surrogate pair)"
        return None
    return None if isinstance(value, int | float) else "must be a string, a number or a boolean"


def checked_attributes(attributes: Attributes) -> dict[str, AttributeValue]:
    """Return the attributes as a dictionary; `InvalidAttributes` names what cannot be kept."""
    for key, value in attributes.items():
        if reason := check_value(key) or check_value(value):
            raise InvalidAttributes(f"attribute {key!r:.80}: {reason}")
    return dict(attributes)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "absent"


def _parse(given: Any, *, place: str, depth: int) -> tuple[Filter, int]:
    """Return the filter and how many conditions it holds."""
    if not isinstance(given, Mapping):
        raise FilterError(f"{place}: must be an object with a 'type'")
    kind = given.get("type")
    if kind in ("and", "or"):
        return _parse_compound(kind, given.get("filters"), place=place, depth=depth)
    if kind not in _COMPARISONS:
        known = ", ".join((*_COMPARISONS, "and", "or"))
        raise FilterError(f"{place}.type: unknown {kind!r:.40}; one of {known}")
    key, value = given.get("key"), given.get("value")
    if not isinstance(key, str) or not key or check_value(key):
        raise FilterError(f"{place}.key: must be the name of an attribute")
    if kind in ("in", "nin"):
        if not isinstance(value, list | tuple):
            raise FilterError(f"{place}.value: '{kind}' takes a list of values")
        if len(value) > MAX_CONDITIONS:
            raise FilterError(f"{place}.value: at most {MAX_CONDITIONS} values, got {len(value)}")
        values = tuple(value)
    else:
        values = (value,)
    for one in values:
        if reason := check_value(one):
            raise FilterError(f"{place}.value: {reason}")
    if kind in _ORDER and isinstance(value, bool):
        raise FilterError(f"{place}.value: '{kind}' takes a number or a string")
    whole: Any = values if kind in ("in", "nin") else value
    return Filter(type=kind, key=key, value=whole), max(1, len(values))


def _parse_compound(kind: str, given: Any, *, place: str, depth: int) -> tuple[Filter, int]:
    if not isinstance(given, list | tuple) or not given:
        raise FilterError(f"{place}.filters: '{kind}' takes a list of at least one filter")
    if depth >= MAX_DEPTH:
        raise FilterError(f"{place}: nested deeper than {MAX_DEPTH} levels")
    if len(given) > MAX_CONDITIONS:
        raise FilterError(f"{place}.filters: at most {MAX_CONDITIONS} conditions")
    parts = [
        _parse(part, place=f"{place}.filters[{index}]", depth=depth + 1)
        for index, part in enumerate(given)
    ]
    return Filter(type=kind, filters=tuple(part for part, _ in parts)), sum(n for _, n in parts)
