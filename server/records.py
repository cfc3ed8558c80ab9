"""The nouns of the ledger: uploaded files, their attachments to stores, batches, pages.

Plain frozen data; the wire has its own shapes in `schemas.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from retrieval.records import AttributeValue

T = TypeVar("T")
AttachmentStatus = Literal["in_progress", "completed", "failed", "cancelled"]
ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One upload; several may share their content (`digest`). Times are Unix seconds."""

    id: str
    owner: str
    filename: str
    purpose: str
    bytes: int
    digest: str
    created_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a file is cut, in tokens as asked for; None stands for the server's own choice."""

    max_tokens: int | None = None
    overlap_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file's place in a store. Those in progress are the ingest queue.

    `stage`, `done` and `total` tell how far the ingest is; `duplicate_of` names the file of
    the same store that holds the same content, so that this one has no passages of its own.
    """

    store_id: str
    file_id: str
    owner: str
    status: AttachmentStatus
    error_code: ErrorCode | None
    error_message: str | None
    attributes: dict[str, AttributeValue]
    chunking: Chunking
    source: str | None
    stage: str
    done: int
    total: int
    usage_bytes: int
    duplicate_of: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to be attached, as asked for."""

    file_id: str
    attributes: Mapping[str, AttributeValue]
    chunking: Chunking = Chunking()


@dataclass(frozen=True, slots=True)
class Counts:
    """Attachments by status."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class Batch:
    """Files attached in one request."""

    id: str
    owner: str
    store_id: str
    cancelled: bool
    created_at: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a list that is asked for; cursors are ids."""

    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, and whether more follows."""

    items: list[T]
    has_more: bool

    def map(self, function: Any) -> Page[Any]:
        """The same page with `function` applied to each item."""
        return Page([function(item) for item in self.items], self.has_more)
