"""A multipart upload, streamed to the disk as it arrives; only small fields stay in memory.

It knows the form that OpenAI's client sends (`file`, `purpose`, `expires_after[...]`), not
what becomes of the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from server.content import FileContent, Incoming
from server.errors import ApiError

PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
FIELD_BYTES = 4096
FILENAME_CHARACTERS = 512
SHORTEST_EXPIRY, LONGEST_EXPIRY = 3600, 2_592_000  # seconds: OpenAI's limits


@dataclass(frozen=True, slots=True)
class Upload:
    """What was received; `incoming` is kept or discarded by the caller."""

    incoming: Incoming
    filename: str
    purpose: str
    expires_seconds: int | None


async def receive_upload(
    request: Request[Any, Any, Any], content: FileContent, *, max_bytes: int
) -> Upload:
    """Read the whole request; raises `ApiError` for a bad form (400) or a large file (413).

    Nothing is left on the disk when it raises.
    """
    kind, options = request.content_type
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise _bad("The body must be multipart/form-data with a boundary.")
    form = _Form(content, options["boundary"], max_bytes)
    stream = request.stream()
    try:
        if (request.content_length or 0) > max_bytes + 16 * FIELD_BYTES:
            raise form.too_large()
        async for chunk in stream:
            # The disk may be slow; the event loop must not be.
            await asyncio.to_thread(form.feed, chunk)
        return form.finish()
    except ApiError as error:
        form.discard()
        if error.status == 413:
            await _drain(stream, max_bytes)
        raise
    except (MultipartError, UnicodeDecodeError) as error:
        form.discard()
        raise _bad(f"The form cannot be read: {error}") from error
    except BaseException:
        form.discard()
        raise


class _Form:
    """Takes chunks of the body; the parts become a file and fields."""

    def __init__(self, content: FileContent, boundary: str, max_bytes: int) -> None:
        self._content = content
        self._max_bytes = max_bytes
        self._parser = PushMultipartParser(boundary, max_segment_count=16)
        self._part: MultipartSegment | None = None
        self._value = bytearray()
        self._fields: dict[str, str] = {}
        self._incoming: Incoming | None = None
        self._filename = ""

    def feed(self, chunk: bytes) -> None:
        if self._parser.closed:
            return
        for event in self._parser.parse(chunk):
            if isinstance(event, MultipartSegment):
                self._begin(event)
            elif event is None:
                self._end()
            else:
                self._take(event)

    def finish(self) -> Upload:
        self._parser.close()
        if self._incoming is None:
            raise _bad("The file is missing: send it as the part 'file'.", param="file")
        purpose = self._fields.get("purpose", "")
        if purpose not in PURPOSES:
            raise _bad(f"purpose must be one of {', '.join(PURPOSES)}.", param="purpose")
        return Upload(self._incoming, self._filename, purpose, self._expires_seconds())

    def discard(self) -> None:
        if self._incoming is not None:
            self._incoming.discard()

    def too_large(self) -> ApiError:
        return ApiError(
            413,
            f"The file is larger than the limit of {self._max_bytes} bytes: split it, or raise "
            "HOUSEWORD_MAX_UPLOAD_BYTES.",
            param="file",
            code="file_too_large",
        )

    def _begin(self, part: MultipartSegment) -> None:
        self._part = part
        self._value.clear()
        if part.name == "file" and part.filename is not None:
            if self._incoming is not None:
                raise _bad("Send one file for each request.", param="file")
            name = part.filename[:FILENAME_CHARACTERS]
            self._filename = "".join(c if c.isprintable() else "_" for c in name) or "file"
            self._incoming = self._content.receive()

    def _take(self, data: bytes | bytearray) -> None:
        assert self._part is not None
        if self._part.name == "file" and self._part.filename is not None:
            assert self._incoming is not None
            if self._incoming.bytes + len(data) > self._max_bytes:
                raise self.too_large()
            self._incoming.write(bytes(data))
        else:
            self._value += data
            if len(self._value) > FIELD_BYTES:
                raise _bad(f"The field is longer than {FIELD_BYTES} bytes.", param=self._part.name)

    def _end(self) -> None:
        assert self._part is not None
        if self._part.filename is None:
            self._fields[self._part.name] = self._value.decode("utf-8")

    def _expires_seconds(self) -> int | None:
        anchor = self._fields.get("expires_after[anchor]")
        seconds = self._fields.get("expires_after[seconds]")
        if anchor is None and seconds is None:
            return None
        valid = anchor == "created_at" and seconds is not None and seconds.isdecimal()
        if not valid or not SHORTEST_EXPIRY <= int(seconds or 0) <= LONGEST_EXPIRY:
            raise _bad(
                "expires_after needs the anchor 'created_at' and "
                f"{SHORTEST_EXPIRY} to {LONGEST_EXPIRY} seconds.",
                param="expires_after",
            )
        return int(seconds or 0)


async def _drain(stream: AsyncIterator[bytes], at_most: int) -> None:
    """Read on for a while: a client that is still sending would not see the answer."""
    left = at_most
    async for chunk in stream:
        left -= len(chunk)
        if left < 0:
            return


def _bad(message: str, *, param: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code="invalid_form")
