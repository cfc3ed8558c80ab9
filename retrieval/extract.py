"""Hits -> the sentences that answer a question best, and how sure one can be that any does. Pure.

A sentence is ranked by its closeness to the question, the rank of its passage, the question's
words that it and its passage hold, whether it has the kind of thing that is asked for (a time, a
price, a number, a name), and whether a reader finds the answer in it. Embedder and reader are
passed in. Read `rank` first, then `quote`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.claims import content_words, denials, figures, split_claims
from retrieval.records import Hit, Passage


class Embeds(Protocol):
    """Texts to (n, dim) float32 unit rows; `retrieval.embed.Embedder` is the real one."""

    def embed(self, texts: Sequence[str], *, queries: bool = False) -> NDArray[np.float32]: ...


class Reads(Protocol):
    """How likely each span of a (heading, text) answers; `retrieval.read.Reader` is the real one.

    Log odds, one for each (start, end) of characters; None where it cannot read the question.
    `name` tells one reader from another.
    """

    name: str

    def read(
        self,
        question: str,
        passages: Sequence[tuple[str | None, str]],
        spans: Sequence[list[tuple[int, int]]],
    ) -> list[list[float]] | None: ...


# Chosen on the demo's questions and on another set, whose best values lie close together: see
# benchmarks/LOG.md.
PASSAGE_WEIGHT, WORDS_WEIGHT, PASSAGE_WORDS_WEIGHT, KIND_WEIGHT = 0.4, 0.3, 0.2, 0.2
READING_WEIGHT = 0.05  # of a logit
READING_RANGE = 10.0
MOST_SENTENCES, MOST_WORDS = 2, 60

_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_KINDS = (  # what a question asks for, how it is asked, what an answer to it holds
    (
        "money",
        r"\b(?:price|costs?|fees?|charge|percentage|discount|rate|pay)\b|\bpercent\b"
        r"|how much (?:is|are|does|do|did|will|would|was|were)\b",
        r"[$€£]|%|\b(?:dollars?|euros?|pounds?|cents?|free|percent)\b",
    ),
    (
        "time",
        r"\bwhen\b|what (?:time|year|date|day)|which (?:day|year|month)|weekday"
        r"|how (?:long|soon|often)|how many (?:day|week|month|year|hour|minute|second)s?",
        r"\b(?:seconds?|minutes?|hours?|days?|weeks?|weekdays?|months?|years?|quarter\w*|\w+day"
        rf"|\d{{1,2}}:\d\d|1[0-9]\d\d|20\d\d|\d{{1,2}} ?[ap]m|{_MONTH})\b",
    ),
    (
        "number",
        r"\bhow (?:many|much|far|tall|big|large|heavy|old|fast|loud|tight|light|wide|high|deep"
        r"|short|small)\b|what number",
        r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|half|twice|once"
        r"|dozen|hundred|thousand|million)\b",
    ),
    ("name", r"\b(?:who|whom|whose)\b", r"(?<!^)(?<![.!?] )\b[A-Z][a-z]+"),
)
# A title has no figure of its own, no auxiliary verb, pronoun or end; a number may stand before it.
_TITLE = re.compile(
    r"(?:(?!\b(?:i|we|you|it|they|he|she|is|are|was|were|has|have|can|will|may|must|do|does)"
    r"\b)[^.!?:;\d\n|]){1,70}(?=\s*\n|\s*$)",
    re.IGNORECASE,
)
_PARAGRAPH_BEGINS = re.compile(r"(?:^|\n[^\S\n]*\n)[^\S\n]*(?:\d{1,2}[.)][^\S\n]*)?$")
_BLANK_LINE = re.compile(r"[^\S\n]*\n[^\S\n]*\n\s*")
_NEARLY_ALL = 0.9  # of the words of two hits
_CAPITALISED = re.compile(r"\b[A-Z]\w+")
_OPEN = r"\b(?:what|whats|how|when|where|which|who|whos|whose|whom|why)\b"
_BORDER = r"(?:^|[.,;:!?\u2013\u2014]\s*|\b(?:and|so|but|or|then) )"  # where a clause may begin
_CLOSED = (
    rf"{_BORDER}(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|had|may|must"
    r"|am|isn't|aren't|don't|doesn't|can't|won't) \w+"
)
_POLITE = (
    r"\b(?:can|could|would|will) (?:you|someone|anyone) (?:please )?"
    r"(?:tell|let|say|remind|explain|give|show|confirm)\b|\bdo you (?:happen to )?know\b"
)
_IS_OPEN, _IS_CLOSED, _IS_POLITE = (
    re.compile(pattern, re.IGNORECASE) for pattern in (_OPEN, _CLOSED, _POLITE)
)
_OPEN_CLAUSE = re.compile(rf"{_BORDER}(?:\w+ )?{_OPEN}", re.IGNORECASE)
_ASKED = [(kind, re.compile(asked, re.IGNORECASE)) for kind, asked, _ in _KINDS]
_HELD = {kind: re.compile(held, 0 if kind == "name" else re.IGNORECASE) for kind, _, held in _KINDS}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a hit: `text` stands at `start`..`end` of the text of `hits[hit].passage`.

    `score` ranks the sentences of one question; `closeness` is the cosine to the question, and
    `words` and `passage_words` the weighted shares of the question's words that the sentence and
    its passage hold. `reading` are the reader's log odds, within `READING_RANGE`, that the answer
    stands here, and `verified` those of a verifier; None where none has looked. A title, which
    announces what stands below it, answers nothing itself.
    """

    hit: int
    start: int
    end: int
    text: str
    score: float
    closeness: float
    words: float
    passage_words: float
    has_kind: float
    reading: float | None = None
    verified: float | None = None
    is_title: bool = False


