"""Batches: files that were attached in one request and are followed together.

What becomes of each file is in `attachments.py`; a batch only counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.database import Connection, Database
from server.attachments import IN_BATCH, attach
from server.errors import NotFound
from server.ids import new_id
from server.records import Batch, Counts, Wanted


class Batches:
    """The rows of batches; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, owner: str, store_id: str, wanted: Sequence[Wanted], *, now: int) -> Batch:
        """Put files in a store's queue, all or none; raises `NotFound` for an unknown file."""
        batch_id = new_id("vsfb")

        def change(connection: Connection) -> Batch:
            connection.execute(
                "INSERT INTO batches (id, owner, store_id, created_at) VALUES (?, ?, ?, ?)",
                (batch_id, owner, store_id, now),
            )
            for item in wanted:
                attach(connection, owner, store_id, item, now)
                connection.execute(
                    "INSERT OR IGNORE INTO batch_files (batch_id, file_id, owner) VALUES (?, ?, ?)",
                    (batch_id, item.file_id, owner),
                )
            return _find_batch(connection, owner, store_id, batch_id)

        return self._database.write(change)

    def get(self, owner: str, store_id: str, batch_id: str) -> Batch:
        """One batch; raises `NotFound`."""
        with self._database.read() as connection:
            return _find_batch(connection, owner, store_id, batch_id)

    def cancel(self, owner: str, store_id: str, batch_id: str) -> Batch:
        """Cancel what of a batch is still in progress."""

        def change(connection: Connection) -> Batch:
            batch = _find_batch(connection, owner, store_id, batch_id)
            if batch.counts.in_progress:
                connection.execute("UPDATE batches SET cancelled = 1 WHERE id = ?", (batch_id,))
                connection.execute(
                    "UPDATE attachments SET status = 'cancelled' WHERE store_id = ? "
                    f"AND status = 'in_progress' AND {IN_BATCH}",
                    (store_id, batch_id),
                )
            return _find_batch(connection, owner, store_id, batch_id)

        return self._database.write(change)


def _find_batch(connection: Connection, owner: str, store_id: str, batch_id: str) -> Batch:
    row = connection.execute(
        "SELECT * FROM batches WHERE id = ? AND owner = ? AND store_id = ?",
        (batch_id, owner, store_id),
    ).fetchone()
    if row is None:
        raise NotFound("vector store file batch", batch_id)
    # A file that has left the store since counts as cancelled, so that the total stays.
    rows = connection.execute(
        "SELECT COALESCE(status, 'cancelled') AS status, COUNT(*) AS n FROM batch_files "
        "LEFT JOIN attachments ON attachments.file_id = batch_files.file_id "
        "AND attachments.store_id = ? WHERE batch_id = ? GROUP BY 1",
        (store_id, batch_id),
    ).fetchall()
    return Batch(
        id=row["id"],
        owner=row["owner"],
        store_id=row["store_id"],
        cancelled=bool(row["cancelled"]),
        created_at=row["created_at"],
        counts=Counts(**{item["status"]: item["n"] for item in rows}),
    )
