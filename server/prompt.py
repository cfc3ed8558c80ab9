"""Question and hits to messages: the one function that builds prompts, here and in training.

Pure: no model, no database. Its format has a version number and a digest (`tuning.template`
hashes the token ids of `FIXTURES` as built here); an adapter remembers the digest it was
trained with, so a voice is never served in a form that it has not seen.

Read `build` first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Message = dict[str, str]
CountTokens = Callable[[str], int]

VERSION = 2
LONGEST_TOKEN = 100  # characters; longer text per token of the context cannot fit
MESSAGE_TOKENS = 8  # of a message beside its words, at most
WITH_PASSAGES = (
    "Answer from these passages of the house's documents. "
    "If they do not hold the answer, say that you do not have it."
)
WITHOUT_PASSAGES = "You answer for the house. Be brief, and do not invent facts."
HIGHLIGHTS = "Most to the point: {}"
NO_HIGHLIGHTS = "None of these passages seems to answer the question."
OWN_NAMES = frozenset("Answer You Most None Question".split())  # none of these is a name here


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the prompt shows of a hit or a sentence: its text, and the heading it stands under."""

    text: str
    heading: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """The messages to encode, and how many of the hits they show (the first `shown`)."""

    messages: tuple[Message, ...]
    shown: int


def build(
    messages: Sequence[Message],
    evidence: Sequence[Evidence],
    *,
    budget: int,
    count_tokens: CountTokens,
    highlights: Sequence[Evidence] | None = None,
    room: int | None = None,
) -> Prompt:
    """Build the prompt of one answer from a conversation and its hits, best hit first.

    `room` is how many tokens the whole may have: the oldest turns are left out until it fits, and
    a long question leaves less for passages. None: whatever it needs.

    Hits are shown while they fit into `budget` tokens (the first is always shown, cut at the
    budget); the best stands last. Behind it come the `highlights`: the sentences that answer
    best or, where there are none, a word that nothing seems to; None says neither. A system
    message of the caller's is kept in front of the house's instruction. `messages` ends with
    the user's question.
    """
    *history, last = messages
    system = [m["content"] for m in history if m["role"] == "system"]
    talk = [m for m in history if m["role"] != "system"]
    question = last["content"]
    instruction = "\n\n".join([*system, WITH_PASSAGES if evidence else WITHOUT_PASSAGES])
    told = _told(highlights) if evidence else []
    if room is not None:
        room -= sum(map(count_tokens, (question, instruction, *told))) + 2 * MESSAGE_TOKENS
        budget = max(0, min(budget, room))
    shown, spent = _shown(evidence, budget, count_tokens)
    if shown:
        question = "\n\n".join([*reversed(shown), *told, f"Question: {question}"])
    if room is not None:
        talk = _newest(talk, room - spent, count_tokens)
    return Prompt(
        messages=(
            {"role": "system", "content": instruction},
            *talk,
            {"role": last["role"], "content": question},
        ),
        shown=len(shown),
    )


def finds_nothing(messages: Sequence[Message]) -> bool:
    """Whether a prompt as built here says that none of its passages seems to answer."""
    return NO_HIGHLIGHTS in messages[-1]["content"].split("\n\n")


def pointed_at(messages: Sequence[Message]) -> str:
    """The sentences that a prompt as built here points at, behind their headings; "" for none."""
    prefix = HIGHLIGHTS.format("")
    parts = messages[-1]["content"].split("\n\n")
    told = [part.removeprefix(prefix) for part in parts if part.startswith(prefix)]
    return told[-1] if told else ""


def _shown(
    evidence: Sequence[Evidence], budget: int, count_tokens: CountTokens
) -> tuple[list[str], int]:
    """The passages that fit into a budget, the first one in any case, and their tokens."""
    shown: list[str] = []
    room = budget
    for item in evidence:
        text = _passage(item)
        cost = count_tokens(text) + 2
        if cost > room:
            if shown:
                break
            text = text[: max(200, len(text) * room // cost)]
            cost = count_tokens(text) + 2
        shown.append(text)
        room -= cost
    return shown, budget - room


def _newest(talk: list[Message], room: int, count_tokens: CountTokens) -> list[Message]:
    """The newest whole turns that `room` tokens hold; a turn begins with the user's message."""
    kept = len(talk)
    for start in reversed(range(len(talk))):
        content = talk[start]["content"]
        if len(content) > LONGEST_TOKEN * max(room, 0):  # nobody need read what cannot fit
            break
        room -= count_tokens(content) + MESSAGE_TOKENS
        if room < 0:
            break
        if talk[start]["role"] == "user" or start == 0:
            kept = start
    return talk[kept:]


def _told(highlights: Sequence[Evidence] | None) -> list[str]:
    """What the prompt says of the sentences that answer best."""
    if highlights is None:
        return []
    best = " ".join(map(_passage, highlights))
    return [HIGHLIGHTS.format(best) if best else NO_HIGHLIGHTS]


def _passage(evidence: Evidence) -> str:
    text = " ".join(evidence.text.split())
    if evidence.heading and not text.startswith(evidence.heading):
        return f"{evidence.heading}: {text}"
    return text


_PASSAGES = (Evidence("Returns are taken for 45 days.", "Returns"), Evidence("Labels cost $7."))
FIXTURES: tuple[tuple[Message, ...], ...] = tuple(
    build(
        messages,
        evidence,
        budget=200,
        count_tokens=lambda text: len(text) // 4,
        highlights=highlights,
    ).messages
    for messages, evidence, highlights in (
        ([{"role": "user", "content": "How long do I have?"}], _PASSAGES, _PASSAGES[:1]),
        ([{"role": "user", "content": "Good morning"}], (), ()),
        (
            [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": "What does the post cost?"},
            ],
            _PASSAGES,
            (),
        ),
    )
)
