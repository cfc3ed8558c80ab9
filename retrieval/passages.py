"""Passages, their vectors and their full text as SQLite rows; found by words or by filter.

Every function takes a connection first and does one thing in whatever transaction it was
called in. The schema, and the triggers that keep the full text in step, are in `migrations.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.database import Connection, Row
from retrieval.filter import Filter
from retrieval.records import EmbeddedText, Passage

_PASSAGE = (
    'p.id, p.document_id, p.store_id, p.position, p.start, p."end", p.text, p.page, p.heading, '
    "p.tokens"
)
_MAX_QUERY_WORDS = 64
_MAX_PARAMETERS = 10_000
_ROWS_AT_ONCE = 20_000


def insert_passage(connection: Connection, passage: Passage, *, context: str, digest: str) -> int:
    """Add a passage (its `id` is ignored) and return the id it got."""
    cursor = connection.execute(
        'INSERT INTO passages (store_id, document_id, position, start, "end", page, heading, '
        "tokens, digest, context, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            passage.store_id,
            passage.document_id,
            passage.index,
            passage.start,
            passage.end,
            passage.page,
            passage.heading,
            passage.tokens,
            digest,
            context,
            passage.text,
        ),
    )
    return int(cursor.lastrowid)


def insert_vectors(
    connection: Connection, passage_id: int, fingerprint: str, vectors: NDArray[np.float32]
) -> None:
    """Keep a passage's rows, one for each window: (windows, dim) float32."""
    connection.executemany(
        "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)",
        [
            (passage_id, fingerprint, part, np.ascontiguousarray(row, dtype="<f4").tobytes())
            for part, row in enumerate(vectors)
        ],
    )


def find_passages(connection: Connection, store_id: str, document_id: str) -> list[Passage]:
    """Return a document's passages in their order."""
    rows = connection.execute(
        f"SELECT {_PASSAGE} FROM passages p WHERE store_id = ? AND document_id = ? "
        "ORDER BY position",
        (store_id, document_id),
    )
    return [passage(row) for row in rows]


def count_passages(connection: Connection, store_id: str, document_id: str) -> int:
    """Count a document's passages."""
    sql = "SELECT count(*) FROM passages WHERE store_id = ? AND document_id = ?"
    return int(connection.execute(sql, (store_id, document_id)).fetchone()[0])


def insert_late_vectors(
    connection: Connection,
    fingerprint: str,
    found: Sequence[tuple[int, NDArray[np.float32]]],
) -> None:
    """Keep rows of passages that are there already; some may have gone in the meantime."""
    for passage_id, vectors in found:
        if connection.execute("SELECT 1 FROM passages WHERE id = ?", (passage_id,)).fetchone():
            insert_vectors(connection, passage_id, fingerprint, vectors)


