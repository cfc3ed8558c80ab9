"""The wire: what the API takes and gives, as msgspec Structs in OpenAI's shapes.

Lists, files, models and embeddings are here; `schemas_stores.py` has the vector stores.

Bodies ignore unknown fields, as OpenAI's own server does; what would silently change a result
is refused by the routes. The functions at the end turn inside records into these shapes.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct

from server.records import Page, UploadedFile

T = TypeVar("T")


class Listing(Struct, Generic[T], kw_only=True):
    """A page of a list."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(Struct):
    """The receipt of a deletion."""

    id: str
    object: str
    deleted: bool = True


# -- files


class FileObject(Struct, kw_only=True):
    """An uploaded file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: str | None = None
    expires_at: int | None = None


# -- models and embeddings


class Model(Struct, kw_only=True):
    """A model that can be named in a request."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class EmbeddingsCreate(Struct, kw_only=True):
    """Texts to embed."""

    model: str
    input: Any
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class Embedding(Struct, kw_only=True):
    """A vector: floats, or little-endian float32 in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(Struct):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(Struct, kw_only=True):
    """Vectors in the order of the input."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


# -- records to shapes


def listing(page: Page[Any]) -> Listing[Any]:
    """A page of objects that have an id."""
    items = page.items
    return Listing(
        data=items,
        first_id=items[0].id if items else None,
        last_id=items[-1].id if items else None,
        has_more=page.has_more,
    )


def file_object(file: UploadedFile) -> FileObject:
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=file.created_at,
        filename=file.filename,
        purpose=file.purpose,
        expires_at=file.expires_at,
    )
