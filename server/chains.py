"""The rows of chains: named by their owner, usable wherever a model is named."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from retrieval.database import Database, Row
from server.chain import Step, plan
from server.errors import ApiError, NotFound


@dataclass(frozen=True, slots=True)
class Chain:
    """A named chain; `given` are its steps as they were given."""

    name: str
    owner: str
    created_at: int
    given: list[dict[str, Any]]

    @property
    def steps(self) -> tuple[Step, ...]:
        return plan(self.given)


class Chains:
    """The rows of chains; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, chain: Chain) -> None:
        """Keep a chain; raises a 409 where the owner has one of that name."""
        added = self._database.write(
            lambda connection: (
                connection.execute(
                    "INSERT INTO chains (name, owner, created_at, steps) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT DO NOTHING",
                    (chain.name, chain.owner, chain.created_at, json.dumps(chain.given)),
                ).rowcount
            )
        )
        if not added:
            message = f"There is a chain '{chain.name}' already: delete it first."
            raise ApiError(409, message, param="name", code="chain_exists")

    def find(self, owner: str, name: str) -> Chain | None:
        """The owner's chain of that name, if there is one."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM chains WHERE owner = ? AND name = ?", (owner, name)
            ).fetchone()
        return _chain(row) if row else None

    def list(self, owner: str) -> list[Chain]:
        """The owner's chains, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM chains WHERE owner = ? ORDER BY seq", (owner,)
            ).fetchall()
        return [_chain(row) for row in rows]

    def delete(self, owner: str, name: str) -> None:
        """Forget a chain; raises `NotFound`."""
        deleted = self._database.write(
            lambda connection: (
                connection.execute(
                    "DELETE FROM chains WHERE owner = ? AND name = ?", (owner, name)
                ).rowcount
            )
        )
        if not deleted:
            raise NotFound("chain", name)


def _chain(row: Row) -> Chain:
    return Chain(row["name"], row["owner"], row["created_at"], json.loads(row["steps"]))
