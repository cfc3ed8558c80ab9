"""The nouns of retrieval: what a store holds and what a search returns.

Plain frozen data. Nothing here knows SQLite, models or files; read `filter.py` for how a
caller narrows a search by attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

AttributeValue = str | float | bool
Attributes = Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class Text:
    """What a file says, with the places where its pages and sections begin.

    `pages` and `headings` are ascending in their first element, a character offset into `text`.
    A heading's own words stand in `text` at its offset.
    """

    text: str
    pages: tuple[tuple[int, int], ...] = ()
    headings: tuple[tuple[int, str], ...] = ()
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Store:
    """A named set of documents. Times are Unix seconds; `bytes` is the size of the files."""

    id: str
    owner: str
    name: str
    metadata: dict[str, str]
    created_at: int
    last_active_at: int
    documents: int
    passages: int
    bytes: int
    expires_after_days: int | None = None

    @property
    def expires_at(self) -> int | None:
        """When it expires if nothing changes in it."""
        if self.expires_after_days is None:
            return None
        return self.last_active_at + self.expires_after_days * 86_400


@dataclass(frozen=True, slots=True)
class Document:
    """One ingested file of one store; (store_id, id) is unique."""

    id: str
    store_id: str
    name: str
    digest: str
    bytes: int
    media_type: str
    characters: int
    attributes: dict[str, AttributeValue]
    source: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A citable span of a document: `text == document_text[start:end]`."""

    id: int
    document_id: str
    store_id: str
    index: int
    start: int
    end: int
    text: str
    page: int | None
    heading: str | None
    tokens: int


@dataclass(frozen=True, slots=True)
class EmbeddedText:
    """A passage as it is embedded: `context` is its title and heading, `body` its own words."""

    id: int
    document_id: str
    document_name: str
    heading: str | None
    context: str
    body: str

    @property
    def text(self) -> str:
        """What is embedded for a passage: its title and heading, then itself."""
        return f"{self.context}\n{self.body}" if self.context else self.body


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found for one query.

    `score` in 0..1 ranks the hits of this query: it is `rerank`, what a cross-encoder says, where
    one is configured, else `fused`, the two sides together. `dense` is the cosine similarity
    (-1..1, a passage's best window) and `lexical` the BM25 score (0 where no word of the query
    occurs): these two can be compared between queries.
    """

    passage: Passage
    document_name: str
    attributes: dict[str, AttributeValue]
    score: float
    dense: float
    lexical: float
    generation: str
    fused: float = 0.0
    rerank: float | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What `Library.add` did. `replaced` and `duplicate_of` are document ids."""

    outcome: Literal["added", "skipped", "replaced"]
    passages: int
    characters: int
    replaced: str | None = None
    duplicate_of: str | None = None
