"""Questions asked of passages of about the size that is served, answered there or not. Pure.

Each question is asked of the passage with its answer, of one of its article that shares words with
it, and sometimes of another article's or of one that the embedder finds for it. A question that
people wrote to have no answer in its paragraph counts twice. Read `make_pairs` first.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.reader_rows import Rows
from retrieval.extract import Embeds
from retrieval.split import sentences

# "asked": written to have no answer; "row": of a made-up table, without it
Kind = Literal["answer", "near", "asked", "far", "found", "row"]
HELD_OUT = 6  # articles of each file
PASSAGE_WORDS = (35, 50, 50, 70)
FAR, FOUND, ROWS = 0.1, 0.5, 0.08
HITS = 6
GROUP = 8  # texts of a collection that stand for an article

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and its answers in a paragraph; no answers: it has none there."""

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Article:
    """A title and its paragraphs, each with its questions."""

    title: str
    paragraphs: tuple[tuple[str, tuple[Asked, ...]], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A question asked of a passage; `start`..`end` is the answer in it, both 0 for none."""

    question: str
    passage: str
    start: int
    end: int
    kind: Kind
    title: str


def read(path: Path, *, collected: bool = False) -> list[Article]:
    """The articles of a file in SQuAD's format; collected ones are groups without a title."""
    articles = [
        Article(
            article["title"].replace("_", " "),
            tuple(
                (
                    paragraph["context"],
                    tuple(
                        Asked(q["question"].strip(), tuple(a["text"] for a in q["answers"]))
                        for q in paragraph["qas"]
                    ),
                )
                for paragraph in article["paragraphs"]
            ),
        )
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]
    ]
    if not collected:
        return articles
    texts = [paragraph for article in articles for paragraph in article.paragraphs]
    groups = range(0, len(texts), GROUP)
    return [Article("", tuple(texts[first : first + GROUP])) for first in groups]


def word_counts(files: Sequence[Sequence[Article]]) -> Counter[str]:
    """How often each word in lower case stands in the texts."""
    return Counter(
        word
        for articles in files
        for article in articles
        for context, _ in article.paragraphs
        for word in re.findall(r"[a-z]+", context.lower())
    )


