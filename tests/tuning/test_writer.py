"""Batched writing: every text equals the one that is written alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tuning import writer
from tuning.adapter import AdapterSet
from tuning.errors import PromptTooLong
from tuning.generate import Sampling, answer
from tuning.generator import Generator
from tuning.grammar import Grammars
from tuning.records import Prompt, Text

MakeAdapter = Callable[..., str]


@pytest.fixture(scope="module")
def generator(make_generator: Callable[[], Generator]) -> Generator:
    return make_generator()


def prompts(adapters: Sequence[str | None], *, count: int = 9) -> list[Prompt]:
    return [
        Prompt(
            f"p{n}",
            ({"role": "user", "content": f"Question {n}: " + "what does a bag cost? " * (n % 5)},),
            adapter,
            max_tokens=5 + 7 * (n % 3),
        )
        for adapter in adapters
        for n in range(count)
    ]


def written(
    generator: Generator, asked: Sequence[Prompt], select: Callable[[str | None], None]
) -> dict[tuple[str, str | None], Text]:
    texts = list(writer.write(generator, asked, select=select, context_tokens=512))
    assert len(texts) == len(asked)
    return {(text.id, text.adapter): text for text in texts}


def alone(generator: Generator, prompt: Prompt) -> tuple[str, int, str | None]:
    pieces = list(
        answer(
            generator,
            generator.template.prompt(prompt.messages),
            Sampling(max_tokens=prompt.max_tokens),
            context_tokens=512,
        )
    )
    text = "".join(piece.text for piece in pieces).strip()
    return text, pieces[-1].tokens, pieces[-1].finish_reason


def test_a_batch_holds_each_text_to_its_own_grammar(generator: Generator) -> None:
    grammars = Grammars(generator)
    labels = grammars.of_texts(["refund", "return"])
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}},
        "required": ["sure"],
        "additionalProperties": False,
    }
    free, *held = (replace(prompt, max_tokens=40) for prompt in prompts([None], count=3))
    asked = [
        free,
        replace(held[0], grammar=labels),
        replace(held[1], grammar=grammars.of_schema(schema)),
    ]
    texts = written(generator, asked, lambda _: None)
    assert texts["p1", None].text in ("refund", "return")
    assert isinstance(json.loads(texts["p2", None].text)["sure"], bool)
    assert {texts[f"p{n}", None].finish_reason for n in (1, 2)} == {"stop"}
    assert texts["p0", None].text == alone(generator, free)[0]


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_a_text_is_the_same_in_a_batch_and_alone(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(writer, "BATCH_ROWS", rows)
    asked = prompts([None])
    texts = written(generator, asked, lambda _: None)
    expected = {prompt.id: alone(generator, prompt) for prompt in asked}
    assert len({text for text, _, _ in expected.values()}) > 3, "a monotonous model shows nothing"
    assert {
        id_: (text.text, text.tokens, text.finish_reason) for (id_, _), text in texts.items()
    } == expected


def test_texts_that_end_early_leave_the_batch_and_disturb_no_other(generator: Generator) -> None:
    asked = [replace(prompt, max_tokens=30) for prompt in prompts([None])]
    first = generator.template.text(alone(generator, asked[0])[0])
    ending = replace(generator, stop_ids=frozenset([first[4]]))
    texts = written(ending, asked, lambda _: None)
    reasons = {text.finish_reason for text in texts.values()}
    assert reasons == {"stop", "length"}
    assert {id_: (t.text, t.tokens, t.finish_reason) for (id_, _), t in texts.items()} == {
        prompt.id: alone(ending, prompt) for prompt in asked
    }


def test_each_prompt_is_written_with_its_own_adapter(
    make_generator: Callable[[], Generator], make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    generator = make_generator()
    digests = [make_adapter(tmp_path, seed=seed) for seed in (1, 2)]
    adapters = AdapterSet(generator, folder=tmp_path, prompt_digest="a-prompt-format")
    asked = prompts([None, *digests], count=4)
    texts = written(generator, [*asked[::2], *asked[1::2]], adapters.select)
    for prompt in asked:
        adapters.select(prompt.adapter)
        assert texts[prompt.id, prompt.adapter].text == alone(generator, prompt)[0]


def test_a_given_reply_is_read_and_its_loss_is_that_of_a_whole_pass(generator: Generator) -> None:
    prompt = replace(prompts([None])[3], reply="It costs seven.")
    (text,) = written(generator, [prompt], lambda _: None).values()
    before = generator.template.prompt(prompt.messages)
    reply = generator.template.reply("It costs seven.")
    with torch.inference_mode():
        logits = generator.model(torch.tensor([before + reply])).logits[0]
    losses = [
        -torch.log_softmax(logits[len(before) + i - 1], -1)[token].item()
        for i, token in enumerate(reply)
    ]
    assert text.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert (text.text, text.finish_reason) == ("It costs seven.", "read")


def test_a_reply_is_read_as_far_as_it_fits(generator: Generator) -> None:
    prompt = replace(prompts([None])[3], reply="It costs seven. " * 200)
    (text,) = written(generator, [prompt], lambda _: None).values()
    assert text.tokens == 512 - len(generator.template.prompt(prompt.messages))
    assert text.loss is not None and text.text == prompt.reply


def test_a_prompt_that_does_not_fit_is_refused_by_its_name(generator: Generator) -> None:
    long = Prompt("gate-7", ({"role": "user", "content": "again " * 200},))
    with pytest.raises(PromptTooLong, match=r"gate-7 .* the context holds 512"):
        list(writer.write(generator, [long], select=lambda _: None, context_tokens=512))


def test_no_prompts_give_no_texts(generator: Generator) -> None:
    assert written(generator, [], lambda _: None) == {}
