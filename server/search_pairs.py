"""Search pairs as JSONL: a question a line, and what answers it.

    {"question": "...", "passage": "..."}            the passage's words
    {"question": "...", "document": "returns.md"}    a document of the store, by name
    {"question": "...", "document_id": "file-..."}   the same by id

Accepted, too: `query` or `anchor` for the question; `passages`, `positive`, `positives` or `text`;
`documents`, `filename`; `document_ids`, `file_id`; lists for several right answers; `topic`,
`focus`, `group` or `intent` for what must not be split from each other. `"question_by": "base"`
marks a question that a model has written. Other fields are ignored.

Pure; it knows no store. Read `read_pairs` first.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuning.errors import ExamplesError

QUESTION = ("question", "query", "anchor")
TEXTS = ("passage", "passages", "positive", "positives", "text")
NAMES = ("document", "documents", "filename")
IDS = ("document_id", "document_ids", "file_id")
TOPIC = ("topic", "focus", "group", "intent")
WRITTEN_BY_BASE = {"question_by": "base"}  # no person's question: it teaches and never judges
LEAST_PAIRS = 8


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with the texts, document names and document ids that answer it."""

    line: int
    question: str
    texts: tuple[str, ...]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    topic: str | None
    written: bool = False  # by a model

    @property
    def key(self) -> str:
        return question_key(self.question)


def question_key(question: str) -> str:
    """What makes two questions the same: their words, whatever the case and the punctuation."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", question).casefold()))


def read_pairs(content: bytes) -> list[Pair]:
    """Parse search pairs.

    Raises:
        ExamplesError: faulty lines with their numbers, or too few pairs.
    """
    pairs, problems = [], []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            pairs.append(_pair(number, json.loads(line.decode("utf-8-sig"))))
        except UnicodeDecodeError:
            problems.append((number, "not UTF-8 text"))
        except RecursionError:
            problems.append((number, "nested too deep"))
        except json.JSONDecodeError as error:
            problems.append((number, f"broken JSON ({error.msg})"))
        except ValueError as error:
            problems.append((number, str(error)))
    if problems:
        raise ExamplesError(problems)
    if len({pair.key for pair in pairs}) < LEAST_PAIRS:
        raise ExamplesError([(0, f"{len(pairs)} pairs; at least {LEAST_PAIRS} are needed")])
    return pairs


def merge_same(pairs: Sequence[Pair]) -> tuple[list[Pair], int, int]:
    """Make one pair of the lines with the same question.

    Returns the pairs, how many lines only repeated others, and how many questions had lines
    that name different answers: all of those count as right.
    """
    merged: dict[str, Pair] = {}
    repeated, differing = 0, set()
    for pair in pairs:
        known = merged.get(pair.key)
        if known is None:
            merged[pair.key] = pair
            continue
        both = replace(
            known,
            texts=tuple(dict.fromkeys([*known.texts, *pair.texts])),
            names=tuple(dict.fromkeys([*known.names, *pair.names])),
            ids=tuple(dict.fromkeys([*known.ids, *pair.ids])),
            topic=known.topic or pair.topic,
            written=known.written and pair.written,
        )
        merged[pair.key] = both
        if (both.texts, both.names, both.ids) == (known.texts, known.names, known.ids):
            repeated += 1
        else:
            differing.add(pair.key)
    return list(merged.values()), repeated, len(differing)


def check_documents(pairs: Sequence[Pair], *, names: Collection[str], ids: Collection[str]) -> None:
    """Raise ExamplesError where a pair names a document that the store does not hold."""
    problems = [
        (pair.line, f"the store has no document {name!r}")
        for pair in pairs
        for known, named in ((names, pair.names), (ids, pair.ids))
        for name in named
        if name not in known
    ]
    if problems:
        raise ExamplesError(problems)


def _pair(number: int, value: Any) -> Pair:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    question = _strings(value, QUESTION)
    if len(question) != 1:
        raise ValueError('no "question"' if not question else "several questions")
    texts, names, ids = (_strings(value, keys) for keys in (TEXTS, NAMES, IDS))
    if not (texts or names or ids):
        raise ValueError(
            'nothing answers the question: give a "passage", a "document" or a "document_id"'
        )
    topic = _strings(value, TOPIC)
    if not question_key(question[0]):
        raise ValueError("the question has no words")
    written = WRITTEN_BY_BASE.items() <= value.items()
    return Pair(number, question[0], texts, names, ids, topic[0] if topic else None, written)


def _strings(value: dict[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    """Every text under these keys; a list holds several."""
    found: list[str] = []
    for key in keys:
        held = value.get(key)
        for item in held if isinstance(held, list) else [held]:
            if item is None:
                continue
            if not isinstance(item, str):
                raise ValueError(f'"{key}" must be a text or a list of texts')
            if item.strip():
                found.append(item.strip())
    return tuple(dict.fromkeys(found))