def make_pairs(
    files: Sequence[Sequence[Article]], share: float, embedder: Embeds, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn from, shuffled, and those of the held-out articles."""
    chance = random.Random(seed)
    counts = Counter(
        word
        for articles in files
        for article in articles
        for context, _ in article.paragraphs
        for word in set(words(context))
    )
    total = sum(len(article.paragraphs) for articles in files for article in articles)

    def likeness(question: str, passage: str) -> float:
        shared = set(words(question)) & set(words(passage))
        return sum(math.log(1 + total / (1 + counts[word])) for word in shared)

    train: list[Pair] = []
    held: list[Pair] = []
    for articles in files:
        for place, article in enumerate(articles):
            own = list(_of_article(article, likeness, chance, share))
            if place >= len(articles) - HELD_OUT:
                held += own
            else:
                train += own + [pair for pair in own if pair.kind == "asked"]
    others = [(pair.title, pair.passage) for pair in train]
    answered = [pair for pair in train if pair.kind == "answer"]
    for pair in chance.sample(answered, math.ceil(FAR * len(answered))):
        some = chance.sample(others, min(len(others), 250))
        pool = [other for other in some if other[0] != pair.title]
        if pool:
            title, passage = max(pool, key=lambda other: likeness(pair.question, other[1]))
            train.append(Pair(pair.question, passage, 0, 0, "far", title))
    some = chance.sample(answered, math.ceil(FOUND * len(answered)))
    train += _found(some, list(dict.fromkeys(others)), embedder, chance)
    train += list(_rows(files, math.ceil(ROWS * len(train)), chance))
    chance.shuffle(train)
    chance.shuffle(held)
    return train, held


def _of_article(
    article: Article,
    likeness: Callable[[str, str], float],
    chance: random.Random,
    share: float,
) -> Iterator[Pair]:
    cut = [
        list(_passages(context, chance.choice(PASSAGE_WORDS))) for context, _ in article.paragraphs
    ]
    everything = [(place, passage) for place, own in enumerate(cut) for passage in own]
    for place, (_, asked) in enumerate(article.paragraphs):
        for question in asked:
            text, answers = question.text, question.answers
            if not answers:
                near = sorted(cut[place], key=lambda p: -likeness(text, p))
                for passage in near[: 1 if chance.random() < 0.6 else 2]:
                    yield Pair(text, passage, 0, 0, "asked", article.title)
                continue
            holding = [passage for passage in cut[place] if any(a in passage for a in answers)]
            if not holding or chance.random() > share:
                continue
            passage = max(holding, key=lambda p: likeness(text, p))
            answer = max((a for a in answers if a in passage), key=answers.count)
            start = max(
                (found.start() for found in re.finditer(re.escape(answer), passage)),
                key=lambda at: likeness(text, _sentence_at(passage, at)),
            )
            yield Pair(text, passage, start, start + len(answer), "answer", article.title)
            without = [
                (own, other)
                for own, other in everything
                if not any(a.lower() in other.lower() for a in answers)
            ]
            close = [other for own, other in without if abs(own - place) <= 2]
            some = chance.sample(without, min(len(without), 60))
            near = sorted([*close, *(other for _, other in some)], key=lambda p: -likeness(text, p))
            if near:
                yield Pair(text, chance.choice(near[:3]), 0, 0, "near", article.title)


def _found(
    pairs: Sequence[Pair],
    passages: Sequence[tuple[str, str]],
    embedder: Embeds,
    chance: random.Random,
) -> Iterator[Pair]:
    """What a search finds for each question among (title, passage) that does not answer it."""
    rows = embedder.embed([f"{title}: {text}" if title else text for title, text in passages])
    queries = embedder.embed([pair.question for pair in pairs], queries=True)
    for pair, query in zip(pairs, queries, strict=True):
        answer = pair.passage[pair.start : pair.end].lower()
        first = np.argsort(-(rows @ query))[:HITS]
        wrong = [passages[at] for at in first if answer not in passages[at][1].lower()]
        if wrong:
            title, passage = chance.choice(wrong[:4])
            yield Pair(pair.question, passage, 0, 0, "found", title)


def _rows(files: Sequence[Sequence[Article]], count: int, chance: random.Random) -> Iterator[Pair]:
    """Rows of made-up tables about the nouns and names of the texts."""
    text = "\n".join(c for articles in files for a in articles for c, _ in a.paragraphs)
    nouns = Counter(re.findall(r"\b(?:the|an?) ([a-z]{3,12})(?=[,.;])", text))
    names = sorted(set(re.findall(r"(?<=[a-z] )[A-Z][a-z]{3,9}\b", text)))
    rows = Rows([noun for noun, times in nouns.items() if times > 1], names, chance)
    for _ in range(count if rows.nouns and names else 0):
        question, row, start, end = rows.pair()
        yield Pair(question, row, start, end, "answer" if end else "row", "")


def _passages(context: str, most_words: int) -> Iterator[str]:
    """Whole sentences together, up to so many words."""
    first, last, words = 0, 0, 0
    for start, end in sentences(context):
        length = len(context[start:end].split())
        if words and words + length > most_words:
            yield context[first:last]
            first, words = start, 0
        last, words = end, words + length
    if words:
        yield context[first:last]


def _sentence_at(passage: str, at: int) -> str:
    spans = ((start, end) for start, end in sentences(passage) if start <= at < end)
    start, end = next(spans, (0, len(passage)))
    return passage[start:end]


def words(text: str) -> list[str]:
    """Its words in lower case, by their first six letters."""
    return [word.lower()[:6] for word in _WORD.findall(text)]
