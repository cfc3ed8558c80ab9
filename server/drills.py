"""Reading drills: questions made from the documents, answered by the sentence that says it.

Where a house's replies state no facts of their own (past mails full of kind words, say), training
on them alone would teach a voice to talk past the documents. A drill asks, in a few plain forms,
for a value that one sentence holds, and its reply is that sentence with the house's ending.

Pure. Read `drills` first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from retrieval.claims import content_words
from retrieval.split import sentences

SHORTEST, LONGEST = 30, 260  # characters of a sentence that a drill is made from
_VALUE = re.compile(
    r"(?P<money>[$€£]\s?)?(?<![\w.,])\d+(?:[.,:]\d+)*(?!\w)(?P<unit>\s?%|\s[a-z]{2,})?"
    r"|(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*"
)
_TIMES = ("second", "minute", "hour", "day", "week", "month", "year")
_SMALL_WORDS = frozenset("in of or and with to for at on by per from than is are".split())
_ORDINAL = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+")
_FORMS = (
    "{ask} {rest}?",
    "{rest}: {ask_low}?",
    "{topic}, {rest}: {ask_low}?",
    "Could you tell me {ask_low}, please? It is about {rest}.",
    "I have a question about {rest}: {ask_low}?",
    "{ask}? I mean {rest}.",
)


@dataclass(frozen=True, slots=True)
class Drill:
    """A question and the sentence of a passage that answers it."""

    question: str
    statement: str


def drills(text: str, heading: str | None, random_: random.Random) -> Iterator[Drill]:
    """A drill for every sentence of a passage that holds a value and enough other words."""
    for start, end in sentences(text):
        statement = " ".join(_ORDINAL.sub("", text[start:end]).split())
        if not SHORTEST <= len(statement) <= LONGEST or not statement.endswith((".", "!")):
            continue
        values = list(_VALUE.finditer(statement))
        figures = [value for value in values if value.group()[-1:].isdigit() or value["unit"]]
        if not values:
            continue
        value = random_.choice(figures or values)
        rest = f"{statement[: value.start()]} {statement[value.end() :]}".strip(" .,;:!")
        # The nearer half of a long sentence is what a person would ask about.
        words = [word.strip(".,;:!?()\"'") for word in rest.split()]
        before = len(statement[: value.start()].split())
        words = words[max(0, before - 8) : before + 5]
        if len(content_words(" ".join(words))) < 2:
            continue
        ask = _ask(value)
        question = random_.choice(_FORMS).format(
            ask=ask,
            ask_low=ask[0].lower() + ask[1:],
            rest=_lowered(" ".join(words)),
            topic=heading or " ".join(words[:4]),
        )
        yield Drill(question[0].upper() + question[1:], statement)


def _ask(value: re.Match[str]) -> str:
    """The question word that a value answers."""
    if value["money"]:
        return "How much"
    unit = (value["unit"] or "").strip()
    if ":" in value.group():
        return "At what time"
    if unit in _SMALL_WORDS:
        unit = ""
    if unit == "%":
        return "What percentage"
    if unit:
        return "How long" if unit.rstrip("s") in _TIMES else f"How many {unit}"
    if not value.group()[0].isdigit():
        return "Who or what"
    if re.fullmatch(r"(19|20)\d\d", value.group()):
        return "In which year"
    return "Which number"


def _lowered(text: str) -> str:
    return text[0].lower() + text[1:] if text[1:2].islower() else text
