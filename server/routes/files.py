"""/v1/files: upload, list, retrieve, content, delete. Uploads never replace one another."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from litestar import Request, Router, delete, get, post
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import File

from server.auth import Owner
from server.ids import new_id
from server.records import UploadedFile, Window
from server.schemas import Deleted, FileObject, Listing, file_object, listing
from server.services import AppServices
from server.uploads import PURPOSES, receive_upload


@dataclass
class UploadOperation(Operation):
    """Tells the API's description about the form, which is parsed by hand."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING)
        file = Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
        form = Schema(
            type=OpenAPIType.OBJECT,
            required=["file", "purpose"],
            properties={
                "file": file,
                "purpose": Schema(type=OpenAPIType.STRING, enum=list(PURPOSES)),
                "expires_after[anchor]": text,
                "expires_after[seconds]": text,
            },
        )
        self.request_body = RequestBody(
            content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True
        )


@post("/", status_code=200, operation_class=UploadOperation, request_max_body_size=None)
async def upload_file(
    request: Request[Any, Any, Any],
    services: AppServices,
    owner: Owner,
) -> FileObject:
    """Upload a file; it is on the disk when this answers."""
    upload = await receive_upload(
        request, services.content, max_bytes=services.settings.max_upload_bytes
    )
    now = int(time.time())

    def record(digest: str) -> UploadedFile:
        seconds = upload.expires_seconds
        return services.ledger.add_file(
            UploadedFile(
                id=new_id("file"),
                owner=owner,
                filename=upload.filename,
                purpose=upload.purpose,
                bytes=upload.incoming.bytes,
                digest=digest,
                created_at=now,
                expires_at=None if seconds is None else now + seconds,
            )
        )

    def keep() -> UploadedFile:
        try:
            services.default_store(owner)
            return services.content.keep(upload.incoming, record)
        finally:
            upload.incoming.discard()

    # A client that hangs up must not leave bytes without a row: the thread goes on to the end.
    return file_object(await asyncio.to_thread(keep))


@get("/", sync_to_thread=True)
def list_files(
    services: AppServices,
    owner: Owner,
    purpose: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=10_000)] = 10_000,
    order: FromQuery[Literal["asc", "desc"]] = "desc",
    after: FromQuery[str | None] = None,
) -> Listing[FileObject]:
    """List the uploaded files, the newest first."""
    window = Window(limit=limit, order=order, after=after)
    return listing(services.ledger.files(owner, window, purpose=purpose).map(file_object))


@get("/{file_id:str}", sync_to_thread=True)
def retrieve_file(
    services: AppServices,
    owner: Owner,
    file_id: FromPath[str],
) -> FileObject:
    """Describe one file."""
    return file_object(services.ledger.file(owner, file_id))


@get("/{file_id:str}/content", sync_to_thread=True)
def file_content(
    services: AppServices,
    owner: Owner,
    file_id: FromPath[str],
) -> File:
    """Return the bytes as they were uploaded."""
    file = services.ledger.file(owner, file_id)
    return File(
        services.content.path(file.digest),
        filename=file.filename,
        media_type="application/octet-stream",
        content_disposition_type="attachment",
    )


@delete("/{file_id:str}", status_code=200, sync_to_thread=True)
def delete_file(
    services: AppServices,
    owner: Owner,
    file_id: FromPath[str],
) -> Deleted:
    """Delete a file everywhere: its bytes, and its passages in every store."""
    services.ingest.remove_file(owner, file_id)
    return Deleted(file_id, "file")


router = Router(
    path="/files",
    route_handlers=[upload_file, list_files, retrieve_file, file_content, delete_file],
    tags=["files"],
)