def rank(
    question: str, hits: Sequence[Hit], embedder: Embeds, reader: Reads | None = None
) -> list[Sentence]:
    """Return the sentences of the hits, the one that answers best first."""
    found = [
        (index, start, end)
        for index, hit in enumerate(hits)
        for start, end in split_claims(hit.passage.text)
    ]
    if not found:
        return []
    texts = [" ".join(hits[i].passage.text[a:b].split()) for i, a, b in found]
    headed = [
        f"{heading}: {text}" if (heading := hits[i].passage.heading) else text
        for (i, _, _), text in zip(found, texts, strict=True)
    ]
    closeness = embedder.embed(headed) @ embedder.embed([question], queries=True)[0]
    wanted = content_words(question) | figures(question)
    held = [_words(f"{h.passage.heading or ''} {h.document_name} {h.passage.text}") for h in hits]
    weights = {
        word: math.log(1 + len(hits) / (0.5 + sum(word in words for words in held)))
        for word in wanted
    }
    # Behind the message that it leans on, the last line is what is asked.
    kind = asked_kind(question.rsplit("\n", 1)[-1]) or asked_kind(question)
    readings = _read(question, hits, found, reader)
    sentences = []
    for (index, start, end), text, close, reading in zip(
        found, texts, closeness, readings, strict=True
    ):
        words, passage_words = _share(weights, _words(text)), _share(weights, held[index])
        has_kind = 0.5 if kind is None else float(bool(_HELD[kind].search(text)))
        score = (
            float(close)
            + PASSAGE_WEIGHT * hits[index].score
            + WORDS_WEIGHT * words
            + PASSAGE_WORDS_WEIGHT * passage_words
            + KIND_WEIGHT * has_kind
            + READING_WEIGHT * (reading or 0.0)
        )
        sentences.append(
            Sentence(
                index,
                start,
                end,
                text,
                score,
                float(close),
                words,
                passage_words,
                has_kind,
                reading,
                is_title=_is_title(hits[index].passage, start, end),
            )
        )
    return sorted(sentences, key=lambda sentence: (-sentence.score, sentence.hit, sentence.start))


def within_range(score: float) -> float:
    """A reader's score within `READING_RANGE`: beyond it, it is no surer, only louder."""
    return min(max(score, -READING_RANGE), READING_RANGE)


