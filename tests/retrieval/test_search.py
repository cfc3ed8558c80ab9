from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.errors import NotFound
from retrieval.filter import Filter
from retrieval.library import Library
from retrieval.parse import Parser
from retrieval.passages import identifiers

RETURNS = b"# Returns\n\nA refund is paid within 45 days.\n\n# Fees\n\nThe fee is 6 dollars."


def add(library: Library, document_id: str, data: bytes = RETURNS, **more):
    more.setdefault("name", "returns.md")
    return library.add("vs", document_id=document_id, data=data, **more)


def names(library: Library, query: str = "refund", **more) -> list[str]:
    return [hit.passage.document_id for hit in library.search(["vs"], query, **more)]


def test_an_empty_store_or_query_finds_nothing(library: Library) -> None:
    assert library.search(["vs"], "refund") == []
    add(library, "d1")
    assert library.search(["vs"], "  ") == []
    assert library.search([], "refund") == []


def test_an_unknown_store_is_not_found(library: Library) -> None:
    with pytest.raises(NotFound, match="no store 'nope'"):
        library.search(["vs", "nope"], "refund")
    with pytest.raises(NotFound):
        library.add("nope", document_id="d", name="x.txt", data=b"x")


@pytest.mark.parametrize("k", [0, 51])
def test_k_outside_1_to_50_is_refused(library: Library, k: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.50"):
        library.search(["vs"], "refund", k=k)


@pytest.mark.parametrize("query", ['"', "refund AND", "NEAR(", "a* OR ^b", "context:x", "-x", "(("])
def test_full_text_syntax_in_a_query_is_text(library: Library, query: str) -> None:
    add(library, "d1")
    library.search(["vs"], query)


def test_filters_apply_before_the_best_are_chosen(library: Library) -> None:
    for number in range(30):
        attributes = {"number": number, "kind": "odd" if number % 2 else "even"}
        data = f"refund of the bag number {number}".encode()
        add(library, f"d{number}", data, attributes=attributes)
    only = Filter.parse({"type": "eq", "key": "number", "value": 17})
    for sides in ({}, {"dense": False}, {"lexical": False}):
        assert names(library, "refund bag", k=1, filter=only, **sides) == ["d17"]
    odd = Filter.parse({"type": "eq", "key": "kind", "value": "odd"})
    assert len(names(library, "refund", k=50, filter=odd)) == 15


def test_changed_attributes_are_searched_by(library: Library) -> None:
    add(library, "d1")
    wanted = Filter.parse({"type": "eq", "key": "a", "value": "x"})
    assert names(library, filter=wanted) == []
    library.update_attributes("vs", "d1", {"a": "x"})
    assert set(names(library, filter=wanted)) == {"d1"}
    with pytest.raises(NotFound):
        library.update_attributes("vs", "nope", {})


def test_stores_are_searched_together_and_apart(library: Library) -> None:
    library.stores.create("other", owner="local")
    add(library, "d1")
    library.add("other", document_id="d1", name="x.txt", data=b"refund elsewhere")
    both = {hit.passage.store_id for hit in library.search(["vs", "other"], "refund")}
    assert both == {"vs", "other"}
    assert {hit.passage.store_id for hit in library.search(["other"], "refund")} == {"other"}


def test_dense_scores_equal_numpy(library: Library, embedder: Embedder) -> None:
    for number in range(5):
        add(library, f"d{number}", f"warranty of lamp {number}".encode(), name="")
    query = embedder.embed(["lamp 3"], queries=True)[0]
    for hit in library.search(["vs"], "lamp 3"):
        row = embedder.embed([hit.passage.text])[0]
        assert hit.dense == pytest.approx(float(np.dot(row, query)), abs=1e-5)


# -- identifiers and several words


@pytest.fixture(scope="module")
def parts(
    embedder: Embedder, parser: Parser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Library]:
    """Thirty documents that differ in nothing but numbers."""
    folder = tmp_path_factory.mktemp("parts")
    database = Database(folder / "houseword.db")
    library = Library(database, embedder, folder=folder / "generations", parser=parser)
    library.stores.create("vs", owner="local")
    for number in range(30):
        text = (
            f"The bag rack TX-44{number:02}/B is of price {number}. "
            f"It was in order ORD-2024-1{number:02} of the store."
        )
        add(library, f"d{number}", text.encode(), name="")
    yield library
    database.close()


@pytest.mark.parametrize("weight", [None, 0.0, 0.7])
@pytest.mark.parametrize(
    "query",
    [
        "TX-4417/B",
        "tx-4417/b",
        "Where is ORD-2024-117?",
        "what is the price of the TX-4417/B rack",
        "order ORD-2024-117, the bag of it",
    ],
)
def test_an_identifier_is_found_whatever_words_weigh(
    parts: Library, query: str, weight: float | None
) -> None:
    assert names(parts, query, k=3, lexical_weight=weight)[0] == "d17"


def test_parts_of_an_identifier_elsewhere_do_not_win(library: Library) -> None:
    add(library, "whole", b"The lamp TX-4411/B is in the store.", name="")
    add(library, "pieces", b"B is of 4411 days, b 4411 b 4411; the price of TX is TX.", name="")
    assert names(library, "TX-4411/B")[0] == "whole"


def test_words_in_quotation_marks_are_found_as_a_whole(library: Library) -> None:
    add(library, "apart", b"The store is of the bag, and bag days are of the store bag.", name="")
    add(library, "whole", b"Shipping of the bag store is in days.", name="")
    assert names(library, 'the "bag store"', dense=False)[0] == "whole"


def test_several_words_go_before_one_of_them(library: Library) -> None:
    add(library, "one", b"The warranty, the warranty and the warranty.", name="")
    add(library, "both", b"The warranty of the lamp is in the store.", name="")
    assert names(library, "lamp warranty", dense=False)[0] == "both"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("TX-4411/B", ["TX-4411/B"]),
        ("see ORD-2024-118 and 1234567", ["ORD-2024-118", "1234567"]),
        ("part A4711b.", ["A4711b"]),
        ("2024-05-17", ["2024-05-17"]),
        ("within 45 days of 2024, a 45-day trial and 24/7", []),
        ("well-known e-mail", []),
    ],
)
def test_identifiers_are_told_from_words_and_numbers(query: str, found: list[str]) -> None:
    assert identifiers(query) == found
