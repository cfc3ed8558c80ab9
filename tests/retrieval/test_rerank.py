"""A real cross-encoder with random weights orders what a search has found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sentence_transformers import CrossEncoder

from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.errors import RerankerError
from retrieval.library import Library
from retrieval.parse import Parser
from retrieval.rerank import RERANKED, Reranker


@pytest.fixture(scope="session")
def reranker(cross_encoder_folder: Path) -> Reranker:
    return Reranker(cross_encoder_folder, "cpu")


@pytest.fixture
def reranking(
    database: Database, embedder: Embedder, parser: Parser, tmp_path: Path, reranker: Reranker
) -> Iterator[Library]:
    made = Library(
        database, embedder, folder=tmp_path / "generations", parser=parser, reranker=reranker
    )
    made.stores.create("vs", owner="local")
    for number in range(RERANKED + 10):
        text = f"refund {number} " + " ".join(("bag", "lamp", "rack")[: number % 4])
        made.add("vs", document_id=f"d{number}", name="", data=text.encode())
    yield made


def test_hits_are_in_the_order_of_the_cross_encoder(
    reranking: Library, cross_encoder_folder: Path
) -> None:
    hits = reranking.search(["vs"], "refund of a bag", k=8)
    assert len(hits) == 8
    model = CrossEncoder(str(cross_encoder_folder), device="cpu")
    right = model.predict([("refund of a bag", hit.passage.text) for hit in hits])
    assert [hit.rerank for hit in hits] == pytest.approx(right.tolist(), abs=1e-5)
    assert [hit.score for hit in hits] == [hit.rerank for hit in hits]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert [hit.fused for hit in hits] != sorted((hit.fused for hit in hits), reverse=True)


def test_only_the_first_are_reranked(
    reranking: Library, database: Database, embedder: Embedder, parser: Parser, tmp_path: Path
) -> None:
    plain = Library(database, embedder, folder=tmp_path / "plain", parser=parser)
    first = {hit.passage.document_id for hit in plain.search(["vs"], "refund of a bag", k=RERANKED)}
    found = {hit.passage.document_id for hit in reranking.search(["vs"], "refund of a bag", k=25)}
    assert found < first
    assert len(reranking.search(["vs"], "refund of a bag", k=35)) == 35


def test_without_one_the_fused_score_decides(library: Library) -> None:
    library.add("vs", document_id="d", name="", data=b"refund of a bag")
    (hit,) = library.search(["vs"], "refund")
    assert hit.rerank is None and hit.score == hit.fused > 0


def test_scores_are_within_0_and_1_and_nothing_has_none(reranker: Reranker) -> None:
    assert reranker.score("refund", []) == []
    assert all(0 <= score <= 1 for score in reranker.score("refund", ["bag", "", "x" * 9000]))


def test_a_missing_or_wrong_model_is_told_with_its_fix(tmp_path: Path, build_cross_encoder) -> None:
    (tmp_path / "empty").mkdir()
    for name in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(RerankerError, match="HOUSEWORD_RERANKER"):
            Reranker(name, "cpu")
    with pytest.raises(RerankerError, match="3 scores"):
        Reranker(build_cross_encoder(tmp_path / "classifier", labels=3), "cpu")
