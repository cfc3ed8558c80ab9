"""Turns: answered requests, as sent. Kept for `turn_retention_days`, then forgotten."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from retrieval.database import Database, Row


@dataclass(frozen=True, slots=True)
class Turn:
    """What was asked, what the model saw, and what it answered; None where not to be stored.

    `conversation` is what the user gave, `messages` the prompt that was built from it. `policy`
    is how the draft was grounded, `changes` what that changed: was, now and a reason each.
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


class Turns:
    """The rows of turns; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, turn: Turn) -> None:
        """Keep a turn."""
        self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO turns (id, owner, created_at, model, adapter, embedder, stores, "
                "messages, hits, answer, usage, conversation, policy, changes) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    for name in ("stores", "messages", "hits", "usage", "conversation", "changes"):
        values[name] = json.loads(values[name]) if values[name] is not None else None
    return Turn(**{**values, "stores": tuple(values["stores"])})
