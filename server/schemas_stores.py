"""The wire of vector stores, their files and batches, in OpenAI's shapes.

Search is in `schemas_search.py`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from retrieval.records import Store
from server.records import Attachment, Batch, Chunking, Counts

SAFE_INTEGER = 2**53
Key = Annotated[str, Meta(min_length=1, max_length=64)]
Words = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[Key, Words], Meta(max_length=16)]
Whole = Annotated[int, Meta(ge=-SAFE_INTEGER, le=SAFE_INTEGER)]
Attributes = Annotated[dict[Key, Words | Whole | float | bool], Meta(max_length=16)]
FileIds = Annotated[list[str], Meta(max_length=2000)]


# -- chunking


class StaticChunking(Struct):
    """Passages of a given size, in tokens."""

    max_chunk_size_tokens: Annotated[int, Meta(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0, le=2048)]

    def __post_init__(self) -> None:
        if self.chunk_overlap_tokens > self.max_chunk_size_tokens // 2:
            raise ValueError("chunk_overlap_tokens is more than half of max_chunk_size_tokens")


class AutoStrategy(Struct, tag_field="type", tag="auto"):
    """The server's own choice."""


class StaticStrategy(Struct, tag_field="type", tag="static"):
    """The caller's choice."""

    static: StaticChunking


Strategy = AutoStrategy | StaticStrategy


# -- vector stores


class StoreExpiry(Struct):
    """When an unused store expires."""

    anchor: Literal["last_active_at"]
    days: Annotated[int, Meta(ge=1, le=365)]


class StoreCreate(Struct, kw_only=True):
    """What a new vector store should be."""

    name: Annotated[str, Meta(max_length=512)] | None = None
    metadata: Metadata | None = None
    file_ids: FileIds | None = None
    chunking_strategy: Strategy | None = None
    expires_after: StoreExpiry | None = None


class StoreModify(Struct, kw_only=True):
    """What should change; what is left out stays."""

    name: Annotated[str, Meta(max_length=512)] | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    expires_after: StoreExpiry | UnsetType | None = UNSET


class FileCounts(Struct):
    """Files by status."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class Retrieval(Struct, kw_only=True):
    """How a store is searched (ours).

    `method` is what `lexical_weight` was fitted on: `default`, `probes` made of the documents, or
    the `questions` of a search tuning, on which the `threshold` was fitted, too: an answer whose
    estimated chance to be right is below it is declined under `strict`. `recall` is recall@10 of
    an approximate index as measured when it was built; null where the index is exact or not loaded.
    """

    lexical_weight: float
    threshold: float
    method: Literal["default", "probes", "questions"]
    probes: int
    separation: float | None
    index: Literal["exact", "approximate", "not loaded"]
    recall: float | None


class StoreObject(Struct, kw_only=True):
    """A named set of documents; `documents` and `passages` count what can be found (ours)."""

    id: str
    object: Literal["vector_store"] = "vector_store"
    created_at: int
    name: str
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["expired", "in_progress", "completed"]
    expires_after: StoreExpiry | None = None
    expires_at: int | None = None
    last_active_at: int | None = None
    metadata: dict[str, str]
    documents: int
    passages: int
    retrieval: Retrieval


# -- files of a store


class Attach(Struct, kw_only=True):
    """A file to put into a store."""

    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: Strategy | None = None


class AttachBatch(Struct, kw_only=True):
    """Files to put into a store: either alike (`file_ids`) or each in its own way (`files`)."""

    file_ids: FileIds | None = None
    files: Annotated[list[Attach], Meta(max_length=2000)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: Strategy | None = None


class AttributesUpdate(Struct):
    """The attributes a file of a store should have from now on."""

    attributes: Attributes | None


class LastError(Struct):
    """Why a file failed."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


class Progress(Struct):
    """How far the ingest of a file is (ours): a stage, and how much of it is done.

    `waits_for` tells why it stands still, such as a full disk; it goes on by itself.
    """

    stage: str
    done: int
    total: int
    waits_for: str | None = None


class ChunkingObject(Struct):
    """Sizes as asked for, or the server's own."""

    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


class StaticStrategyObject(Struct, kw_only=True):
    """How a file was cut, in tokens."""

    type: Literal["static"] = "static"
    static: ChunkingObject


