"""Files in stores: their rows, which are also the ingest queue.

An attachment moves from `in_progress` to one of `completed`, `failed` and `cancelled`; only
attaching it again, with other attributes or after a failure, sends it back. It knows nothing
of parsing or indexing; `ingest.py` does the work and tells the outcome.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from retrieval.database import Connection, Database, Row
from retrieval.records import Attributes
from server.errors import NotFound
from server.paging import read_page
from server.records import (
    Attachment,
    Chunking,
    Counts,
    ErrorCode,
    Page,
    Wanted,
    Window,
)

_KIND = "vector store file"
IN_BATCH = "file_id IN (SELECT file_id FROM batch_files WHERE batch_id = ?)"


class Attachments:
    """The rows of attachments; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- attaching

    def attach(self, owner: str, store_id: str, wanted: Wanted, *, now: int) -> Attachment:
        """Put a file in a store's queue; raises `NotFound` for an unknown file.

        A file that is there already in the same way stays as it is.
        """
        return self._database.write(
            lambda connection: attach(connection, owner, store_id, wanted, now)
        )

    def attach_within(
        self,
        connection: Connection,
        owner: str,
        store_id: str,
        wanted: Iterable[Wanted],
        *,
        now: int,
    ) -> None:
        """The same for several files, in the transaction that makes their store."""
        for item in wanted:
            attach(connection, owner, store_id, item, now)

    def set_attributes(self, attachment: Attachment, attributes: Attributes) -> None:
        """Give a file other attributes; those equal to it before are duplicates no longer."""

        def change(connection: Connection) -> None:
            connection.execute(
                "UPDATE attachments SET attributes = ?, duplicate_of = NULL, status = "
                "CASE WHEN duplicate_of IS NULL THEN status ELSE 'in_progress' END "
                "WHERE store_id = ? AND file_id = ?",
                (_json(attributes), attachment.store_id, attachment.file_id),
            )
            self.requeue_duplicates(connection, attachment.store_id, attachment.file_id)

        self._database.write(change)

    def detach(self, connection: Connection, store_id: str, file_id: str) -> None:
        """Forget a file's place, in the transaction that removes its document."""
        connection.execute(
            "DELETE FROM attachments WHERE store_id = ? AND file_id = ?", (store_id, file_id)
        )
        self.requeue_duplicates(connection, store_id, file_id)

    def requeue_duplicates(self, connection: Connection, store_id: str, file_id: str) -> None:
        """Queue the files that have no passages of their own because of this one."""
        connection.execute(
            "UPDATE attachments SET status = 'in_progress', duplicate_of = NULL, "
            "stage = 'waiting' WHERE store_id = ? AND duplicate_of = ?",
            (store_id, file_id),
        )

    # -- reading

    def get(self, owner: str, store_id: str, file_id: str) -> Attachment:
        """One file's place; raises `NotFound`."""
        with self._database.read() as connection:
            return _find(connection, owner, store_id, file_id)

    def page(
        self,
        owner: str,
        store_id: str,
        window: Window,
        *,
        status: str | None = None,
        batch_id: str | None = None,
    ) -> Page[Attachment]:
        """A page of a store's files, narrowed to a status and a batch."""
        conditions, parameters = ["owner = ?", "store_id = ?"], [owner, store_id]
        if status is not None:
            conditions.append("status = ?")
            parameters.append(status)
        if batch_id is not None:
            conditions.append(IN_BATCH)
            parameters.append(batch_id)
        with self._database.read() as connection:
            return read_page(
                connection,
                window,
                _attachment,
                table="attachments",
                where=" AND ".join(conditions),
                parameters=parameters,
                key="file_id",
            )

    def stores_of(self, owner: str, file_id: str) -> list[str]:
        """The stores that a file is attached to."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT store_id FROM attachments WHERE owner = ? AND file_id = ?",
                (owner, file_id),
            ).fetchall()
            return [row["store_id"] for row in rows]

    def usage(self, store_ids: Iterable[str]) -> dict[str, tuple[Counts, int]]:
        """For each store its attachments by status and the bytes of the completed ones."""
        with self._database.read() as connection:
            return {store_id: _usage(connection, store_id) for store_id in store_ids}

    def count_waiting(self) -> int:
        """How many attachments are in progress, of all owners."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT COUNT(*) AS n FROM attachments WHERE status = 'in_progress'"
            ).fetchone()
            return int(row["n"])

    # -- the queue

    def next_waiting(self) -> Attachment | None:
        """The attachment whose turn it is."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM attachments WHERE status = 'in_progress' "
                "ORDER BY queued_at, seq LIMIT 1"
            ).fetchone()
            return _attachment(row) if row else None

    def is_wanted(self, attachment: Attachment) -> bool:
        """Whether this very work is still in the queue: not cancelled, removed or changed."""
        with self._database.read() as connection:
            return bool(_same_work(connection, attachment))

    def report(self, attachment: Attachment, *, stage: str, done: int, total: int) -> None:
        """Note how far the work is."""
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE attachments SET stage = ?, done = ?, total = ? "
                "WHERE store_id = ? AND file_id = ? AND status = 'in_progress'",
                (stage, done, total, attachment.store_id, attachment.file_id),
            )
        )

    def complete(
        self, connection: Connection, attachment: Attachment, *, duplicate_of: str | None
    ) -> bool:
        """Mark as completed in the transaction of the document; false if no longer wanted.

        A version that this one replaces (the same source) leaves the store.
        """
        if not _same_work(connection, attachment):
            return False
        key = (attachment.store_id, attachment.file_id)
        connection.execute(
            "UPDATE attachments SET status = 'completed', stage = 'done', done = total, "
            "duplicate_of = ?, usage_bytes = CASE WHEN ? IS NULL "
            "THEN (SELECT bytes FROM files WHERE files.id = attachments.file_id) ELSE 0 END "
            "WHERE store_id = ? AND file_id = ?",
            (duplicate_of, duplicate_of, *key),
        )
        if duplicate_of is None and attachment.source is not None:
            connection.execute(
                "DELETE FROM attachments WHERE store_id = ? AND file_id <> ? AND source = ? "
                "AND status = 'completed'",
                (*key, attachment.source),
            )
        return True

    def fail(self, attachment: Attachment, *, code: ErrorCode, message: str) -> None:
        """Mark as failed, with words for the user; a cancelled one stays cancelled."""
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE attachments SET status = 'failed', error_code = ?, error_message = ? "
                "WHERE store_id = ? AND file_id = ? AND status = 'in_progress'",
                (code, message, attachment.store_id, attachment.file_id),
            )
        )


def attach(
    connection: Connection, owner: str, store_id: str, wanted: Wanted, now: int
) -> Attachment:
    known = connection.execute(
        "SELECT 1 FROM files WHERE id = ? AND owner = ?", (wanted.file_id, owner)
    ).fetchone()
    if known is None:
        raise NotFound("file", wanted.file_id)
    source = wanted.attributes.get("source")
    connection.execute(
        "INSERT INTO attachments (store_id, file_id, owner, status, attributes, chunking, "
        "source, queued_at, created_at) VALUES (?, ?, ?, 'in_progress', ?, ?, ?, ?, ?) "
        "ON CONFLICT (store_id, file_id) DO UPDATE SET status = 'in_progress', "
        "attributes = excluded.attributes, chunking = excluded.chunking, "
        "source = excluded.source, queued_at = excluded.queued_at, stage = 'waiting', "
        "done = 0, total = 0, error_code = NULL, error_message = NULL "
        "WHERE status IN ('failed', 'cancelled') OR attributes <> excluded.attributes "
        "OR chunking <> excluded.chunking",
        (
            store_id,
            wanted.file_id,
            owner,
            _json(wanted.attributes),
            _json(asdict(wanted.chunking)),
            source if isinstance(source, str) and source else None,
            now,
            now,
        ),
    )
    return _find(connection, owner, store_id, wanted.file_id)


def _same_work(connection: Connection, attachment: Attachment) -> Row | None:
    row: Row | None = connection.execute(
        "SELECT 1 FROM attachments WHERE store_id = ? AND file_id = ? "
        "AND status = 'in_progress' AND attributes = ? AND chunking = ?",
        (
            attachment.store_id,
            attachment.file_id,
            _json(attachment.attributes),
            _json(asdict(attachment.chunking)),
        ),
    ).fetchone()
    return row


def _find(connection: Connection, owner: str, store_id: str, file_id: str) -> Attachment:
    row = connection.execute(
        "SELECT * FROM attachments WHERE store_id = ? AND file_id = ? AND owner = ?",
        (store_id, file_id, owner),
    ).fetchone()
    if row is None:
        raise NotFound(_KIND, file_id)
    return _attachment(row)


def _usage(connection: Connection, store_id: str) -> tuple[Counts, int]:
    rows = connection.execute(
        "SELECT status, COUNT(*) AS n, SUM(usage_bytes) AS bytes FROM attachments "
        "WHERE store_id = ? GROUP BY status",
        (store_id,),
    ).fetchall()
    counts = {row["status"]: row["n"] for row in rows}
    return Counts(**counts), sum(row["bytes"] for row in rows if row["status"] == "completed")


def _attachment(row: Row) -> Attachment:
    return Attachment(
        store_id=row["store_id"],
        file_id=row["file_id"],
        owner=row["owner"],
        status=row["status"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        attributes=json.loads(row["attributes"]),
        chunking=Chunking(**json.loads(row["chunking"])),
        source=row["source"],
        stage=row["stage"],
        done=row["done"],
        total=row["total"],
        usage_bytes=row["usage_bytes"],
        duplicate_of=row["duplicate_of"],
        created_at=row["created_at"],
    )


def _json(value: Mapping[str, object]) -> str:
    # Sorted, because equal attributes must be equal as text.
    return json.dumps(dict(value), sort_keys=True, ensure_ascii=False)
