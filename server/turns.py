"""Turns: answered requests, as sent. Kept for `turn_retention_days`, then forgotten."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from retrieval.database import Connection, Database, Row

Status = Literal["completed", "cancelled", "failed"]
_JSON = "stores messages hits usage conversation changes citations opened".split()  # columns


@dataclass(frozen=True, slots=True)
class Turn:
    """What was asked, what the model saw, and what it answered; None where not to be stored.

    `conversation` is what the user gave, `messages` the prompt that was built from it, `hits` the
    passages in that. `citations` are what the answer cites as [1], [2] and so on, and `opened`
    the numbers of those that a reader has opened. `policy` is how the draft was grounded,
    `changes` what that changed: was, now and a reason each.
    `status` is completed, or cancelled (the client has left) or failed: the answer is what was
    sent so far.
    """

    id: str
    owner: str
    created_at: int
    model: str
    adapter: str | None
    embedder: str
    stores: tuple[str, ...]
    messages: list[dict[str, str]] | None
    hits: list[dict[str, Any]] | None
    answer: str | None
    usage: dict[str, int]
    conversation: list[dict[str, str]] | None = None
    policy: str = "off"
    changes: list[dict[str, str]] | None = None
    status: Status = "completed"
    citations: list[dict[str, Any]] | None = None
    opened: tuple[int, ...] = ()


class Turns:
    """The rows of turns; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, turn: Turn) -> None:
        """Keep a turn."""
        self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO turns (id, owner, created_at, model, adapter, embedder, stores, "
                "messages, hits, answer, usage, conversation, policy, changes, status, citations) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    turn.id,
                    turn.owner,
                    turn.created_at,
                    turn.model,
                    turn.adapter,
                    turn.embedder,
                    json.dumps(turn.stores),
                    _json(turn.messages),
                    _json(turn.hits),
                    turn.answer,
                    json.dumps(turn.usage),
                    _json(turn.conversation),
                    turn.policy,
                    _json(turn.changes),
                    turn.status,
                    _json(turn.citations),
                ),
            )
        )

    def turn(self, owner: str, turn_id: str) -> Turn | None:
        """One turn of the owner, or None: unknown, another's, or forgotten."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM turns WHERE owner = ? AND id = ?", (owner, turn_id)
            ).fetchone()
        return _turn(row) if row else None

    def rename(self, owner: str, turn_id: str, new_id: str) -> None:
        """Give a turn another id."""
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE turns SET id = ? WHERE owner = ? AND id = ?", (new_id, owner, turn_id)
            )
        )

    def open(self, owner: str, turn_id: str, citation: int) -> None:
        """Remember that a citation was opened; once more is as once."""

        def change(connection: Connection) -> None:
            found = connection.execute(
                "SELECT opened FROM turns WHERE owner = ? AND id = ?", (owner, turn_id)
            ).fetchone()
            if found is not None:
                opened = sorted({*json.loads(found["opened"] or "[]"), citation})
                connection.execute(
                    "UPDATE turns SET opened = ? WHERE owner = ? AND id = ?",
                    (json.dumps(opened), owner, turn_id),
                )

        self._database.write(change)

    def opened(self, owner: str) -> list[Turn]:
        """The turns of which a citation was opened, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM turns WHERE owner = ? AND opened IS NOT NULL "
                "ORDER BY created_at, id",
                (owner,),
            ).fetchall()
        return [_turn(row) for row in rows]

    def forget(self, *, before: int) -> int:
        """Delete turns from before a time (Unix seconds); returns how many."""
        return self._database.write(
            lambda connection: (
                connection.execute("DELETE FROM turns WHERE created_at < ?", (before,)).rowcount
            )
        )


def _json(value: list[Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _turn(row: Row) -> Turn:
    values = {name: row[name] for name in Turn.__dataclass_fields__}
    for name in _JSON:
        values[name] = json.loads(values[name]) if values[name] is not None else None
    return Turn(
        **{**values, "stores": tuple(values["stores"]), "opened": tuple(values["opened"] or ())}
    )
