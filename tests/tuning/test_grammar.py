"""Answers held to a schema or to a list of texts, written by a model that knows neither."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import torch
from pydantic import BaseModel, Field

from tuning.errors import SchemaError
from tuning.generate import Piece, Sampling, answer
from tuning.generator import Generator
from tuning.grammar import Grammars


class Line(BaseModel, extra="forbid"):
    sku: str = Field(pattern="^[A-Z]{2}-[0-9]{3}$")
    count: int = Field(ge=1, le=20)


class Order(BaseModel, extra="forbid"):
    urgent: bool
    kind: str = Field(json_schema_extra={"enum": ["return", "exchange"]})
    note: str | None = Field(max_length=20)
    lines: list[Line] = Field(min_length=1, max_length=3)


@pytest.fixture(scope="module")
def generator(make_generator: Any) -> Generator:
    return make_generator()


@pytest.fixture(scope="module")
def grammars(generator: Generator) -> Grammars:
    return Grammars(generator)


@pytest.fixture(scope="module")
def prompt(generator: Generator) -> list[int]:
    return generator.template.prompt([{"role": "user", "content": "What is it?"}])


def write(
    generator: Generator, grammars: Grammars, prompt: list[int], grammar: str, **sampling: Any
) -> list[Piece]:
    return list(
        answer(
            generator,
            prompt,
            Sampling(**{"max_tokens": 600, **sampling}),
            context_tokens=2048,
            constraint=grammars.constraint(grammar),
        )
    )


@pytest.mark.parametrize("seed", range(8))
def test_what_ends_by_itself_meets_the_schema(generator, grammars, prompt, seed: int) -> None:
    grammar = grammars.of_schema(Order.model_json_schema())
    pieces = write(generator, grammars, prompt, grammar, temperature=1.5, seed=seed)
    assert pieces[-1].finish_reason == "stop"
    order = Order.model_validate_json("".join(piece.text for piece in pieces), strict=True)
    assert order.kind in ("return", "exchange")


def test_what_is_cut_says_length(generator, grammars, prompt) -> None:
    grammar = grammars.of_schema({"type": "string", "minLength": 50})
    pieces = write(generator, grammars, prompt, grammar, max_tokens=10)
    assert (pieces[-1].finish_reason, pieces[-1].tokens) == ("length", 10)


def test_one_of_the_texts_is_written_and_nothing_else(generator, grammars, prompt) -> None:
    texts = ("ab", "abc", 'say "yes"', "new\nline", "\u00dcber 日本")
    grammar = grammars.of_texts(texts)
    written = {
        "".join(p.text for p in write(generator, grammars, prompt, grammar, temperature=2, seed=n))
        for n in range(30)
    }
    assert written <= set(texts) and len(written) > 2


def test_special_tokens_are_no_text_of_a_string(generator, grammars, prompt) -> None:
    grammar = grammars.of_schema({"type": "string", "minLength": 200})
    constraint = grammars.constraint(grammar)
    constraint.accept(generator.template.text('"')[0])
    allowed = constraint.restrict(torch.zeros(len(generator.template.tokenizer))).isfinite()
    assert allowed.sum() > 90
    assert not any(allowed[i] for i in generator.template.tokenizer.all_special_ids)


def test_rows_under_a_schema_and_free_rows_do_not_disturb_each_other(
    generator, grammars, prompt
) -> None:
    grammar = grammars.of_schema({"type": "object", "properties": {"a": {"type": "integer"}}})

    def free() -> Any:
        return answer(generator, prompt, Sampling(max_tokens=30), context_tokens=2048)

    def held() -> Any:
        constraint = grammars.constraint(grammar)
        sampling = Sampling(max_tokens=30)
        return answer(generator, prompt, sampling, context_tokens=2048, constraint=constraint)

    alone = [list(free()), list(held())]
    together: list[list[Piece]] = [[], []]
    going = {0: free(), 1: held()}
    while going:
        for row, pieces in list(going.items()):
            piece = next(pieces, None)
            if piece is None:
                del going[row]
            else:
                together[row].append(piece)
    assert together == alone
    assert json.loads("".join(piece.text for piece in alone[1])) is not None


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "strin"}, "strin"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"not": {"type": "string"}}, "not"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "string", "format": "nonsense"}, "nonsense"),
        ({"type": "integer", "minimum": 3, "maximum": 1}, "minimum"),
        ({"type": "string", "enum": [3]}, "nsatisfiable"),
        ({"allOf": [{"anyOf": [{"type": "object", "properties": {f"p{i}{j}": {}}}
                               for j in range(4)]} for i in range(10)]}, "too large"),
        ({"type": "array", "items": {"type": "array", "minItems": 10**9}, "minItems": 10**9},
         None),
        ({"type": "string", "pattern": "^(((a{1,99}){1,99}){1,99}){1,99}$"}, None),
        ({"type": "string", "pattern": "^(.*a.{300}|.*b.{301})$"}, None),
        ({"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(200)}},
         None),
    ],
)  # fmt: skip
def test_what_cannot_be_compiled_is_refused_and_what_can_costs_little(
    generator, grammars, prompt, schema: dict[str, Any], said: str | None
) -> None:
    began = time.monotonic()
    if said:
        with pytest.raises(SchemaError, match=said):
            grammars.of_schema(schema)
    else:
        try:
            pieces = write(generator, grammars, prompt, grammars.of_schema(schema), max_tokens=20)
            assert pieces[-1].finish_reason in ("length", "stop")
        except SchemaError as error:
            assert "cannot be" in str(error)
    assert time.monotonic() - began < 3  # the model's own time is in it
