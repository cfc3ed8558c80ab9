"""The plan of a chain, without a server: what is refused, what is filled in, which steps run."""

from __future__ import annotations

from typing import Any

import pytest

from server.chain import MAX_STEPS, fill, plan, runs
from server.errors import ApiError

SCHEMA = {"type": "object"}
ROUTE = {"name": "route", "model": "m", "schema": SCHEMA}


def step(**fields: Any) -> dict[str, Any]:
    return {"name": "answer", "model": "m", **fields}


def test_a_plan_reads_as_it_was_given() -> None:
    when = {"step": "route", "field": "kind", "is": ["a", "b"]}
    route, answer = plan([ROUTE, step(prompt="{{question}} {{route.kind}}", when=when)])
    assert (route.prompt, route.stores, route.search) == ("{{question}}", None, True)
    assert answer.when is not None and answer.when.values == ("a", "b")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "1 to 8 steps"),
        ([step(name=f"s{n}") for n in range(MAX_STEPS + 1)], "1 to 8 steps"),
        (["x"], "steps[0]"),
        ([{"name": "Answer", "model": "m"}], "name"),
        ([{"name": "question", "model": "m"}], "name"),
        ([step(), step()], "already"),
        ([step(model=3)], "model"),
        ([step(prompt="")], "prompt"),
        ([step(prompt="x" * 9000)], "prompt"),
        ([step(prompt="{{later}}"), step(name="later")], "no earlier step"),
        ([step(prompt="{{answer}}")], "no earlier step"),
        ([step(prompt="{{ x y }}")], "opens no"),
        ([{**ROUTE, "schema": None}, step(prompt="{{route.kind}}")], "schema"),
        ([step(schema=[1])], "schema"),
        ([step(vector_store_ids="vs_1")], "vector_store_ids"),
        ([step(max_tokens=0)], "max_tokens"),
        ([step(max_tokens=True)], "max_tokens"),
        ([step(search="no")], "search"),
        ([step(colour="blue")], "'colour' is not known"),
        ([step(when={"step": "route", "is": "a"})], "no earlier step"),
        ([ROUTE, step(when={"step": "route", "is": {}})], "when is"),
        ([ROUTE, step(when={"step": "route", "is": []})], "when is"),
        ([ROUTE, step(when="route")], "when is"),
        (
            [{**ROUTE, "schema": None}, step(when={"step": "route", "field": "k", "is": 1})],
            "schema",
        ),
    ],
)
def test_a_wrong_plan_is_refused_naming_the_step(steps: list[Any], said: str) -> None:
    with pytest.raises(ApiError) as refused:
        plan(steps)
    assert refused.value.status == 400 and said in refused.value.message


def test_a_template_is_filled_once_and_what_was_written_is_not_read_as_one() -> None:
    written = {"route": '{"kind": "a", "n": {"m": [1]}}', "answer": "{{question}}"}
    assert fill("{{question}}|{{ answer }}|{{route.kind}}", "q", written) == "q|{{question}}|a"
    assert fill("{{route.n.m}}{{route.none}}{{gone}}", "q", written) == "[1]"


def test_a_step_runs_where_the_earlier_one_wrote_the_value() -> None:
    _, answer = plan([ROUTE, step(when={"step": "route", "field": "n", "is": [1, "x"]})])
    assert runs(answer, {}, []) is None
    assert runs(answer, {"route": '{"n": 1}'}, []) is True
    assert runs(answer, {"route": '{"n": "x"}'}, []) is True
    for other in ('{"n": true}', '{"n": "1"}', "{}", "no JSON"):
        assert runs(answer, {"route": other}, []) is False
    assert runs(answer, {}, ["route"]) is False
    (_, plain) = plan([ROUTE, step(when={"step": "route", "is": "returns"})])
    assert runs(plain, {"route": " returns\n"}, []) is True
