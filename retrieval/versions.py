"""The versions of a store's search as SQLite rows: which one serves, and which served before.

A version is an embedder (None: the server's own) and maybe a query adapter, each named by its
digest. The base, which is no row, is called `BASE`. Every function takes a connection first and
does one thing in whatever transaction it was called in; `search_models.py` opens them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from retrieval.database import Connection, Row
from retrieval.errors import NotFound

BASE = "base"
State = Literal["building", "candidate", "active", "retired"]
How = Literal["gate", "hand", "rollback"]


@dataclass(frozen=True, slots=True)
class Version:
    """One tuned search of one store. `fingerprint` is the space that it was trained in."""

    id: str
    store_id: str
    embedder: str | None
    fingerprint: str
    adapter: str | None
    card: dict[str, Any]
    state: State
    created_at: int


@dataclass(frozen=True, slots=True)
class Activation:
    """A version (or the base) began to serve; `forced` says that its gate had not passed it."""

    version: str
    how: How
    forced: bool
    created_at: int


def put(connection: Connection, version: Version) -> None:
    """Add a version; one that was made before is renewed, and its state kept."""
    connection.execute(
        "INSERT INTO search_models (id, store_id, embedder, fingerprint, adapter, card, state, "
        "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (store_id, id) DO UPDATE SET "
        "card = excluded.card",
        (
            version.id,
            version.store_id,
            version.embedder,
            version.fingerprint,
            version.adapter,
            json.dumps(version.card),
            version.state,
            version.created_at,
        ),
    )


def set_state(
    connection: Connection, store_id: str, version_id: str, state: State, *, unless: str = ""
) -> None:
    """Change a version's state, but not from `unless`."""
    connection.execute(
        "UPDATE search_models SET state = ? WHERE store_id = ? AND id = ? AND state != ?",
        (state, store_id, version_id, unless),
    )


def find(connection: Connection, store_id: str, version_id: str) -> Version | None:
    """Return a version, None for the base; raises `NotFound`."""
    if version_id == BASE:
        return None
    row = connection.execute(
        "SELECT * FROM search_models WHERE store_id = ? AND id = ?", (store_id, version_id)
    ).fetchone()
    if row is None:
        raise NotFound(f"no search model {version_id!r} of store {store_id!r}")
    return _version(row)


def find_all(connection: Connection, store_id: str) -> list[Version]:
    """Return a store's versions, oldest first, without the base."""
    rows = connection.execute(
        "SELECT * FROM search_models WHERE store_id = ? ORDER BY seq", (store_id,)
    )
    return [_version(row) for row in rows]


def active(connection: Connection, store_id: str) -> Version | None:
    """Return the version that serves, None for the base; raises `NotFound` (the store)."""
    row = connection.execute("SELECT search_model FROM stores WHERE id = ?", (store_id,)).fetchone()
    if row is None:
        raise NotFound(f"no store {store_id!r}")
    return find(connection, store_id, row["search_model"] or BASE)


def activations(connection: Connection, store_id: str) -> list[Activation]:
    """Return what began to serve, oldest first; before the first it was the base."""
    rows = connection.execute(
        "SELECT * FROM search_activations WHERE store_id = ? ORDER BY seq", (store_id,)
    )
    return [
        Activation(row["version"], row["how"], bool(row["forced"]), row["created_at"])
        for row in rows
    ]


def served(connection: Connection, store_id: str) -> list[str]:
    """Return the ids that a rollback can go back through, the active one last."""
    ids = [BASE]
    for activation in activations(connection, store_id):
        if activation.how == "rollback":
            ids.pop()
        else:
            ids.append(activation.version)
    return ids


def kept(connection: Connection, store_id: str) -> list[str | None]:
    """Return the embedders that new documents are embedded by: digests, None for the base.

    The active one comes first; then the one that a rollback brings back, and any being built.
    """
    serving = active(connection, store_id)
    before = [find(connection, store_id, id_) for id_ in served(connection, store_id)[-2:-1]]
    building = [v for v in find_all(connection, store_id) if v.state == "building"]
    found = [serving, *before, *building]
    return list(dict.fromkeys(version.embedder if version else None for version in found))


def activate(connection: Connection, store_id: str, version_id: str, *, how: How, now: int) -> None:
    """Let a version serve. A candidate that is chosen by hand has not passed its gate."""
    version, before = find(connection, store_id, version_id), active(connection, store_id)
    if version == before:
        return
    if before is not None:
        set_state(connection, store_id, before.id, "retired")
    forced = how == "hand" and version is not None and not version.card.get("passed")
    if version is not None:
        set_state(connection, store_id, version.id, "active")
    connection.execute(
        "UPDATE stores SET search_model = ? WHERE id = ?",
        (version.id if version else None, store_id),
    )
    connection.execute(
        "INSERT INTO search_activations (store_id, version, how, forced, created_at) "
        "VALUES (?, ?, ?, ?, ?)",
        (store_id, version_id, how, forced, now),
    )


def _version(row: Row) -> Version:
    values = {key: row[key] for key in Version.__dataclass_fields__}
    return Version(**{**values, "card": json.loads(row["card"])})
