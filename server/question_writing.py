"""Questions that passages answer, written by the base: to review, or to let a search job learn.

A question stays only if its passage comes back when it is searched for (the round trip). A small
base writes few good ones, so they teach and never judge. It knows no models: a worker writes. Read
`write_questions` first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from server.pairing import pair_texts
from server.settings import Settings
from tuning.texts import HouseText

FOUND_WITHIN = 20  # ranks: the passage must be among them when its question is searched for
LEAST_WORDS = 12  # of a passage that is worth a question

Passage = TypeVar("Passage")


@dataclass(frozen=True, slots=True)
class Written:
    """A question, and the index of the passage that it was written for."""

    question: str
    passage: int


def write_questions(
    settings: Settings,
    texts: Sequence[str],
    *,
    finds: Callable[[str, int], bool],
    progress: Callable[[int, int], None],
) -> list[Written]:
    """Let the base write a question for each text, and keep those by which `finds` finds it.

    `finds` takes a question and the index of its text. Both callables may raise to end it.

    Raises:
        PairingError: the worker failed; in words.
    """
    numbered = [HouseText(text, number) for number, text in enumerate(texts)]
    made = pair_texts(settings, numbered, progress=progress)
    written = [Written(pair.request, pair.text.line) for pair in made.kept]
    return [one for one in written if finds(one.question, one.passage)]


def draw(
    documents: Iterable[Sequence[Passage]],
    text_of: Callable[[Passage], str],
    *,
    count: int,
    seed: int = 0,
) -> list[Passage]:
    """Passages that are worth a question, of as many documents as there are."""
    random_ = random.Random(seed)
    worth = [
        [passage for passage in own if len(text_of(passage).split()) >= LEAST_WORDS]
        for own in documents
    ]
    random_.shuffle(worth)
    for own in worth:
        random_.shuffle(own)
    drawn: list[Passage] = []
    while len(drawn) < count and any(worth):
        drawn += [own.pop() for own in worth if own]
    return drawn[:count]
