"""Turns: answered requests, as sent. Kept for `turn_retention_days`, then forgotten."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from retrieval.database import Database


@dataclass(frozen=True, slots=True)
class Turn:
    """What was asked, what the model saw, and what it answered; None where not to be stored."""

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


class Turns:
    """The rows of turns; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, turn: Turn) -> None:
        """Keep a turn."""
        self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO turns (id, owner, created_at, model, adapter, embedder, stores, "
                "messages, hits, answer, usage) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    turn.id,
                    turn.owner,
                    turn.created_at,
                    turn.model,
                    turn.adapter,
                    turn.embedder,
                    json.dumps(turn.stores),
                    json.dumps(turn.messages) if turn.messages is not None else None,
                    json.dumps(turn.hits) if turn.hits is not None else None,
                    turn.answer,
                    json.dumps(turn.usage),
                ),
            )
        )

    def forget(self, *, before: int) -> int:
        """Delete turns from before a time (Unix seconds); returns how many."""
        return self._database.write(
            lambda connection: (
                connection.execute("DELETE FROM turns WHERE created_at < ?", (before,)).rowcount
            )
        )
