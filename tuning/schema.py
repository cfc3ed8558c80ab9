"""What a JSON schema may ask for here: bounds that keep a hostile one from costing time or memory.

Pure. What it lets through can still be refused by the compiler of grammars (`tuning.grammar`),
which knows fewer keywords than the standard. Read `check_schema` first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tuning.errors import SchemaError

MAX_BYTES = 64_000
MAX_DEPTH = 24  # of schemas within schemas
MAX_SCHEMAS = 2_000  # with every $ref written out
MAX_CHOICES = 1_000  # values of all enums together
MAX_PROPERTIES = 200  # of one object: the parser's row grows with them
MAX_PATTERN = 500  # characters of a regular expression
# The compiler's own switches stand in this keyword; they are the server's to set.
_OWN = ("x-guidance",)
_ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties")


def check_schema(schema: Mapping[str, Any]) -> None:
    """Refuse a schema that is too large, too deep, or refers to itself.

    Raises:
        SchemaError: says which bound, and where.
    """
    try:
        size = len(json.dumps(schema))
    except RecursionError:
        raise SchemaError(f"the schema is more than {MAX_DEPTH} levels deep") from None
    if size > MAX_BYTES:
        raise SchemaError(f"the schema has {size} characters; at most {MAX_BYTES} are read")
    _Walk(schema).check(schema, "the schema", 0, ())


class _Walk:
    """One way through a schema, every $ref written out, which counts what it meets."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._schemas = 0
        self._choices = 0

    def check(self, schema: Any, where: str, depth: int, inside: tuple[str, ...]) -> None:
        self._schemas += 1
        if self._schemas > MAX_SCHEMAS:
            raise SchemaError(f"the schema holds more than {MAX_SCHEMAS} schemas, $ref written out")
        if depth > MAX_DEPTH:
            raise SchemaError(f"the schema is more than {MAX_DEPTH} levels deep")
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            raise SchemaError(f"{where} must be an object, not {type(schema).__name__}")
        self._check_words(schema, where)
        for inner, place in _inner(schema, where):
            self.check(inner, place, depth + 1, inside)
        if "$ref" in schema:
            ref = schema["$ref"]
            if ref in inside:
                raise SchemaError(f"{where} refers to itself by {ref!r}; write the levels out")
            self.check(self._resolve(ref, where), str(ref), depth + 1, (*inside, ref))

    def _check_words(self, schema: dict[str, Any], where: str) -> None:
        for word in _OWN:
            if word in schema:
                raise SchemaError(f"{where}: {word!r} is not supported")
        values = schema.get("enum", [])
        self._choices += len(values) if isinstance(values, list) else 0
        if self._choices > MAX_CHOICES:
            raise SchemaError(f"{where}: at most {MAX_CHOICES} enum values in all")
        named = [schema.get(word) or {} for word in _NAMED]
        if any(isinstance(part, dict) and len(part) > MAX_PROPERTIES for part in named):
            raise SchemaError(f"{where}: at most {MAX_PROPERTIES} properties in one object")
        patterns = [schema.get("pattern"), *(schema.get("patternProperties") or ())]
        if any(isinstance(text, str) and len(text) > MAX_PATTERN for text in patterns):
            raise SchemaError(f"{where}: a pattern has at most {MAX_PATTERN} characters")

    def _resolve(self, ref: Any, where: str) -> Any:
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise SchemaError(f"{where}: $ref must point into the schema, such as '#/$defs/item'")
        if ref == "#":
            raise SchemaError(f"{where} refers to itself by '#'; write the levels out")
        found: Any = self._root
        for part in ref[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                raise SchemaError(f"{where}: $ref {ref!r} leads nowhere")
            found = found[key]
        return found


def _inner(schema: dict[str, Any], where: str) -> Iterator[tuple[Any, str]]:
    """The schemas that stand directly within one, each with its place."""
    for word in _ONE:
        if word in schema and schema[word] is not None:
            yield schema[word], f"{where}.{word}"
    for word in _LISTED:
        listed = schema.get(word) or []
        if not isinstance(listed, list):
            raise SchemaError(f"{where}.{word} must be a list")
        yield from ((item, f"{where}.{word}[{at}]") for at, item in enumerate(listed))
    for word in _NAMED:
        named = schema.get(word) or {}
        if not isinstance(named, dict):
            raise SchemaError(f"{where}.{word} must be an object")
        yield from ((item, f"{where}.{name}") for name, item in named.items())
