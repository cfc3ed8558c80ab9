"""The ingest queue: one thread takes uploaded files and adds them to their stores.

The attachments' rows are the queue, so that a restart goes on where it was. It knows no HTTP;
read `_ingest` first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from retrieval.database import Connection
from retrieval.errors import (
    Cancelled,
    InvalidAttributes,
    InvalidFile,
    NotFound,
    StorageFull,
    UnsupportedFile,
)
from retrieval.library import Library
from retrieval.records import Document
from retrieval.store import find_document, find_same_document
from server.content import FileContent
from server.ledger import Ledger
from server.records import Attachment, ErrorCode, UploadedFile
from server.settings import MAX_PASSAGE_TOKENS, Settings

logger = logging.getLogger(__name__)

REPORT_SECONDS = 0.5  # every report is a write to the disk
QUIET_SECONDS = 2.0  # without work, before stores are tended: files often come one by one
IDLE_SECONDS = 30.0  # how often an idle thread looks for expired files
RETRY_SECONDS = 5.0  # the pause after a fault that could not even be recorded
STOP_SECONDS = 30.0


class Ingest:
    """Owns the thread. `wake` it after attaching files."""

    def __init__(
        self,
        ledger: Ledger,
        library: Library,
        content: FileContent,
        *,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._library = library
        self._content = content
        self._settings = settings
        self._clock = clock
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self._waits_for: str | None = None
        self._untended = True  # an earlier run may have left something

    @property
    def waits_for(self) -> str | None:
        """Why the queue stands still, in words; None while it moves.

        It is kept in memory: a disk so full that no row can be changed cannot hold it.
        """
        return self._waits_for

    def start(self) -> None:
        """Work until `stop`, first on what an earlier run has left."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the current file in the queue and end the thread."""
        self._stopping.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def wake(self) -> None:
        """Tell the thread that there may be work."""
        self._news.set()

    def remove_file(self, owner: str, file_id: str) -> None:
        """Delete a file everywhere: its passages in every store, its row, its bytes."""
        self._ledger.file(owner, file_id)
        for store_id in self._ledger.attachments.stores_of(owner, file_id):
            self.remove(store_id, file_id)
        self._content.drop(lambda: self._ledger.forget_file(owner, file_id))

    def remove(self, store_id: str, file_id: str) -> None:
        """Take a file out of a store, with its passages; work on it is abandoned."""

        def detach(connection: Connection) -> None:
            self._ledger.attachments.detach(connection, store_id, file_id)

        if not self._library.remove(store_id, file_id, also=detach):
            self._ledger.database.write(detach)
        self.wake()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            try:
                attachment = self._ledger.attachments.next_waiting()
                if attachment is None:
                    self._remove_expired()
                    if self._untended and not self._news.wait(QUIET_SECONDS):
                        self._tend()
                    self._news.wait(IDLE_SECONDS)
                    continue
                self._untended = True
                self._ingest(attachment)
                self._waits_for = None
            except Exception as error:
                # Such as a disk so full that the failure cannot be recorded: the row stays in
                # the queue and is taken up again.
                self._waits_for = explain(error)[1]
                logger.exception("ingest fault; trying again in %s s", RETRY_SECONDS)
                self._stopping.wait(RETRY_SECONDS)

    def _ingest(self, attachment: Attachment) -> None:
        started = self._clock()
        try:
            self._add(attachment)
        except Cancelled:
            logger.info("%s: given up or cancelled", attachment.file_id)
        except NotFound:
            # The store was deleted meanwhile, and its attachments with it.
            self._ledger.database.write(
                lambda connection: self._ledger.attachments.detach(
                    connection, attachment.store_id, attachment.file_id
                )
            )
        except Exception as error:
            code, message = explain(error)
            if code == "server_error":
                logger.error("%s: %s", attachment.file_id, message, exc_info=error)
            else:
                logger.info("%s: %s", attachment.file_id, code)
            self._ledger.attachments.fail(attachment, code=code, message=message)
        else:
            logger.info("%s: indexed in %.2f s", attachment.file_id, self._clock() - started)

    def _add(self, attachment: Attachment) -> None:
        file = self._ledger.file(attachment.owner, attachment.file_id)
        max_tokens = attachment.chunking.max_tokens or self._settings.passage_tokens
        max_tokens = min(max_tokens, MAX_PASSAGE_TOKENS)
        overlap_tokens = attachment.chunking.overlap_tokens
        if overlap_tokens is None:
            overlap_tokens = self._settings.overlap_tokens

        def complete(connection: Connection) -> None:
            duplicate_of = self._duplicate_of(connection, attachment, file)
            if not self._ledger.attachments.complete(
                connection, attachment, duplicate_of=duplicate_of
            ):
                raise Cancelled("cancelled while it was indexed")

        if attachment.usage_bytes:
            # It was indexed before and is wanted in another way; the queue remembers it.
            self._library.remove(
                attachment.store_id,
                attachment.file_id,
                also=lambda connection: self._ledger.attachments.requeue_duplicates(
                    connection, attachment.store_id, attachment.file_id
                ),
            )
        self._library.add(
            attachment.store_id,
            document_id=attachment.file_id,
            name=file.filename,
            data=self._content.read(file.digest),
            attributes=attachment.attributes,
            source=attachment.source,
            max_tokens=max_tokens,
            overlap_tokens=min(overlap_tokens, max_tokens // 2),
            progress=self._reporter(attachment),
            cancelled=lambda: self._is_over(attachment),
            also=complete,
        )

    def _duplicate_of(
        self, connection: Connection, attachment: Attachment, file: UploadedFile
    ) -> str | None:
        """The file whose passages stand for this one's; None where it has its own."""
        if find_document(connection, attachment.store_id, attachment.file_id) is not None:
            return None
        same = find_same_document(
            connection,
            Document(
                id=attachment.file_id,
                store_id=attachment.store_id,
                name=file.filename,
                digest=file.digest,
                bytes=file.bytes,
                media_type="",
                characters=0,
                attributes=attachment.attributes,
                source=attachment.source,
                created_at=file.created_at,
            ),
        )
        if same is None:
            raise Cancelled("what it was a duplicate of has just gone: once more")
        return same.id

    def _is_over(self, attachment: Attachment) -> bool:
        return self._stopping.is_set() or not self._ledger.attachments.is_wanted(attachment)

    def _reporter(self, attachment: Attachment) -> Callable[[str, int, int], None]:
        next_report = 0.0

        def report(stage: str, done: int, total: int) -> None:
            nonlocal next_report
            now = time.monotonic()
            if now >= next_report:
                next_report = now + REPORT_SECONDS
                self._ledger.attachments.report(attachment, stage=stage, done=done, total=total)

        return report

    def _tend(self) -> None:
        """Let vectors, indexes and calibrations follow what has come, until there is other work."""
        try:
            self._library.tend(stopped=lambda: self._news.is_set() or self._stopping.is_set())
        except Cancelled:
            return
        except Exception:  # no file waits for it, and it is tried again after the next one
            logger.exception("what lags behind could not be brought up to date")
        self._untended = False

    def _remove_expired(self) -> None:
        for file in self._ledger.expired_files(int(self._clock())):
            logger.info("%s: expired", file.id)
            self.remove_file(file.owner, file.id)


def explain(error: Exception) -> tuple[ErrorCode, str]:
    """OpenAI's error code and words for the user, for whatever stopped an ingest."""
    if isinstance(error, UnsupportedFile):
        return "unsupported_file", str(error)
    if isinstance(error, InvalidFile | InvalidAttributes):
        return "invalid_file", str(error)
    if isinstance(error, StorageFull):
        return "server_error", error.strerror or "the disk is full"
    if isinstance(error, FileNotFoundError):
        return "server_error", "the uploaded bytes are gone: upload the file again"
    return "server_error", "the server failed on this file; its log tells why"
