"""A folder in BEIR form: documents cut into windows, queries split by topic, a full-text index."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pysqlite3 import dbapi2 as sqlite3

WINDOW_CHARACTERS, MOST_WINDOWS = 480, 3  # some 120 tokens each
HELD_OUT, DEV = 0.25, 0.10  # shares of the topics


@dataclass(frozen=True, slots=True)
class Query:
    """A question, what it is about, and the documents that answer it with their gain."""

    text: str
    topic: str
    judged: Mapping[str, float]
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents and their windows; `owners` (windows,) are indexes into `ids`."""

    ids: list[str]
    windows: list[str]
    owners: NDArray[np.int64]
    _words: sqlite3.Connection = field(repr=False)

    @classmethod
    def of(cls, documents: Mapping[str, str]) -> Corpus:
        """Cut documents into windows and index their words."""
        ids = list(documents)
        cut = [_windows(documents[id_]) for id_ in ids]
        owners = np.repeat(np.arange(len(ids)), [len(own) for own in cut])
        words = sqlite3.connect(":memory:")
        words.execute(
            "CREATE VIRTUAL TABLE documents USING fts5(text, tokenize='porter unicode61')"
        )
        words.executemany("INSERT INTO documents (text) VALUES (?)", [(documents[i],) for i in ids])
        return cls(ids, [window for own in cut for window in own], owners, words)

    def search_words(self, query: str, count: int) -> dict[int, float]:
        """BM25 of the best documents, by their index; higher is better."""
        terms = " OR ".join(f'"{term}"' for term in dict.fromkeys(re.findall(r"\w+", query)))
        if not terms:
            return {}
        found = self._words.execute(
            "SELECT rowid - 1, -bm25(documents) FROM documents WHERE documents MATCH ? "
            "ORDER BY bm25(documents) LIMIT ?",
            (terms, count),
        )
        return dict(found.fetchall())


def read_beir(folder: Path) -> tuple[dict[str, str], list[Query]]:
    """The documents by id, and the queries that have an answer among them."""
    documents = {
        row["_id"]: f"{row.get('title', '')}\n{row['text']}".strip()
        for row in _rows(folder / "corpus.jsonl")
    }
    judged: dict[str, dict[str, float]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, gain = line.split("\t")
        if document in documents and float(gain) > 0:
            judged.setdefault(query, {})[document] = float(gain)
    queries = [
        Query(row["text"], row.get("focus") or "", judged[row["_id"]], row.get("split"))
        for row in _rows(folder / "queries.jsonl")
        if row["_id"] in judged
    ]
    return documents, queries


def split(queries: Sequence[Query]) -> tuple[list[Query], list[Query], list[Query]]:
    """Train, dev and held-out queries: as they say, else by topic, else by shared documents."""
    topics = [query.topic for query in queries]
    if not all(topics):
        topics = _by_documents(queries)
    train, dev, held = [], [], []
    for query, topic in zip(queries, topics, strict=True):
        share = int(hashlib.sha256(topic.encode()).hexdigest()[:8], 16) / 16**8
        out = query.split not in ("train", "dev") if query.split else share < HELD_OUT
        if out:
            held.append(query)
        elif query.split == "dev" or share > 1 - DEV:
            dev.append(query)
        else:
            train.append(query)
    return train, dev, held


def _by_documents(queries: Sequence[Query]) -> list[str]:
    """A topic for each query: those that share a document, at any remove, have the same."""
    parent: dict[str, str] = {}

    def root(document: str) -> str:
        while parent.setdefault(document, document) != document:
            document = parent[document]
        return document

    for query in queries:
        first, *others = query.judged
        for other in others:
            parent[root(other)] = root(first)
    roots = [root(next(iter(query.judged))) for query in queries]
    if len(set(roots)) < len(queries) / 4:  # nearly all hang together: the best document decides
        return [max(query.judged, key=lambda d: (query.judged[d], d)) for query in queries]
    return roots


def _windows(text: str) -> list[str]:
    """The first windows of a document, cut between words."""
    windows: list[str] = []
    start = 0
    while start < len(text) and len(windows) < MOST_WINDOWS:
        end = start + WINDOW_CHARACTERS
        if end < len(text):
            end = max(text.rfind(" ", start, end), start + 1)
        windows.append(text[start:end].strip())
        start = end
    return windows or [""]


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
