"""Stores and documents as SQLite rows: the truth, with `passages.py`.

Every function takes a connection first and does one thing in whatever transaction it was
called in; who opens transactions, and why, is in `library.py`. The schema is in `migrations.py`.
"""

from __future__ import annotations

import json
from typing import Any

from retrieval.database import Connection, Row
from retrieval.errors import Conflict, NotFound
from retrieval.records import Document, Store

_STORE = """
    SELECT s.*, count(d.id) AS documents, coalesce(sum(d.bytes), 0) AS bytes,
        (SELECT count(*) FROM passages p WHERE p.store_id = s.id) AS passages
    FROM stores s LEFT JOIN documents d ON d.store_id = s.id
"""
_DOCUMENT = (
    "id, store_id, name, digest, bytes, media_type, characters, attributes, source, created_at"
)


# -- stores


def insert_store(connection: Connection, store: Store, *, revision: str) -> None:
    """Add a store without documents; raises `Conflict` if its id is taken."""
    if connection.execute("SELECT 1 FROM stores WHERE id = ?", (store.id,)).fetchone():
        raise Conflict(f"there is a store {store.id!r} already")
    connection.execute(
        "INSERT INTO stores (id, owner, name, metadata, expires_after_days, created_at, "
        "last_active_at, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            store.id,
            store.owner,
            store.name,
            json.dumps(store.metadata),
            store.expires_after_days,
            store.created_at,
            store.last_active_at,
            revision,
        ),
    )


def find_store(connection: Connection, store_id: str) -> Store:
    """Return the store, or raise `NotFound`."""
    row = connection.execute(f"{_STORE} WHERE s.id = ? GROUP BY s.id", (store_id,)).fetchone()
    if row is None:
        raise NotFound(f"no store {store_id!r}")
    return _store(row)


def find_stores(connection: Connection, owner: str) -> list[Store]:
    """Return the owner's stores, oldest first."""
    sql = f"{_STORE} WHERE s.owner = ? GROUP BY s.id ORDER BY s.created_at, s.rowid"
    return [_store(row) for row in connection.execute(sql, (owner,))]


def find_store_ids(connection: Connection) -> list[str]:
    """Return the ids of everybody's stores."""
    return [row["id"] for row in connection.execute("SELECT id FROM stores ORDER BY id")]


def update_store(
    connection: Connection,
    store_id: str,
    *,
    name: str,
    metadata: dict[str, str],
    expires_after_days: int | None,
) -> None:
    """Replace what a caller may say about a store."""
    connection.execute(
        "UPDATE stores SET name = ?, metadata = ?, expires_after_days = ? WHERE id = ?",
        (name, json.dumps(metadata), expires_after_days, store_id),
    )


def delete_store(connection: Connection, store_id: str) -> bool:
    """Delete a store with all that is in it; false if there is none."""
    return bool(connection.execute("DELETE FROM stores WHERE id = ?", (store_id,)).rowcount)


def revision(connection: Connection, store_id: str) -> str:
    """Return the word that changes with every change of the store's passages."""
    row = connection.execute("SELECT revision FROM stores WHERE id = ?", (store_id,)).fetchone()
    if row is None:
        raise NotFound(f"no store {store_id!r}")
    return str(row["revision"])


def touch_store(connection: Connection, store_id: str, *, revision: str, now: int) -> None:
    """Record that the store's passages changed; raises `NotFound` if it is gone."""
    changed = connection.execute(
        "UPDATE stores SET revision = ?, last_active_at = ? WHERE id = ?", (revision, now, store_id)
    )
    if not changed.rowcount:
        raise NotFound(f"no store {store_id!r}")


# -- documents


def insert_document(connection: Connection, document: Document, text: str) -> None:
    """Add a document's row with its whole text."""
    connection.execute(
        f"INSERT INTO documents ({_DOCUMENT}, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            document.id,
            document.store_id,
            document.name,
            document.digest,
            document.bytes,
            document.media_type,
            document.characters,
            json.dumps(document.attributes),
            document.source,
            document.created_at,
            text,
        ),
    )


def find_document(connection: Connection, store_id: str, document_id: str) -> Document | None:
    """Return the document, or None."""
    return _one_document(connection, "store_id = ? AND id = ?", (store_id, document_id))


def find_document_by_source(
    connection: Connection, store_id: str, source: str | None
) -> Document | None:
    """Return the document that came from `source`, or None; none came from no source."""
    return _one_document(connection, "store_id = ? AND source = ?", (store_id, source))


def find_same_document(connection: Connection, like: Document) -> Document | None:
    """Return the store's document with the same source, content and attributes, or None."""
    rows = connection.execute(
        f"SELECT {_DOCUMENT} FROM documents WHERE store_id = ? AND digest = ? AND source IS ? "
        "ORDER BY rowid",
        (like.store_id, like.digest, like.source),
    )
    return next((d for d in map(_document, rows) if d.attributes == like.attributes), None)


def find_documents(connection: Connection, store_id: str) -> list[Document]:
    """Return the store's documents, oldest first."""
    sql = f"SELECT {_DOCUMENT} FROM documents WHERE store_id = ? ORDER BY rowid"
    return [_document(row) for row in connection.execute(sql, (store_id,))]


def document_text(connection: Connection, store_id: str, document_id: str) -> str:
    """Return the whole text, or raise `NotFound`."""
    row = connection.execute(
        "SELECT text FROM documents WHERE store_id = ? AND id = ?", (store_id, document_id)
    ).fetchone()
    if row is None:
        raise NotFound(f"no document {document_id!r} in store {store_id!r}")
    return str(row["text"])


def update_attributes(
    connection: Connection, store_id: str, document_id: str, attributes: dict[str, Any]
) -> bool:
    """Replace a document's attributes; false if there is no such document."""
    changed = connection.execute(
        "UPDATE documents SET attributes = ? WHERE store_id = ? AND id = ?",
        (json.dumps(attributes), store_id, document_id),
    )
    return bool(changed.rowcount)


def delete_document(connection: Connection, store_id: str, document_id: str) -> list[int] | None:
    """Delete a document with all that was made of it; its passages' ids, or None if unknown."""
    mine = (store_id, document_id)
    found = connection.execute(
        "SELECT id FROM passages WHERE store_id = ? AND document_id = ? ORDER BY id", mine
    )
    ids = [row["id"] for row in found]
    deleted = connection.execute("DELETE FROM documents WHERE store_id = ? AND id = ?", mine)
    return ids if deleted.rowcount else None


# -- rows to records


def _store(row: Row) -> Store:
    values = {key: row[key] for key in Store.__dataclass_fields__}
    return Store(**{**values, "metadata": json.loads(row["metadata"])})


def _document(row: Row) -> Document:
    values = {key: row[key] for key in Document.__dataclass_fields__}
    return Document(**{**values, "attributes": json.loads(row["attributes"])})


def _one_document(
    connection: Connection, where: str, values: tuple[str | None, ...]
) -> Document | None:
    row = connection.execute(f"SELECT {_DOCUMENT} FROM documents WHERE {where}", values).fetchone()
    return _document(row) if row else None


def holds_documents(connection: Connection) -> bool:
    """Whether any store holds a document; a database without a schema holds none."""
    table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'documents'"
    if connection.execute(table).fetchone() is None:
        return False
    return connection.execute("SELECT 1 FROM documents LIMIT 1").fetchone() is not None
