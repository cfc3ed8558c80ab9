"""A chain: a few steps, each with its own voice, stores, prompt and output schema.

A step's prompt is a template: `{{question}}` is what the user asked, `{{route}}` what the step
`route` wrote, `{{route.kind}}` a field of it. `when` lets a step run only where an earlier one
wrote certain values. The answer is that of the last step that ran.

Pure planning and checking; `chain_run` runs it. Read `plan` first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.errors import ApiError

MAX_STEPS = 8
MAX_TEMPLATE = 8_000  # characters
NAME = re.compile(r"[a-z0-9-]{1,40}")
QUESTION = "question"
_PLACE = re.compile(r"\{\{\s*([a-z0-9-]+)(?:\.([^\s{}]+))?\s*\}\}")
_FIELDS = ("name", "model", "prompt", "vector_store_ids", "search", "schema", "max_tokens", "when")


@dataclass(frozen=True, slots=True)
class When:
    """A step runs where an earlier step (or one field of what it wrote) has one of the values."""

    step: str
    values: tuple[Any, ...]
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `stores` None leaves the choice to the request, `search` False reads none."""

    name: str
    model: str
    prompt: str
    stores: tuple[str, ...] | None = None
    search: bool = True
    schema: dict[str, Any] | None = None
    max_tokens: int | None = None
    when: When | None = None


def plan(raw: Sequence[Any]) -> tuple[Step, ...]:
    """The steps as given, checked against each other; raises a 400 that names the step at fault."""
    if not 1 <= len(raw) <= MAX_STEPS:
        raise refused("steps", f"A chain has 1 to {MAX_STEPS} steps.")
    steps: list[Step] = []
    for number, value in enumerate(raw):
        steps.append(_step(value, f"steps[{number}]", {step.name: step for step in steps}))
    return tuple(steps)


def fill(template: str, question: str, written: Mapping[str, str]) -> str:
    """The template with what was asked and written; a step that did not run leaves nothing."""

    def value(match: re.Match[str]) -> str:
        name, field = match[1], match[2]
        if name == QUESTION:
            return question
        text = written.get(name, "")
        found = _field(text, field) if field else text
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _PLACE.sub(value, template)


def runs(step: Step, written: Mapping[str, str], skipped: Sequence[str]) -> bool | None:
    """Whether a step runs, after what was written; None while the step that decides is to come."""
    if step.when is None:
        return True
    if step.when.step in skipped:
        return False
    if step.when.step not in written:
        return None
    text = written[step.when.step]
    found = _field(text, step.when.field) if step.when.field else text.strip()
    return any(found == value and type(found) is type(value) for value in step.when.values)


def refused(param: str, message: str) -> ApiError:
    """A 400 that names what is at fault."""
    return ApiError(400, message, param=param, code="invalid_chain")


def _field(text: str, field: str) -> Any:
    """A field of the JSON that a step wrote; an empty text where there is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    for part in field.split("."):
        if not isinstance(found, dict) or part not in found:
            return ""
        found = found[part]
    return found


def _step(value: Any, where: str, before: Mapping[str, Step]) -> Step:
    if not isinstance(value, dict):
        raise refused(where, f"{where} must be an object.")
    if unknown := [name for name in value if name not in _FIELDS]:
        raise refused(
            where, f"{where}: {unknown[0]!r} is not known; known are {', '.join(_FIELDS)}."
        )
    name = value.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == QUESTION:
        raise refused(where, f"{where}: a step's name is 1 to 40 of a-z, 0-9 and -.")
    if name in before:
        raise refused(where, f"{where}: there is a step {name!r} already.")
    where = f"{where} ({name})"
    model, prompt = value.get("model"), value.get("prompt", "{{question}}")
    if not isinstance(model, str):
        raise refused(where, f"{where}: model names who speaks.")
    if not isinstance(prompt, str) or not 1 <= len(prompt.strip()) <= MAX_TEMPLATE:
        raise refused(where, f"{where}: a prompt has 1 to {MAX_TEMPLATE} characters.")
    _check_places(prompt, where, before)
    stores, schema = value.get("vector_store_ids"), value.get("schema")
    if stores is not None and not (
        isinstance(stores, list) and all(isinstance(store, str) for store in stores)
    ):
        raise refused(where, f"{where}: vector_store_ids is a list of ids.")
    if schema is not None and not isinstance(schema, dict):
        raise refused(where, f"{where}: the schema must be an object.")
    tokens, search = value.get("max_tokens"), value.get("search", True)
    if tokens is not None and (type(tokens) is not int or tokens < 1):
        raise refused(where, f"{where}: max_tokens is a whole number above 0.")
    if not isinstance(search, bool):
        raise refused(where, f"{where}: search is true or false.")
    return Step(
        name=name,
        model=model,
        prompt=prompt,
        stores=None if stores is None else tuple(stores),
        search=search,
        schema=schema,
        max_tokens=tokens,
        when=_when(value.get("when"), where, before),
    )


def _check_places(prompt: str, where: str, before: Mapping[str, Step]) -> None:
    for match in _PLACE.finditer(prompt):
        name, field = match[1], match[2]
        if name != QUESTION and name not in before:
            raise refused(where, f"{where}: {match[0]} names no earlier step.")
        if field and (name == QUESTION or before[name].schema is None):
            raise refused(where, f"{where}: {match[0]} needs a step with a schema.")
    if "{{" in _PLACE.sub("", prompt):
        raise refused(where, f"{where}: '{{{{' opens no {{{{question}}}} and no {{{{step}}}}.")


def _when(value: Any, where: str, before: Mapping[str, Step]) -> When | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) - {"step", "field", "is"}:
        raise refused(where, f"{where}: when is an object of step, field and is.")
    step, field, values = value.get("step"), value.get("field"), value.get("is")
    values = values if isinstance(values, list) else [values]
    if not values or not all(isinstance(item, str | bool | int | float) for item in values):
        raise refused(where, f"{where}: when is one plain value, or several.")
    if not isinstance(step, str) or step not in before:
        raise refused(where, f"{where}: when names no earlier step.")
    if field is not None and (not isinstance(field, str) or before[step].schema is None):
        raise refused(where, f"{where}: a field needs a step with a schema.")
    return When(step, tuple(values), field)
