"""A question and its passage as they might come in practice: dressed, reworded, as an order.

Wikipedia's questions are polite, complete and in its own words; people's are not. Read `dress`
first. Pure, but for `synonyms_of`, which reads WordNet's files.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.reader_pairs import Pair
from retrieval.split import sentences

HEADED, INTRODUCED, LISTED, LOWERED, REWORDED, ORDERED = 0.45, 0.2, 0.1, 0.1, 0.15, 0.2
MOST_SENSES = 4  # of a word that a synonym may stand for: one of more is too uncertain

_OPENING = re.compile(
    r"(?:what|who|whose|when|where|how|which|why|is|are|do|does|did|was|were|can|in|on|at|for)\b",
    re.IGNORECASE,
)
_WHAT_IS = re.compile(r"(?:What|Who) (?:is|are|was|were) (.+?)\??")
_WORD = re.compile(r"\b[a-z]{4,}\b")


def dress(pair: Pair, chance: random.Random, synonyms: Mapping[str, Sequence[str]]) -> Pair:
    """The pair as it might come in practice; the answer stays where it is in the words."""
    if pair.title and chance.random() < LISTED:
        pair = _as_list(pair)
    introduction = ""
    if pair.title and chance.random() < INTRODUCED:
        answer = pair.passage[pair.start : pair.end]
        spans = sentences(pair.passage)
        said = [pair.passage[start:end].removeprefix("- ") for start, end in spans]
        said = [s for s in said if 4 <= len(s.split()) <= 18 and not (answer and answer in s)]
        introduction = chance.choice(said) + " " if said else ""
    if pair.title and chance.random() < HEADED:
        head = f"{pair.title}: "
        moved = len(head) if pair.end else 0
        pair = replace(
            pair, passage=head + pair.passage, start=pair.start + moved, end=pair.end + moved
        )
    question = introduction + pair.question
    if chance.random() < LOWERED:
        question = question.rstrip("?").lower()
    if chance.random() < REWORDED:
        question = reworded(question, chance, synonyms)
    if chance.random() < ORDERED:
        question = ordered(question, chance)
    return replace(pair, question=question)


def ordered(question: str, chance: random.Random) -> str:
    """The question as an order, or with words of politeness about it."""
    small = question[:1].lower() + question[1:] if _OPENING.match(question) else question
    body = small.rstrip("?").rstrip()
    forms = [
        f"Can you tell me {body}?",
        f"Please tell me {small}",
        f"{question} Thanks!",
        f"{question} If there are several, list all.",
        f"Find out {body}.",
        f"I would like to know {body}.",
        f"Hi, {small}",
        f"{question} Answer briefly.",
    ]
    if what := _WHAT_IS.fullmatch(question):
        asked = what[1]
        forms += [
            f"{asked[0].upper()}{asked[1:]}?",
            f"Find {asked}.",
            f"Tell me {asked}.",
            asked,
            f"Give {asked}. If multiple, give all.",
        ]
    if small.startswith(("how much", "how many", "when", "where", "who")):
        forms += [f"Find {body}.", f"Find {body}. If multiple, list all.", f"State {body}."]
    return chance.choice(forms)


def reworded(question: str, chance: random.Random, synonyms: Mapping[str, Sequence[str]]) -> str:
    """The question with a synonym for one of its words, where one is known."""
    known = [word for word in _WORD.finditer(question) if synonyms.get(word.group())]
    if not known:
        return question
    word = chance.choice(known)
    other = chance.choice(synonyms[word.group()])
    return question[: word.start()] + other + question[word.end() :]


def synonyms_of(folder: Path, known: Mapping[str, int], *, least: int = 5) -> dict[str, list[str]]:
    """Words that mean the first sense of a word, by the `data` and `index` files of WordNet.

    Only words that `known` counts at least so often are named: of the others most are obsolete.
    """
    found: dict[str, list[str]] = {}
    for kind in ("noun", "verb", "adj"):
        members: dict[str, list[str]] = {}
        for line in _lines(folder / f"data.{kind}"):
            fields = line.split(" ")
            count = int(fields[3], 16)
            members[fields[0]] = [fields[4 + 2 * i].split("(")[0] for i in range(count)]
        for line in _lines(folder / f"index.{kind}"):
            word, _, senses, *rest = line.split()
            if int(senses) > MOST_SENSES:
                continue
            first = rest[-int(senses)]
            others = [o for o in members[first] if o != word and known.get(o, 0) >= least]
            found.setdefault(word, []).extend(others)
    return found


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="latin-1")
    return [line for line in text.splitlines() if not line.startswith("  ")]  # the licence


def _as_list(pair: Pair) -> Pair:
    spans = list(sentences(pair.passage))
    text, start = "", 0
    for first, last in spans:
        text += "- "
        if first <= pair.start < last:
            start = len(text) + pair.start - first
        text += pair.passage[first:last] + "\n"
    end = start + pair.end - pair.start if pair.end else 0
    if text[start:end] != pair.passage[pair.start : pair.end]:  # it spans two sentences
        return pair
    return replace(pair, passage=text.rstrip(), start=start if pair.end else 0, end=end)