def sigmoid(x: float) -> float:
    """Log odds to a chance within 0..1."""
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def quote(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return the best sentences that make an extract: at most two, and 60 words together.

    A best sentence that is longer alone is quoted whole all the same, the second left out; what
    says the same again is passed over, and so are titles, unless there is nothing else.
    """
    chosen: list[Sentence] = []
    room = MOST_WORDS
    for sentence in [own for own in sentences if not own.is_title] or sentences:
        length = len(sentence.text.split())
        if chosen and (length > room or _repeats(sentence.text, chosen[0].text)):
            continue
        chosen.append(sentence)
        room -= length
        if len(chosen) == MOST_SENTENCES or room <= 0:
            break
    return chosen


def distinct(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits without those that say nothing new beside an earlier one.

    So a document that was added twice, in the same words or nearly so, or a paragraph that two
    documents share, takes up the room of one. What differs in a figure or a name, or denies
    something else, stays, and so does a short text of which one word differs: a row of a table.
    """
    kept: list[Hit] = []
    held: list[_Said] = []
    for hit in hits:
        said = _said(f"{hit.passage.heading or ''} {hit.passage.text}")
        if not any(_says_again(said, other) for other in held):
            kept.append(hit)
            held.append(said)
    return kept


def asked_kind(question: str) -> str | None:
    """What a question asks for: money, time, number or name; None where it does not say."""
    return next((kind for kind, asked in _ASKED if asked.search(question)), None)


def is_open(question: str) -> bool:
    """Whether a question, in English, asks what, when, who or how: a passage holds the answer.

    A closed question ("Can I wash it?") wants a yes or no, and a request or a complaint ("Write a
    sign for the wax room") wants what the documents say of it.
    """
    asked = _IS_POLITE.sub("", question.rsplit("\n", 1)[-1])
    open_, closed = _IS_OPEN.search(asked), _IS_CLOSED.search(asked)
    if open_ is None or closed is None or open_.start() < closed.start():
        return open_ is not None
    return bool(_OPEN_CLAUSE.search(asked))


def _read(
    question: str,
    hits: Sequence[Hit],
    found: Sequence[tuple[int, int, int]],
    reader: Reads | None,
) -> list[float | None]:
    """The reader's score of every sentence; `found` names its hit and characters, hit by hit."""
    spans: list[list[tuple[int, int]]] = [[] for _ in hits]
    for index, start, end in found:
        spans[index].append((start, end))
    passages = [(hit.passage.heading, hit.passage.text) for hit in hits]
    scores = reader.read(question, passages, spans) if reader else None
    if scores is None:
        return [None] * len(found)
    return [within_range(score) for own in scores for score in own]


@dataclass(frozen=True, slots=True)
class _Said:
    """A hit's words and figures, those that are figures or names, and how often it denies."""

    words: frozenset[str]
    telling: frozenset[str]
    denials: int


def _said(text: str) -> _Said:
    capitals = content_words(" ".join(_CAPITALISED.findall(text)))
    return _Said(frozenset(_words(text)), frozenset(capitals | figures(text)), denials(text))


def _says_again(said: _Said, earlier: _Said) -> bool:
    """Whether an earlier hit has all the words, or nearly all of both are the same.

    What one of them denies, and a figure or a name of only one, tells them apart.
    """
    if said.words < earlier.words:
        return said.denials <= earlier.denials
    differing = said.words ^ earlier.words
    return (
        len(differing) <= (1 - _NEARLY_ALL) * len(said.words | earlier.words)
        and differing.isdisjoint(said.telling | earlier.telling)
        and said.denials == earlier.denials
    )


def _is_title(passage: Passage, start: int, end: int) -> bool:
    """Whether a sentence is the passage's heading, or a line by itself that announces the next one.

    So is one that nothing follows: the passage ends before what it announces. What stands below
    such a line or a question may be what these announce, and is none, whatever it looks like.
    """
    text = passage.text
    line, before, after = text[start:end].strip(), text[:start], _BLANK_LINE.match(text, end)
    if not line[:1].isupper() or not _TITLE.fullmatch(line):
        return False
    if passage.heading and line.casefold() in passage.heading.casefold():
        return True
    above = before.rstrip().rpartition("\n")[2]
    return (
        bool(_PARAGRAPH_BEGINS.search(before))
        and (after is not None or not text[end:].strip())
        and not (after and _TITLE.match(text, after.end()))
        and not (_TITLE.fullmatch(above) or above.endswith(("?", ":")))
    )


def _repeats(text: str, other: str) -> bool:
    own = _words(text)
    return bool(own) and len(own & _words(other)) >= 0.8 * len(own)


def _words(text: str) -> set[str]:
    return content_words(text) | figures(text)


def _share(weights: dict[str, float], words: set[str]) -> float:
    whole = sum(weights.values())
    held = sum(weight for word, weight in weights.items() if word in words)
    return held / whole if whole else 0.0
