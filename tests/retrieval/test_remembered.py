"""Sentences are embedded once, and forgotten with the documents that held them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrieval import attribute
from retrieval.library import Library
from retrieval.remembered import Remembered


class Counting:
    """An embedder whose row is the text's length; it tells what it was given."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.then = lambda: None  # while it embeds

    def embed(self, texts: Sequence[str], *, queries: bool = False) -> np.ndarray:
        self.given += texts
        self.then()
        return np.array([[len(text), float(queries)] for text in texts], dtype=np.float32)


def test_a_text_is_embedded_once_and_keeps_its_row() -> None:
    embedder = Counting()
    remembered = Remembered(embedder)
    first = remembered.embed(["a", "bbb", "a"])
    second = remembered.embed(["bbb", "cc", "a"])
    assert embedder.given == ["a", "bbb", "cc"]
    assert first[:, 0].tolist() == [1, 3, 1] and second[:, 0].tolist() == [3, 2, 1]
    assert remembered.embed([]).shape[0] == 0


def test_queries_are_not_remembered_and_never_taken_for_passages() -> None:
    embedder = Counting()
    remembered = Remembered(embedder)
    remembered.embed(["a"])
    assert remembered.embed(["a"], queries=True).tolist() == [[1, 1]]
    assert remembered.embed(["a"]).tolist() == [[1, 0]]
    assert embedder.given == ["a", "a"]


def test_what_was_used_longest_ago_goes_first() -> None:
    embedder = Counting()
    remembered = Remembered(embedder, most=2)
    for text in ("a", "bb", "a", "ccc", "a", "bb"):
        remembered.embed([text])
    assert embedder.given == ["a", "bb", "ccc", "bb"]


def test_what_is_forgotten_while_it_is_embedded_is_not_kept() -> None:
    embedder = Counting()
    remembered = Remembered(embedder)
    embedder.then = remembered.forget
    assert remembered.embed(["a"]).tolist() == [[1, 0]]
    embedder.then = lambda: None
    remembered.embed(["a"])
    assert embedder.given == ["a", "a"]


def test_a_deleted_document_leaves_no_sentence_behind(library: Library) -> None:
    for id_, text in (("d1", b"A refund takes 45 days."), ("d2", b"The fee is 6 dollars.")):
        library.add("vs", document_id=id_, name=f"{id_}.md", data=text)
    hits = library.search(["vs"], "refund")
    library.calibrations.judge("How long?", hits, ["vs"])
    attribute.check("It takes 45 days.", [hit.passage.text for hit in hits])
    assert library._sentences._rows and attribute._read.cache_info().currsize
    library.remove("vs", "d1")
    assert not library._sentences._rows and not attribute._read.cache_info().currsize
