"""What the server itself keeps in SQLite: uploaded files and default stores; read this first.

Attachments and batches have their own files; training adds its own. Reads see one moment,
writes are one transaction each. It knows no HTTP and touches no bytes.
"""

from __future__ import annotations

from retrieval.database import Connection, Database, Row
from server.attachments import Attachments
from server.batches import Batches
from server.errors import NotFound
from server.paging import read_page
from server.records import Page, UploadedFile, Window


class Ledger:
    """The server's rows; safe to use from any thread.

    Every method takes the owner, and raises `NotFound` for what is unknown or another's.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.attachments = Attachments(database)
        self.batches = Batches(database)

    # -- files

    def add_file(self, file: UploadedFile) -> UploadedFile:
        """Record an upload whose bytes are in their place already."""
        self.database.write(
            lambda connection: connection.execute(
                "INSERT INTO files (id, owner, filename, purpose, bytes, digest, created_at, "
                "expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    file.id,
                    file.owner,
                    file.filename,
                    file.purpose,
                    file.bytes,
                    file.digest,
                    file.created_at,
                    file.expires_at,
                ),
            )
        )
        return file

    def file(self, owner: str, file_id: str) -> UploadedFile:
        """One file; raises `NotFound`."""
        with self.database.read() as connection:
            return find_file(connection, owner, file_id)

    def file_of(self, owner: str, digest: str, *, purpose: str) -> UploadedFile | None:
        """A lasting file of the owner with this content and purpose, the oldest if several."""
        with self.database.read() as connection:
            row = connection.execute(
                "SELECT * FROM files WHERE owner = ? AND digest = ? AND purpose = ? "
                "AND expires_at IS NULL ORDER BY seq",
                (owner, digest, purpose),
            ).fetchone()
        return _file(row) if row else None

    def files(
        self, owner: str, window: Window, *, purpose: str | None = None
    ) -> Page[UploadedFile]:
        """A page of the owner's files."""
        where, parameters = "owner = ?", [owner]
        if purpose is not None:
            where, parameters = "owner = ? AND purpose = ?", [owner, purpose]
        with self.database.read() as connection:
            return read_page(
                connection, window, _file, table="files", where=where, parameters=parameters
            )

    def forget_file(self, owner: str, file_id: str) -> str | None:
        """Delete a file's row and its attachments; returns its digest if no other row has it."""

        def change(connection: Connection) -> str | None:
            file = find_file(connection, owner, file_id)
            # Completed ones are removed with their passages before; one that was completed in
            # this very moment makes the deletion fail instead of leaving passages behind.
            connection.execute(
                "DELETE FROM attachments WHERE file_id = ? AND status <> 'completed'", (file_id,)
            )
            connection.execute("DELETE FROM batch_files WHERE file_id = ?", (file_id,))
            connection.execute("DELETE FROM files WHERE id = ?", (file_id,))
            used = connection.execute("SELECT 1 FROM files WHERE digest = ?", (file.digest,))
            return None if used.fetchone() else file.digest

        return self.database.write(change)

    def expired_files(self, now: int) -> list[UploadedFile]:
        """Files of all owners whose time is over."""
        with self.database.read() as connection:
            rows = connection.execute("SELECT * FROM files WHERE expires_at <= ?", (now,))
            return [_file(row) for row in rows.fetchall()]

    def digests(self) -> set[str]:
        """The content of every file of every owner."""
        with self.database.read() as connection:
            rows = connection.execute("SELECT DISTINCT digest FROM files").fetchall()
            return {row["digest"] for row in rows}

    # -- default stores

    def default_store(self, owner: str) -> str | None:
        """The id of the store that is searched where a request names none."""
        with self.database.read() as connection:
            row = connection.execute(
                "SELECT store_id FROM default_stores WHERE owner = ?", (owner,)
            ).fetchone()
            return row["store_id"] if row else None

    def set_default_store(self, connection: Connection, owner: str, store_id: str) -> None:
        """Name the owner's default store, in the transaction that makes it."""
        connection.execute(
            "INSERT INTO default_stores (owner, store_id) VALUES (?, ?) "
            "ON CONFLICT (owner) DO UPDATE SET store_id = excluded.store_id",
            (owner, store_id),
        )

    def forget_store(self, connection: Connection, store_id: str) -> None:
        """Delete what belongs to a store, in the transaction that deletes the store."""
        connection.execute("DELETE FROM attachments WHERE store_id = ?", (store_id,))
        connection.execute("DELETE FROM batches WHERE store_id = ?", (store_id,))
        connection.execute("DELETE FROM default_stores WHERE store_id = ?", (store_id,))


def find_file(connection: Connection, owner: str, file_id: str) -> UploadedFile:
    """One file inside a transaction; raises `NotFound`."""
    row = connection.execute(
        "SELECT * FROM files WHERE id = ? AND owner = ?", (file_id, owner)
    ).fetchone()
    if row is None:
        raise NotFound("file", file_id)
    return _file(row)


def _file(row: Row) -> UploadedFile:
    return UploadedFile(
        id=row["id"],
        owner=row["owner"],
        filename=row["filename"],
        purpose=row["purpose"],
        bytes=row["bytes"],
        digest=row["digest"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