def find_vectors(
    connection: Connection, store_id: str, fingerprint: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return all vectors of a store as (passage ids, rows); a passage may have several rows."""
    found = connection.execute(
        "SELECT v.passage_id, v.vector FROM passages p JOIN vectors v ON v.passage_id = p.id "
        "WHERE p.store_id = ? AND v.fingerprint = ? ORDER BY v.passage_id, v.part",
        (store_id, fingerprint),
    )
    # In parts: as single Python objects a million vectors would take several times their size.
    parts = []
    while part := found.fetchmany(_ROWS_AT_ONCE):
        parts.append(_ids_and_rows(part))
    if not parts:
        return _ids_and_rows([])
    return np.concatenate([ids for ids, _ in parts]), np.concatenate([rows for _, rows in parts])


def find_rows(
    connection: Connection, store_id: str, fingerprint: str, passage_ids: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the vectors of those of these passages that the store has, as `find_vectors` does."""
    rows = connection.execute(
        "SELECT v.passage_id, v.vector FROM json_each(?) wanted "
        "CROSS JOIN passages p ON p.id = wanted.value AND p.store_id = ? "
        "CROSS JOIN vectors v ON v.passage_id = p.id AND v.fingerprint = ?",
        (json.dumps([int(id_) for id_ in passage_ids]), store_id, fingerprint),
    )
    return _ids_and_rows(rows.fetchall())


def count_in_store(connection: Connection, store_id: str) -> int:
    """Count a store's passages."""
    sql = "SELECT count(*) FROM passages WHERE store_id = ?"
    return int(connection.execute(sql, (store_id,)).fetchone()[0])


def find_ids_of_store(connection: Connection, store_id: str) -> list[int]:
    """Return the ids of all passages of a store, ascending."""
    rows = connection.execute("SELECT id FROM passages WHERE store_id = ? ORDER BY id", (store_id,))
    return [row["id"] for row in rows]


def find_contexts(connection: Connection, passage_ids: Sequence[int]) -> list[Row]:
    """Return id, document_id, document_name, heading, context and text of passages, by id."""
    return list(
        connection.execute(
            "SELECT p.id, p.document_id, d.name AS document_name, p.heading, p.context, p.text "
            "FROM json_each(?) wanted CROSS JOIN passages p ON p.id = wanted.value "
            "JOIN documents d ON d.store_id = p.store_id AND d.id = p.document_id ORDER BY p.id",
            (json.dumps([int(id_) for id_ in passage_ids]),),
        )
    )


def _ids_and_rows(found: Sequence[Row]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    ids = np.array([row["passage_id"] for row in found], dtype=np.int64)
    vectors = np.frombuffer(b"".join(row["vector"] for row in found), dtype="<f4")
    return ids, vectors.reshape(len(found), -1) if found else np.zeros((0, 0), dtype=np.float32)


def find_known_vectors(
    connection: Connection, store_id: str, fingerprint: str, digests: Iterable[str]
) -> dict[str, NDArray[np.float32]]:
    """Return the vectors that the store has already, by the digest of what was embedded."""
    known: dict[str, list[bytes]] = {}
    for batch in _batches(sorted(set(digests))):
        rows = connection.execute(
            "SELECT p.digest, v.vector FROM vectors v JOIN (SELECT digest, min(id) AS id FROM "
            f"passages WHERE store_id = ? AND digest IN ({_marks(batch)}) GROUP BY digest) p "
            "ON p.id = v.passage_id WHERE v.fingerprint = ? ORDER BY v.part",
            (store_id, *batch, fingerprint),
        )
        for row in rows:
            known.setdefault(row["digest"], []).append(row["vector"])
    return {
        digest: np.frombuffer(b"".join(parts), dtype="<f4").reshape(len(parts), -1)
        for digest, parts in known.items()
    }


def find_unembedded(
    connection: Connection, store_id: str, fingerprint: str
) -> list[tuple[int, str]]:
    """Return (passage id, what to embed) of the passages without a vector of this embedder."""
    rows = connection.execute(
        "SELECT p.id, p.context, p.text FROM passages p WHERE p.store_id = ? AND NOT EXISTS "
        "(SELECT 1 FROM vectors v WHERE v.passage_id = p.id AND v.fingerprint = ?) ORDER BY p.id",
        (store_id, fingerprint),
    )
    return [(row["id"], embedded_text(row["context"], row["text"])) for row in rows]


def find_embedded_texts(connection: Connection, store_id: str) -> list[EmbeddedText]:
    """Return all passages of a store as they are embedded, in the order of their documents."""
    rows = connection.execute(
        "SELECT p.id, p.document_id, d.name, p.heading, p.context, p.text FROM documents d "
        "JOIN passages p ON p.store_id = d.store_id AND p.document_id = d.id "
        "WHERE d.store_id = ? ORDER BY d.rowid, p.position",
        (store_id,),
    )
    return [
        EmbeddedText(
            id=row["id"],
            document_id=row["document_id"],
            document_name=row["name"],
            heading=row["heading"],
            context=row["context"],
            body=row["text"],
        )
        for row in rows
    ]


def embedded_text(context: str, text: str) -> str:
    """Return what is embedded for a passage: its title and heading, then itself."""
    return f"{context}\n{text}" if context else text


# -- search


def find_ids(connection: Connection, store_ids: Sequence[str], filter: Filter) -> list[int]:
    """Return the ids of all passages whose document passes the filter."""
    condition, values = filter.to_sql("d.attributes")
    rows = connection.execute(
        "SELECT p.id FROM documents d JOIN passages p ON p.store_id = d.store_id "
        f"AND p.document_id = d.id WHERE d.store_id IN ({_marks(store_ids)}) AND {condition}",
        (*store_ids, *values),
    )
    return [row["id"] for row in rows]


def search_words(
    connection: Connection,
    store_ids: Sequence[str],
    query: str,
    k: int,
    *,
    filter: Filter | None = None,
) -> list[tuple[int, float]]:
    """Return the k passages that share the rarest words with the query as (id, BM25)."""
    words = quoted_words(query)
    if not words:
        return []
    condition, values = filter.to_sql("d.attributes") if filter else ("1", [])
    # Most passages share some word with a question: what is not needed for each costs time.
    documents = "JOIN documents d ON d.store_id = p.store_id AND d.id = p.document_id "
    rows = connection.execute(
        "SELECT p.id, -bm25(passages_fts) AS score "
        "FROM passages_fts JOIN passages p ON p.id = passages_fts.rowid "
        f"{documents if filter else ''}"
        f"WHERE passages_fts MATCH ? AND p.store_id IN ({_marks(store_ids)}) AND {condition} "
        "ORDER BY score DESC, p.id LIMIT ?",
        (words, *store_ids, *values, k),
    )
    return [(row["id"], row["score"]) for row in rows]


def quoted_words(query: str) -> str:
    """Return the query's words for FTS5, each in quotation marks: nothing in it is syntax.

    Identifiers and what the query has in quotation marks are wanted as a whole, besides: words
    that follow each other count as one rare word.
    """
    text = query.casefold()
    wholes = [*identifiers(text), *re.findall(r'"([^"]*\w[^"]*)"', text)]
    phrases = [" ".join(re.findall(r"\w+", whole)) for whole in wholes]
    words = dict.fromkeys([*phrases, *re.findall(r"\w+", text)])
    return " OR ".join(f'"{word}"' for word in list(words)[:_MAX_QUERY_WORDS])


def identifiers(query: str) -> list[str]:
    """Return what looks like an order number or a part code, such as TX-4411/B or ORD-2024-118.

    Three figures and more with letters or in three parts, or five figures and more.
    """
    found = re.findall(r"\w+(?:[-/._#]\w+)*", query)
    return [word for word in found if _is_identifier(word)]


def _is_identifier(word: str) -> bool:
    figures = sum(letter.isdigit() for letter in word)
    letters = any(letter.isalpha() for letter in word)
    parts = len(re.findall(r"\w+", word))
    return figures >= 5 or (figures >= 3 and (letters or parts > 2))


def find_found(connection: Connection, ids: Sequence[int]) -> dict[int, Row]:
    """Return rows with passage, document name and attributes, by passage id."""
    rows = connection.execute(
        f"SELECT {_PASSAGE}, d.name AS document_name, d.attributes FROM passages p "
        "JOIN documents d ON d.store_id = p.store_id AND d.id = p.document_id "
        f"WHERE p.id IN ({_marks(ids)})",
        tuple(ids),
    )
    return {row["id"]: row for row in rows}


def passage(row: Row) -> Passage:
    """Make a passage of its row."""
    return Passage(
        id=row["id"],
        document_id=row["document_id"],
        store_id=row["store_id"],
        index=row["position"],
        start=row["start"],
        end=row["end"],
        text=row["text"],
        page=row["page"],
        heading=row["heading"],
        tokens=row["tokens"],
    )


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _batches(values: list[str]) -> Iterable[list[str]]:
    for start in range(0, len(values), _MAX_PARAMETERS):
        yield values[start : start + _MAX_PARAMETERS]
