"""Folders in BEIR form: split by topic or by shared documents, cut into windows, found by words."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.corpus import MOST_WINDOWS, WINDOW_CHARACTERS, Corpus, Query, read_beir, split


def query(n: int, *, topic: str = "", documents: tuple[str, ...] = ()) -> Query:
    return Query(f"question {n}", topic, dict.fromkeys(documents or (f"d{n}",), 1.0))


def test_a_folder_is_read_and_queries_without_an_answer_are_left_out(tmp_path: Path) -> None:
    corpus = [{"_id": "d1", "title": "Bags", "text": "They are red."}, {"_id": "d2", "text": "x"}]
    queries = [{"_id": "q1", "text": "red?", "focus": "bags"}, {"_id": "q2", "text": "why?"}]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    rows = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q2\td9\t1", "q2\td2\t0"]
    (tmp_path / "qrels.tsv").write_text("\n".join(rows))
    documents, asked = read_beir(tmp_path)
    assert documents == {"d1": "Bags\nThey are red.", "d2": "x"}
    assert asked == [Query("red?", "bags", {"d1": 2.0})]


def test_a_topic_is_never_torn_apart() -> None:
    queries = [query(n, topic=f"topic {n % 40}") for n in range(400)]
    train, dev, held = split(queries)
    assert len(train) + len(dev) + len(held) == 400 and 40 <= len(held) <= 180 and dev
    topics = [{one.topic for one in side} for side in (train, dev, held)]
    assert not topics[0] & topics[1] and not topics[0] & topics[2] and not topics[1] & topics[2]


def test_queries_without_topics_are_split_by_their_documents() -> None:
    queries = [query(n, documents=(f"d{n // 2}",)) for n in range(200)]
    sides = split(queries)
    held = [{document for one in side for document in one.judged} for side in sides]
    assert all(sides) and not held[0] & held[2] and not held[1] & held[2]


def test_a_split_of_its_own_is_kept() -> None:
    queries = [Query(f"q{n}", "t", {"d": 1.0}, ("train", "dev", "test")[n % 3]) for n in range(9)]
    assert [len(side) for side in split(queries)] == [3, 3, 3]


def test_documents_are_cut_and_found_by_their_words() -> None:
    long = "bag " * WINDOW_CHARACTERS
    corpus = Corpus.of({"a": "the lamp shines", "b": long, "c": ""})
    assert corpus.owners.tolist() == [0, *[1] * MOST_WINDOWS, 2]
    assert all(len(window) <= WINDOW_CHARACTERS for window in corpus.windows)
    assert list(corpus.search_words('Where is "the lamps"?', 5)) == [0]
    assert corpus.search_words("?!", 5) == {}
