"""Writing: the same as the slow obvious way, whatever is going on beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tuning.adapter import AdapterSet
from tuning.errors import PromptTooLong
from tuning.generate import Piece, Sampling, Written, answer
from tuning.generator import Generator

MakeAdapter = Callable[..., str]
CHARACTERS = st.sampled_from("ab é日🎉")


@pytest.fixture(scope="module")
def generator(make_generator: Callable[[], Generator]) -> Generator:
    """One generator for all tests that load no adapter; it never ends a turn by itself."""
    return replace(make_generator(), stop_ids=frozenset())


@pytest.fixture(scope="module")
def prompt(generator: Generator) -> list[int]:
    return generator.template.prompt([{"role": "user", "content": "What does a bag cost?"}])


def write(generator: Generator, prompt: Sequence[int], **sampling: object) -> list[Piece]:
    chosen = Sampling(**{"max_tokens": 40, **sampling})  # type: ignore[arg-type]
    return list(answer(generator, prompt, chosen, context_tokens=512))


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@torch.inference_mode()
def slow_greedy(generator: Generator, prompt: Sequence[int], tokens: int) -> list[int]:
    """Greedy writing by whole forward passes, without a cache."""
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(generator.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


# -- the tokens


def test_greedy_writing_equals_full_passes_without_a_cache(
    generator: Generator, prompt: list[int]
) -> None:
    ids = slow_greedy(generator, prompt, 40)
    assert len(set(ids)) > 5, "a monotonous model shows nothing"
    assert text_of(write(generator, prompt)) == generator.template.decode(ids).rstrip("\ufffd")


def test_an_answer_ends_with_the_end_of_turn_token_and_does_not_show_it(
    generator: Generator, prompt: list[int]
) -> None:
    ids = slow_greedy(generator, prompt, 40)
    end = next(i for i in ids[5:] if ids.index(i) >= 5)
    ending = replace(generator, stop_ids=frozenset([end]))
    pieces = write(ending, prompt)
    count = ids.index(end)
    assert (pieces[-1].finish_reason, pieces[-1].tokens) == ("stop", count + 1)
    assert text_of(pieces) == generator.template.decode(ids[:count]).rstrip("\ufffd")


def test_max_tokens_is_the_number_of_tokens_written(
    generator: Generator, prompt: list[int]
) -> None:
    for wanted in (1, 7):
        pieces = write(generator, prompt, max_tokens=wanted)
        assert [piece.tokens for piece in pieces] == list(range(1, wanted + 1))
        assert [p.finish_reason for p in pieces] == [None] * (wanted - 1) + ["length"]


def test_an_answer_stops_where_the_context_is_full(generator: Generator, prompt: list[int]) -> None:
    room = 3
    pieces = list(answer(generator, prompt, Sampling(), context_tokens=len(prompt) + room))
    assert (pieces[-1].tokens, pieces[-1].finish_reason) == (room, "length")


def test_a_prompt_that_leaves_no_room_is_refused_with_both_figures(
    generator: Generator, prompt: list[int]
) -> None:
    with pytest.raises(PromptTooLong, match=f"has {len(prompt)} tokens; the context holds 10"):
        next(answer(generator, prompt, Sampling(), context_tokens=10))


# -- sampling


def test_a_seed_reproduces_an_answer(generator: Generator, prompt: list[int]) -> None:
    def draw(seed: int | None) -> str:
        return text_of(write(generator, prompt, temperature=1.0, seed=seed))

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(4)}) == 4
    assert len({draw(None) for _ in range(3)}) == 3, "no seed: every answer its own"


def test_other_answers_draws_do_not_disturb_a_seeded_one(
    generator: Generator, prompt: list[int]
) -> None:
    alone = text_of(write(generator, prompt, temperature=1.0, seed=1))
    sampling = Sampling(max_tokens=40, temperature=1.0, seed=1)
    beside = answer(generator, prompt, replace(sampling, seed=None), context_tokens=512)
    pieces = []
    for piece in answer(generator, prompt, sampling, context_tokens=512):
        torch.rand(3)
        next(beside, None)
        pieces.append(piece)
    assert text_of(pieces) == alone


def test_a_narrow_nucleus_is_greedy(generator: Generator, prompt: list[int]) -> None:
    narrow = write(generator, prompt, temperature=1.0, top_p=1e-6, seed=5)
    assert text_of(narrow) == text_of(write(generator, prompt))


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
def test_a_heavy_penalty_never_repeats_a_token(
    generator: Generator, prompt: list[int], penalty: str
) -> None:
    # In float32 the penalty once wrote into the model's own logits, which torch forbids.
    pieces = write(generator, prompt, **{penalty: 1000.0})
    assert pieces[-1].tokens == 40
    written = text_of(pieces).replace("\ufffd", "")
    tokens = generator.template.text(written)
    assert len(tokens) > 5 and len(tokens) == len(set(tokens))


# -- interleaving


def test_interleaved_answers_with_two_adapters_equal_serial_ones(
    make_generator: Callable[[], Generator], make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    generator = make_generator()
    voices = [None, *(make_adapter(tmp_path, seed=seed) for seed in (1, 2))]
    adapters = AdapterSet(generator, folder=tmp_path, prompt_digest="a-prompt-format")
    asked = [(voice, "Well? " * n) for n, voice in enumerate([*voices, *voices])]

    def begin(question: str) -> Iterator[Piece]:
        ids = generator.template.prompt([{"role": "user", "content": question}])
        sampling = Sampling(max_tokens=20, temperature=0.7, seed=len(question))
        return answer(generator, ids, sampling, context_tokens=512)

    serial = []
    for voice, question in asked:
        adapters.select(voice)
        serial.append(text_of(list(begin(question))))
    assert len(set(serial)) == len(serial)

    running = [(n, voice, begin(question)) for n, (voice, question) in enumerate(asked)]
    interleaved = [""] * len(asked)
    while running:
        for slot in list(running):
            n, voice, pieces = slot
            adapters.select(voice)
            piece = next(pieces)
            interleaved[n] += piece.text
            if piece.finish_reason:
                running.remove(slot)
    assert interleaved == serial


# -- the text


def test_a_stop_text_across_tokens_ends_the_answer_before_it(
    generator: Generator, prompt: list[int]
) -> None:
    whole = text_of(write(generator, prompt))
    stop = whole[len(whole) // 2 :][:3]
    pieces = write(generator, prompt, stop=("never written", stop))
    assert text_of(pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop" and pieces[-1].tokens < 40


def pieces_of(generator: Generator, text: str, stop: Sequence[str]) -> tuple[list[str], bool]:
    """What is sent while the bytes of a text come in, one token each."""
    written = Written(generator, stop)
    pieces = []
    for token in generator.template.text(text):
        pieces.append(written.add(token))
        if written.stopped:
            return pieces, True
    return [*pieces, written.rest()], False


def cut_at_stop(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The obvious way: read on character by character until a stop text stands there."""
    for end in range(len(text) + 1):
        places = [at for stop in stops if (at := text[:end].find(stop)) >= 0]
        if places:
            return text[: min(places)], True
    return text, False


@given(
    text=st.text(CHARACTERS, max_size=30),
    stops=st.lists(st.text(CHARACTERS, min_size=1, max_size=4), max_size=4),
)
def test_what_is_sent_is_the_text_up_to_the_first_stop(
    generator: Generator, text: str, stops: list[str]
) -> None:
    pieces, stopped = pieces_of(generator, text, stops)
    assert ("".join(pieces), stopped) == cut_at_stop(text, stops)


def test_a_character_of_several_bytes_is_never_sent_in_halves(generator: Generator) -> None:
    text = "né 日本語 🎉!"
    pieces, _ = pieces_of(generator, text, ())
    assert [piece for piece in pieces if piece] == list(text)
    assert len(pieces) > len(text)


def test_half_a_character_at_the_end_is_dropped(generator: Generator) -> None:
    written = Written(generator, ())
    for token in generator.template.text("a🎉")[:-1]:
        written.add(token)
    assert written.rest() == ""


def test_bytes_that_are_no_character_do_not_hold_back_the_rest(generator: Generator) -> None:
    written = Written(generator, ())
    first_half = generator.template.text("é")[0]
    pieces = [written.add(token) for token in [first_half, *generator.template.text("abc")]]
    assert pieces == ["", "\ufffda", "b", "c"]