class StoreFile(Struct, kw_only=True):
    """A file of a vector store; `progress` and `duplicate_of` are ours."""

    id: str
    object: Literal["vector_store.file"] = "vector_store.file"
    created_at: int
    vector_store_id: str
    status: Literal["in_progress", "completed", "cancelled", "failed"]
    last_error: LastError | None
    usage_bytes: int
    attributes: dict[str, Any]
    chunking_strategy: StaticStrategyObject
    progress: Progress
    duplicate_of: str | None = None


class BatchObject(Struct, kw_only=True):
    """Files that were attached together."""

    id: str
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    created_at: int
    vector_store_id: str
    status: Literal["in_progress", "completed", "cancelled", "failed"]
    file_counts: FileCounts


class Content(Struct, kw_only=True):
    """A piece of text."""

    type: Literal["text"] = "text"
    text: str


class ContentPage(Struct, kw_only=True):
    """The text of a file."""

    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: list[Content]
    has_more: bool = False
    next_page: str | None = None


class StorePassage(Struct, kw_only=True):
    """A passage of a file (ours): `text` stands at characters `start` to `end` of the file's text.

    `tokens` are the embedder's.
    """

    object: Literal["vector_store.passage"] = "vector_store.passage"
    id: str
    index: int
    text: str
    start: int
    end: int
    page: int | None
    heading: str | None
    tokens: int


# -- records to shapes


def chunking(strategy: Strategy | None) -> Chunking:
    """What the ledger records of a chunking strategy."""
    if not isinstance(strategy, StaticStrategy):
        return Chunking()
    return Chunking(
        max_tokens=strategy.static.max_chunk_size_tokens,
        overlap_tokens=strategy.static.chunk_overlap_tokens,
    )


def file_counts(counts: Counts) -> FileCounts:
    return FileCounts(**asdict(counts), total=counts.total)


def store_file(
    attachment: Attachment, *, default: Chunking, waits_for: str | None = None
) -> StoreFile:
    """A file of a store; `default` is shown where the caller left the chunking to the server.

    `waits_for` is why the queue of those in progress stands still, if it does.
    """
    asked = attachment.chunking if attachment.chunking.max_tokens else default
    failed = attachment.error_code is not None
    return StoreFile(
        id=attachment.file_id,
        created_at=attachment.created_at,
        vector_store_id=attachment.store_id,
        status=attachment.status,
        last_error=LastError(attachment.error_code, attachment.error_message or "")
        if attachment.error_code and failed
        else None,
        usage_bytes=attachment.usage_bytes,
        attributes=attachment.attributes,
        chunking_strategy=StaticStrategyObject(
            static=ChunkingObject(asked.max_tokens or 0, asked.overlap_tokens or 0)
        ),
        progress=Progress(
            attachment.stage,
            attachment.done,
            attachment.total,
            waits_for if attachment.status == "in_progress" else None,
        ),
        duplicate_of=attachment.duplicate_of,
    )


def batch_object(batch: Batch) -> BatchObject:
    counts = batch.counts
    status: Literal["in_progress", "completed", "cancelled", "failed"] = "completed"
    if counts.in_progress:
        status = "in_progress"
    elif batch.cancelled:
        status = "cancelled"
    elif counts.total and counts.failed == counts.total:
        status = "failed"
    return BatchObject(
        id=batch.id,
        created_at=batch.created_at,
        vector_store_id=batch.store_id,
        status=status,
        file_counts=file_counts(counts),
    )


def store_object(
    store: Store, counts: Counts, usage_bytes: int, *, retrieval: Retrieval, now: int
) -> StoreObject:
    """A vector store as it is at `now`."""
    days = store.expires_after_days
    status: Literal["expired", "in_progress", "completed"] = "completed"
    if store.expires_at is not None and store.expires_at <= now:
        status = "expired"
    elif counts.in_progress:
        status = "in_progress"
    return StoreObject(
        id=store.id,
        created_at=store.created_at,
        name=store.name,
        usage_bytes=usage_bytes,
        file_counts=file_counts(counts),
        status=status,
        expires_after=None if days is None else StoreExpiry("last_active_at", days),
        expires_at=store.expires_at,
        last_active_at=store.last_active_at,
        metadata=store.metadata,
        documents=store.documents,
        passages=store.passages,
        retrieval=retrieval,
    )
