"""Questions that the documents hold themselves, with the passages that answer them. Pure.

A heading that says what follows is a question, and so is a line that ends in a question mark. To
find the passage by its own heading is no art, so each comes with the passage's text without it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.records import EmbeddedText
from server.search_pairs import question_key

LEAST_WORDS, MOST_WORDS = 3, 25
LEAST_ANSWER_WORDS = 5
_ASKED = re.compile(r"^(?:q(?:uestion)?\s*[:.]|\W+)?\s*(\S.*\?)\s*\W*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """A question, the passage that answers it, and what is left of that without the question."""

    question: str
    passage: EmbeddedText
    masked: str


def find_questions(passages: Sequence[EmbeddedText]) -> list[Found]:
    """The questions in passages (in their order), each once; what stands twice is ambiguous."""
    found: dict[str, list[Found]] = {}
    seen: set[tuple[str, str]] = set()
    for passage in passages:
        for question in _questions(passage):
            key = question_key(question)
            if (passage.document_id, key) in seen:
                continue  # the section goes on
            masked = _without(passage.text, question)
            if len(masked.split()) >= LEAST_ANSWER_WORDS:
                seen.add((passage.document_id, key))
                found.setdefault(key, []).append(Found(question, passage, masked))
    return [own[0] for own in found.values() if len(own) == 1]


def _questions(passage: EmbeddedText) -> list[str]:
    lines = [match[1] for line in passage.body.splitlines() if (match := _ASKED.match(line))]
    headings = [passage.heading] if passage.heading else []
    return [
        question
        for question in dict.fromkeys([*headings, *lines])
        if LEAST_WORDS <= len(question.split()) <= MOST_WORDS
    ]


def _without(text: str, question: str) -> str:
    lines = (line.replace(question, " ").strip(" #*-") for line in text.splitlines())
    return "\n".join(line for line in lines if line)
