"""/v1/vector_stores/{id}/files and /file_batches: what a store holds, and how far it is."""

from __future__ import annotations

import time
from typing import Annotated, Literal, TypeVar

from litestar import Response, Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from server.auth import Owner
from server.errors import ApiError
from server.records import Attachment, Chunking, Wanted, Window
from server.schemas import Deleted, Listing, listing
from server.schemas_stores import (
    Attach,
    AttachBatch,
    AttributesUpdate,
    BatchObject,
    Content,
    ContentPage,
    StoreFile,
    StorePassage,
    batch_object,
    chunking,
    store_file,
)
from server.services import AppServices, Services

POLL_MS = 200

T = TypeVar("T")
Status = Literal["in_progress", "completed", "failed", "cancelled"]
Limit = Annotated[int, QueryParameter(ge=1, le=100)]


@post("/{store_id:str}/files", status_code=200, sync_to_thread=True)
def attach_file(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    data: JSONBody[Attach],
) -> Response[StoreFile]:
    """Put an uploaded file into a store; it is indexed in the background."""
    services.store(owner, store_id)
    attached = services.ledger.attachments.attach(
        owner, store_id, _wanted(data), now=int(time.time())
    )
    services.ingest.wake()
    return _polled(_object(services, attached))


@get("/{store_id:str}/files", sync_to_thread=True)
def list_store_files(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    limit: Limit = 20,
    order: FromQuery[Literal["asc", "desc"]] = "desc",
    after: FromQuery[str | None] = None,
    before: FromQuery[str | None] = None,
    status: Annotated[Status | None, QueryParameter(name="filter")] = None,
) -> Listing[StoreFile]:
    """List the files of a store, the newest first."""
    services.store(owner, store_id)
    window = Window(limit=limit, order=order, after=after, before=before)
    page = services.ledger.attachments.page(owner, store_id, window, status=status)
    return listing(page.map(lambda attachment: _object(services, attachment)))


@get("/{store_id:str}/files/{file_id:str}", sync_to_thread=True)
def retrieve_store_file(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    file_id: FromPath[str],
) -> Response[StoreFile]:
    """Describe one file of a store, with its progress or its error."""
    return _polled(_object(services, _get(services, owner, store_id, file_id)))


@post("/{store_id:str}/files/{file_id:str}", status_code=200, sync_to_thread=True)
def update_store_file(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    file_id: FromPath[str],
    data: JSONBody[AttributesUpdate],
) -> Response[StoreFile]:
    """Replace a file's attributes."""
    attachment = _get(services, owner, store_id, file_id)
    attributes = data.attributes or {}

    if attachment.status == "completed" and attachment.duplicate_of is None:
        services.library.update_attributes(store_id, file_id, attributes)
    services.ledger.attachments.set_attributes(attachment, attributes)
    services.ingest.wake()
    return _polled(_object(services, _get(services, owner, store_id, file_id)))


@delete("/{store_id:str}/files/{file_id:str}", status_code=200, sync_to_thread=True)
def detach_file(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    file_id: FromPath[str],
) -> Deleted:
    """Take a file out of a store; the uploaded file stays."""
    _get(services, owner, store_id, file_id)
    services.ingest.remove(store_id, file_id)
    return Deleted(file_id, "vector_store.file.deleted")


@get("/{store_id:str}/files/{file_id:str}/content", sync_to_thread=True)
def store_file_content(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    file_id: FromPath[str],
) -> ContentPage:
    """Return the text that was read from a file."""
    attachment = _get(services, owner, store_id, file_id)
    if attachment.status != "completed":
        raise ApiError(
            400, f"The file is {attachment.status}: it has no text in this store.", code="no_text"
        )
    text = services.library.document_text(store_id, attachment.duplicate_of or file_id)
    return ContentPage(data=[Content(text=text)])


