"""The wire of a search in a vector store, in OpenAI's shape with more of ours."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from retrieval.records import Hit
from server.schemas_stores import Content


class RankingOptions(Struct):
    """How results are ranked."""

    ranker: Literal["none", "auto", "default-2024-11-15"] = "auto"
    score_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.0


Query = Annotated[str, Meta(min_length=1, max_length=20_000)]


class Search(Struct, kw_only=True):
    """A question to a store."""

    query: Query | Annotated[list[Query], Meta(min_length=1, max_length=16)]
    filters: dict[str, Any] | None = None
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 10
    ranking_options: RankingOptions | None = None


class PassageObject(Struct, kw_only=True):
    """Where a passage stands in its file's text (ours): characters from `start` to `end`."""

    id: int
    index: int
    start: int
    end: int
    tokens: int


class SearchHit(Struct, kw_only=True):
    """A passage that was found; what follows `content` is ours.

    `score` is `rerank` where a cross-encoder is configured, else `fused`: `dense` (cosine) and
    `lexical` (BM25) together. `generation` names what the passage was embedded by.
    """

    file_id: str
    filename: str
    score: float
    attributes: dict[str, Any]
    content: list[Content]
    dense: float
    lexical: float
    fused: float
    rerank: float | None
    passage: PassageObject
    page: int | None
    heading: str | None
    generation: str


class SearchPage(Struct, kw_only=True):
    """What a search found, best first."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[SearchHit]
    has_more: bool = False
    next_page: str | None = None


def search_hit(hit: Hit) -> SearchHit:
    return SearchHit(
        file_id=hit.passage.document_id,
        filename=hit.document_name,
        score=hit.score,
        attributes=dict(hit.attributes),
        content=[Content(text=hit.passage.text)],
        dense=hit.dense,
        lexical=hit.lexical,
        fused=hit.fused,
        rerank=hit.rerank,
        passage=PassageObject(
            id=hit.passage.id,
            index=hit.passage.index,
            start=hit.passage.start,
            end=hit.passage.end,
            tokens=hit.passage.tokens,
        ),
        page=hit.passage.page,
        heading=hit.passage.heading,
        generation=hit.generation,
    )
