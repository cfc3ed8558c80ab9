"""Stores: made, listed, changed and deleted. What is in them is the library's.

Read `Stores.create` first.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from retrieval import store
from retrieval.database import Connection, Database
from retrieval.generations import Generations
from retrieval.records import Store

Also = Callable[[Connection], None]


class Stores:
    """The stores of all owners; safe to use from any thread.

    `erase` is called behind a deletion, to let go of what the database no longer holds.
    """

    def __init__(
        self,
        database: Database,
        generations: Generations,
        *,
        clock: Callable[[], float],
        erase: Callable[[], None],
    ) -> None:
        self._database = database
        self._generations = generations
        self._clock = clock
        self._erase = erase

    def create(
        self,
        store_id: str,
        *,
        owner: str,
        name: str = "",
        metadata: dict[str, str] | None = None,
        expires_after_days: int | None = None,
        also: Also | None = None,
    ) -> Store:
        """Make an empty store; raises `Conflict` if the id is taken."""
        now = int(self._clock())
        made = Store(store_id, owner, name, metadata or {}, now, now, 0, 0, 0, expires_after_days)

        def change(connection: Connection) -> None:
            store.insert_store(connection, made, revision=new_revision())
            if also is not None:
                also(connection)

        self._database.write(change)
        return made

    def get(self, store_id: str) -> Store:
        """Return one store; raises `NotFound`."""
        with self._database.read() as connection:
            return store.find_store(connection, store_id)

    def of(self, owner: str) -> list[Store]:
        """Return the owner's stores, oldest first."""
        with self._database.read() as connection:
            return store.find_stores(connection, owner)

    def update(
        self,
        store_id: str,
        *,
        name: str,
        metadata: dict[str, str],
        expires_after_days: int | None = None,
    ) -> Store:
        """Replace what a caller may say about a store; raises `NotFound`."""

        def change(connection: Connection) -> Store:
            store.update_store(
                connection,
                store_id,
                name=name,
                metadata=metadata,
                expires_after_days=expires_after_days,
            )
            return store.find_store(connection, store_id)

        return self._database.write(change)

    def delete(self, store_id: str, *, also: Also | None = None) -> bool:
        """Delete a store with all its documents; false if there is none."""

        def change(connection: Connection) -> bool:
            deleted = store.delete_store(connection, store_id)
            if also is not None:
                also(connection)
            return deleted

        with self._generations.changing:
            deleted = self._database.write(change)
            self._generations.drop(store_id)
        self._erase()
        return deleted


def new_revision() -> str:
    """A name for what a store holds from now on."""
    return secrets.token_hex(8)