@get("/{store_id:str}/files/{file_id:str}/passages", sync_to_thread=True)
def store_file_passages(
    services: AppServices, owner: Owner, store_id: FromPath[str], file_id: FromPath[str]
) -> Listing[StorePassage]:
    """List the passages into which a file was split, in their order; all on one page."""
    attachment = _get(services, owner, store_id, file_id)
    passages = services.library.passages(store_id, attachment.duplicate_of or file_id)
    return Listing(
        data=[
            StorePassage(
                id=str(passage.id),
                index=passage.index,
                text=passage.text,
                start=passage.start,
                end=passage.end,
                page=passage.page,
                heading=passage.heading,
                tokens=passage.tokens,
            )
            for passage in passages
        ],
        has_more=False,
        first_id=str(passages[0].id) if passages else None,
        last_id=str(passages[-1].id) if passages else None,
    )


@post("/{store_id:str}/file_batches", status_code=200, sync_to_thread=True)
def create_batch(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    data: JSONBody[AttachBatch],
) -> Response[BatchObject]:
    """Put several files into a store, all or none."""
    if bool(data.file_ids) == bool(data.files):
        raise ApiError(400, "Give either file_ids or files, with at least one.", param="file_ids")
    wanted = [_wanted(item) for item in data.files or []] or [
        Wanted(file_id, data.attributes or {}, chunking(data.chunking_strategy))
        for file_id in data.file_ids or []
    ]
    services.store(owner, store_id)
    batch = services.ledger.batches.create(owner, store_id, wanted, now=int(time.time()))
    services.ingest.wake()
    return _polled(batch_object(batch))


@get("/{store_id:str}/file_batches/{batch_id:str}", sync_to_thread=True)
def retrieve_batch(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    batch_id: FromPath[str],
) -> Response[BatchObject]:
    """Describe one batch."""
    return _polled(batch_object(services.ledger.batches.get(owner, store_id, batch_id)))


@post("/{store_id:str}/file_batches/{batch_id:str}/cancel", status_code=200, sync_to_thread=True)
def cancel_batch(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    batch_id: FromPath[str],
) -> BatchObject:
    """Cancel what of a batch is not indexed yet."""
    return batch_object(services.ledger.batches.cancel(owner, store_id, batch_id))


@get("/{store_id:str}/file_batches/{batch_id:str}/files", sync_to_thread=True)
def list_batch_files(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    batch_id: FromPath[str],
    limit: Limit = 20,
    order: FromQuery[Literal["asc", "desc"]] = "desc",
    after: FromQuery[str | None] = None,
    before: FromQuery[str | None] = None,
    status: Annotated[Status | None, QueryParameter(name="filter")] = None,
) -> Listing[StoreFile]:
    """List the files of a batch, the newest first."""
    services.ledger.batches.get(owner, store_id, batch_id)
    window = Window(limit=limit, order=order, after=after, before=before)
    page = services.ledger.attachments.page(
        owner, store_id, window, status=status, batch_id=batch_id
    )
    return listing(page.map(lambda attachment: _object(services, attachment)))


def _get(services: Services, owner: str, store_id: str, file_id: str) -> Attachment:
    return services.ledger.attachments.get(owner, store_id, file_id)


def _wanted(item: Attach) -> Wanted:
    return Wanted(item.file_id, item.attributes or {}, chunking(item.chunking_strategy))


def _object(services: Services, attachment: Attachment) -> StoreFile:
    settings = services.settings
    return store_file(
        attachment,
        default=Chunking(settings.passage_tokens, settings.overlap_tokens),
        waits_for=services.ingest.waits_for,
    )


def _polled(content: T) -> Response[T]:
    """Tell the client's pollers when to look again; their own pace is a second."""
    return Response(content, headers={"openai-poll-after-ms": str(POLL_MS)})


router = Router(
    path="/vector_stores",
    route_handlers=[
        attach_file,
        list_store_files,
        retrieve_store_file,
        update_store_file,
        detach_file,
        store_file_content,
        store_file_passages,
        create_batch,
        retrieve_batch,
        cancel_batch,
        list_batch_files,
    ],
    tags=["vector stores"],
)
