"""Responses that can be fetched again and built upon. Kept as long as turns, then forgotten.

The row holds what the turn does not: the response as it was told, and the talk that the next
one may go on from. It knows no wire beyond the stored JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.database import Database
from server.errors import NotFound
from server.prompt import Message


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as told, what was given with its request, and the talk up to its answer."""

    id: str
    owner: str
    created_at: int
    body: dict[str, Any]
    given: list[Message]
    talk: list[Message]


class Responses:
    """The rows of responses; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, response: StoredResponse) -> None:
        """Keep a response."""
        values = (response.body, response.given, response.talk)
        texts = (json.dumps(value) for value in values)
        self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO responses (id, owner, created_at, body, given, talk) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (response.id, response.owner, response.created_at, *texts),
            )
        )

    def response(self, owner: str, id: str) -> StoredResponse:
        """One response of the owner; raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM responses WHERE owner = ? AND id = ?", (owner, id)
            ).fetchone()
        if row is None:
            raise NotFound("response", id)
        return StoredResponse(
            id=row["id"],
            owner=row["owner"],
            created_at=row["created_at"],
            body=json.loads(row["body"]),
            given=json.loads(row["given"]),
            talk=json.loads(row["talk"]),
        )

    def talk(self, owner: str, id: str | None) -> Sequence[Message]:
        """The talk that a next response goes on from; raises `NotFound` for an unknown one."""
        return self.response(owner, id).talk if id else []

    def delete(self, owner: str, id: str) -> None:
        """Forget a response and its turn; raises `NotFound`."""

        def change(connection: Any) -> int:
            connection.execute("DELETE FROM turns WHERE owner = ? AND id = ?", (owner, id))
            return int(
                connection.execute(
                    "DELETE FROM responses WHERE owner = ? AND id = ?", (owner, id)
                ).rowcount
            )

        self.response(owner, id)
        self._database.write(change)

    def forget(self, *, before: int) -> int:
        """Delete responses from before a time (Unix seconds); returns how many."""
        return self._database.write(
            lambda connection: (
                connection.execute("DELETE FROM responses WHERE created_at < ?", (before,)).rowcount
            )
        )
