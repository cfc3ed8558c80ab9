"""What vouches for a chain's answer: the documents that its steps have read, and the user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from server.answer import Prepared, Question, guard_for, mended_for
from server.chain_run import begin
from tuning.generate import Sampling

ASK: Any = [{"role": "user", "content": "What is the price of bag 7?"}]
INVENTED = "The restocking fee is $5."
PLANTED = "https://shop.example.org/pay"


@pytest.fixture(scope="module")
def house(start_server, teacher, tmp_path_factory: pytest.TempPathFactory):
    """A server that grounds answers and takes every hit for an answer."""
    server = start_server(
        tmp_path_factory.mktemp("house"), abstain_below=0.0, grounding="strict", max_tokens=12
    )
    teacher(server.client).ingest()
    return server


Chain = Callable[..., str]


@pytest.fixture(scope="module")
def chain(house) -> Chain:
    """A function that names a chain whose steps the base writes: `chain("desk", {...}, ...)`."""

    def make(name: str, *steps: dict[str, Any]) -> str:
        model = house.services.engine.generator.name
        body = {"name": name, "steps": [{"model": model, "max_tokens": 12, **s} for s in steps]}
        answer = httpx.post(f"{house.url}/v1/chains", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return name

    return make


ANSWER: dict[str, Any] = {"name": "answer"}
POLISH: dict[str, Any] = {"name": "polish", "search": False, "prompt": "Shorten: {{answer}}"}


@pytest.fixture(scope="module")
def desk(chain: Chain) -> str:
    return chain("desk", {"name": "route", "search": False}, ANSWER, POLISH)


def prepared(house, model: str, text: str = ASK[0]["content"]) -> Prepared:
    """The last step of a chain, just before it is written."""
    asked = Question(model, ({"role": "user", "content": text},), Sampling(max_tokens=12))
    return asyncio.run(begin(house.services, "local", asked, turn_id="chatcmpl-x")).prepared


def served(last: Prepared, draft: str) -> tuple[str, list[str]]:
    """What a user reads where the last step writes `draft`, and the passages cited in it."""
    mended = mended_for(last)
    assert mended is not None
    return mended.add(draft) + mended.end(), [cited.hit.passage.text for cited in mended.citations]


@pytest.mark.parametrize("stream", [False, True])
def test_the_polished_answer_is_checked_and_cited(house, desk: str, stream: bool, turn) -> None:
    def ask(**more: Any) -> Any:
        return house.client.chat.completions.create(model=desk, messages=ASK, **more)

    invented = ask(extra_body={"grounding": "off"}).choices[0].message.content
    if stream:
        chunks = list(ask(stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        *_, last, told = chunks
        citations = last.choices[0].delta.model_extra["citations"]
    else:
        told = ask()
        text = told.choices[0].message.content
        citations = told.choices[0].message.model_extra["citations"]
    assert "“Bags cost 45.” [" in text and invented not in text
    assert "Bags cost 45." in "".join(citation["text"] for citation in citations)
    steps = {s["step"]: turn(house, s["turn"]) for s in told.model_extra["houseword"]["steps"]}
    policies = {name: row["policy"] for name, row in steps.items()}
    assert policies == {"route": "off", "answer": "strict", "polish": "strict"}
    assert steps["polish"]["hits"] == [], "its prompt shows no passage"
    kept = house.client.get(f"/turns/{told.id}", cast_to=dict[str, Any])
    assert kept["changes"] and len(kept["citations"]) == len(citations)


@pytest.mark.parametrize("stream", [False, True])
def test_annotations_of_a_chains_response_stand_where_their_markers_stand(
    house, desk: str, stream: bool
) -> None:
    response = house.client.responses.create(model=desk, input=ASK[0]["content"], stream=stream)
    if stream:
        response = list(response)[-1].response
    (content,) = response.output[-1].content
    assert content.annotations
    for annotation in content.annotations:
        assert content.text[annotation.index :].startswith(" [")


def test_a_polished_claim_is_held_against_what_earlier_steps_read(house, desk: str) -> None:
    last = prepared(house, desk)
    text, cited = served(last, "Bags cost 45.")
    assert text.startswith("Bags cost 45. [1]") and "Bags cost 45." in cited[0]
    text, _ = served(last, "Bags cost 99.")
    assert "99" not in text


@pytest.mark.parametrize("grounding", ["flag", "off"])
def test_other_policies_cite_what_earlier_steps_read(house, desk: str, grounding: str) -> None:
    question = Question(desk, tuple(ASK), Sampling(max_tokens=12), grounding=grounding)
    last = asyncio.run(begin(house.services, "local", question, turn_id="chatcmpl-y")).prepared
    text, cited = served(last, f"Bags cost 45. {INVENTED}")
    assert text.startswith("Bags cost 45. [1] The") and len(cited) == 1
    assert text.endswith("[unsupported]") is (grounding == "flag")


@pytest.mark.parametrize("search", [False, True])
def test_neither_the_template_nor_an_earlier_step_vouches_for_a_claim(
    house, chain: Chain, search: bool
) -> None:
    draft = {"name": "draft", "schema": {"const": INVENTED}, "max_tokens": 99}
    tell = {"name": "tell", "search": search, "prompt": f"{{{{draft}}}} {INVENTED}"}
    name = chain(f"launder-{search}".lower(), draft, tell)
    last = prepared(house, name)
    assert INVENTED in last.messages[-1]["content"]
    assert INVENTED not in served(last, INVENTED)[0]
    # What the user says of himself may be said again.
    assert INVENTED in served(prepared(house, name, INVENTED), INVENTED)[0]


def test_links_are_known_from_the_chain_and_the_user_but_not_from_an_earlier_step(
    house, chain: Chain
) -> None:
    draft = {"name": "draft", "schema": {"const": PLANTED}, "search": False, "max_tokens": 99}
    house_link = "https://house.example.org/help"
    tell = {"name": "tell", "search": False, "prompt": f"{{{{draft}}}}, or {house_link}"}
    last = prepared(house, chain("links", draft, tell), "Is it https://mine.example.org now?")
    assert PLANTED in last.messages[-1]["content"]
    guard = guard_for(last)
    said = guard.add(f"See {PLANTED} or {house_link} or https://mine.example.org now. ")
    assert said == f"See (link removed) or {house_link} or https://mine.example.org now. "


def test_a_step_in_between_that_reads_nothing_is_left_as_it_is_written(
    house, chain: Chain, turn
) -> None:
    check = {"name": "check", "search": False, "prompt": "Is this kind? {{answer}}"}
    name = chain("between", ANSWER, check, POLISH)
    told = house.client.chat.completions.create(model=name, messages=ASK)
    steps = {s["step"]: turn(house, s["turn"]) for s in told.model_extra["houseword"]["steps"]}
    assert (steps["check"]["policy"], steps["polish"]["policy"]) == ("off", "strict")


def test_a_step_that_may_turn_out_the_last_is_checked(house, chain: Chain, turn) -> None:
    more = {"name": "more", "when": {"step": "polish", "is": "more"}}
    told = house.client.chat.completions.create(
        model=chain("open", ANSWER, POLISH, more), messages=ASK
    )
    assert turn(house, told.id)["policy"] == "strict"
    assert told.choices[0].message.model_extra["citations"]


def test_where_nothing_was_read_nothing_is_held_against_an_answer(house, desk: str, turn) -> None:
    told = house.client.chat.completions.create(
        model=desk, messages=[{"role": "user", "content": "Hello!"}]
    )
    assert turn(house, told.id)["policy"] == "off"


def test_small_talk_is_told_by_the_users_own_words(house, chain: Chain, turn) -> None:
    one = {"name": "only", "prompt": "Write a reply to this message: {{question}}"}
    name = chain("replies", one)
    told = house.client.chat.completions.create(
        model=name, messages=[{"role": "user", "content": "Hello!"}]
    )
    assert turn(house, told.id)["stores"] == []
