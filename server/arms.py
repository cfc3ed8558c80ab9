"""The arms of a verdict: the ways in which one question can be answered. Pure.

Every arm builds its prompt with `prompt.build`, so it is asked as it would be served. A style
prompt is what someone without a trained voice would write: a few of the house's own replies as
turns before the question. Read `ARMS` first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from server.formulas import Formulas, formulas_of
from server.prompt import CountTokens, Evidence, Message, Prompt, build
from tuning.records import Row

SHOTS = 4
_DECLINES = ("none", "withheld")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer. `key` is its name in results, `title` its name for people.

    `tuned` is an arm that looks up by the store's tuned search; the others do by the base's.
    """

    key: str
    title: str
    few_shot: bool = False
    search: bool = False
    voice: bool = False
    tuned: bool = False


ARMS = (
    Arm("base", "base"),
    Arm("few_shot", "+few-shot", few_shot=True),
    Arm("search", "+search", search=True),
    Arm("tuned_search", "+tuned search", search=True, tuned=True),
    Arm("search_few_shot", "+search+few-shot", few_shot=True, search=True),
    Arm("voice", "+voice", voice=True),
    Arm("search_voice", "+search+voice", search=True, voice=True),
    Arm("tuned_search_voice", "+tuned search+voice", search=True, voice=True, tuned=True),
)


# What routes without a model; measured beside the arms where the voice's task is a label.
ROUTER = Arm("router", "embeddings + logistic regression")


def open_arms(*, few_shot: bool, search: bool, voice: bool, tuned: bool = False) -> list[Arm]:
    """The arms that can be asked: without replies, documents, a voice or a tuning some cannot."""
    return [
        arm
        for arm in ARMS
        if few_shot >= arm.few_shot
        and search >= arm.search
        and voice >= arm.voice
        and tuned >= arm.tuned
    ]


def ask(
    arm: Arm,
    conversation: Sequence[Message],
    evidence: Sequence[Evidence],
    *,
    shots: Sequence[Message],
    budget: int,
    count_tokens: CountTokens,
    highlights: Sequence[Evidence] | None = None,
) -> Prompt:
    """The prompt of one arm for a conversation that ends with the question, and its hits."""
    system = [message for message in conversation if message["role"] == "system"]
    talk = [message for message in conversation if message["role"] != "system"]
    return build(
        [*system, *(shots if arm.few_shot else ()), *talk],
        evidence if arm.search else (),
        budget=budget,
        count_tokens=count_tokens,
        highlights=highlights,
    )


def by_house(row: Row) -> bool:
    """Whether a person has written the reply of a row: no drill, nor the base's own answer."""
    return row.kind != "replay" and not row.group.startswith("drill:")


def house_formulas(rows: Sequence[Row]) -> Formulas:
    """How the house's own replies in a voice's train rows greet and take leave."""
    return formulas_of(row.reply for row in rows if row.split == "train" and by_house(row))


def choose_shots(rows: Sequence[Row], *, count: int = SHOTS, seed: int = 0) -> list[Message]:
    """The turns of the style prompt, drawn from a voice's train rows, each of another group.

    One of them declines where the voice has such rows: a prompt can teach that as well. Replies
    in the longest quarter are left out.
    """
    train = [row for row in rows if row.split == "train" and row.question and by_house(row)]
    random.Random(seed).shuffle(train)
    declines = [row for row in train if row.kind in _DECLINES]
    answers = [row for row in train if row.kind not in _DECLINES]
    longest = sorted(len(row.reply) for row in answers)[len(answers) * 3 // 4] if answers else 0
    chosen = {row.group: row for row in declines[:1]}
    for row in answers:
        if len(chosen) == count:
            break
        if len(row.reply) <= longest:
            chosen.setdefault(row.group, row)
    turns: list[Message] = []
    for row in reversed(chosen.values()):  # the decline stands last, the plain ones first
        turns.append({"role": "user", "content": row.question})
        turns.append({"role": "assistant", "content": row.reply})
    return turns
