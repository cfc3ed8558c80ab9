"""The search of a store, version by version: built beside the live one, flipped, rolled back.

A tuned embedder needs all passages embedded anew. Its vectors lie beside the old ones, keyed by
fingerprint, so that building goes on where it was after a crash; documents that come meanwhile
are embedded by both. One transaction then makes the new version serve. Searches that are under
way end with the model they began with. Read `build` and `activate` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from retrieval import passages, store, versions
from retrieval.database import Connection, Database
from retrieval.errors import Conflict, NotBuilt
from retrieval.generations import Generations
from retrieval.models import EmbedsTexts, Models, Rows, SearchModel
from retrieval.records import EmbeddedText
from retrieval.versions import Activation, How, Version

PASSAGES_AT_ONCE = 64  # embedded between two commits: what a crash can cost

Progress = Callable[[int, int], None]  # (passages embedded, passages in all)
Also = Callable[[Connection], None]


class SearchModels:
    """The versions of all stores; safe to use from any thread."""

    def __init__(
        self,
        database: Database,
        generations: Generations,
        models: Models,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._generations = generations
        self._models = models
        self._clock = clock

    # -- what there is

    def versions(self, store_id: str) -> list[Version]:
        """Return a store's versions, oldest first; the base is not among them."""
        with self._database.read() as connection:
            return versions.find_all(connection, store_id)

    def version(self, store_id: str, version_id: str) -> Version | None:
        """Return one version, None for the base; raises `NotFound`."""
        with self._database.read() as connection:
            return versions.find(connection, store_id, version_id)

    def active(self, store_id: str) -> Version | None:
        """Return the version that serves, None for the base; raises `NotFound` (the store)."""
        with self._database.read() as connection:
            return versions.active(connection, store_id)

    def activations(self, store_id: str) -> list[Activation]:
        """Return what began to serve and how, oldest first."""
        with self._database.read() as connection:
            return versions.activations(connection, store_id)

    def previous(self, store_id: str) -> str | None:
        """Return the id of what a rollback brings back, None if there is nothing."""
        with self._database.read() as connection:
            served = versions.served(connection, store_id)
        return served[-2] if len(served) > 1 else None

    def model(self, store_id: str, version_id: str | None = None) -> SearchModel:
        """Return what searches a store: the active version, or the one named."""
        with self._database.read() as connection:
            version = (
                versions.active(connection, store_id)
                if version_id is None
                else versions.find(connection, store_id, version_id)
            )
        return self._models.of(version)

    def serving(
        self, store_ids: Sequence[str], *, version_id: str | None = None
    ) -> list[tuple[SearchModel, list[str]]]:
        """Return the models that search these stores, each with its stores."""
        by_name: dict[str, tuple[SearchModel, list[str]]] = {}
        for store_id in store_ids:
            model = self.model(store_id, version_id)
            by_name.setdefault(model.name, (model, []))[1].append(store_id)
        return list(by_name.values())

    def embedders(self, connection: Connection, store_id: str) -> list[EmbedsTexts]:
        """Return those that a new document of the store is embedded by, the active one first."""
        kept = versions.kept(connection, store_id)
        return list({e.fingerprint: e for e in map(self._models.embedder, kept)}.values())

    def texts(self, store_id: str) -> list[EmbeddedText]:
        """Return all passages of a store as they are embedded."""
        with self._database.read() as connection:
            return passages.find_embedded_texts(connection, store_id)

    def vectors(self, store_id: str) -> dict[int, Rows]:
        """Return the vectors of the active embedder: passage id -> (windows, dim) unit rows."""
        fingerprint = self.model(store_id).embedder.fingerprint
        with self._database.read() as connection:
            ids, rows = passages.find_vectors(connection, store_id, fingerprint)
        starts = [n for n in range(len(ids)) if n == 0 or ids[n] != ids[n - 1]]
        ends = [*starts[1:], len(ids)]
        return {int(ids[a]): rows[a:b] for a, b in zip(starts, ends, strict=True)}

    # -- what changes

    def add(self, version: Version) -> None:
        """Record a version; one in the state `building` gets every new document from now on.

        Raises `NotFound` (the store).
        """
        self._models.of(version)  # opened now, and not in the middle of a transaction

        def change(connection: Connection) -> None:
            store.revision(connection, version.store_id)
            versions.put(connection, replace(version, created_at=int(self._clock())))
            versions.set_state(
                connection, version.store_id, version.id, version.state, unless="active"
            )

        self._database.write(change)

    def judged(
        self, store_id: str, version_id: str, card: dict[str, object], *, also: Also | None = None
    ) -> None:
        """Keep what a gate has said of a version that does not serve: it is a candidate."""

        def change(connection: Connection) -> None:
            version = versions.find(connection, store_id, version_id)
            assert version is not None
            versions.put(connection, replace(version, card=card))
            if version.state == "building":
                versions.set_state(connection, store_id, version_id, "candidate")
            if also is not None:
                also(connection)

        self._database.write(change)

    def build(
        self,
        store_id: str,
        version_id: str,
        *,
        progress: Progress | None = None,
        check: Callable[[], None] | None = None,
    ) -> int:
        """Embed what lacks a vector of a version, and build its generation; returns its rows.

        Nothing that serves is touched. `check` is called between batches and may raise to stop;
        what is embedded by then stays, and another call goes on from there.
        """
        embedder = self._models.of(self.version(store_id, version_id)).embedder
        changed = False
        while missing := self._unembedded(store_id, embedder):
            changed, total = True, self._count(store_id)
            for start in range(0, len(missing), PASSAGES_AT_ONCE):
                if check is not None:
                    check()
                if progress is not None:
                    progress(total - len(missing) + start, total)
                self._embed(embedder, missing[start : start + PASSAGES_AT_ONCE])
        if progress is not None:
            total = self._count(store_id)
            progress(total, total)
        if changed:
            self._generations.renew(store_id, embedder)
        return len(self._generations.get(store_id, embedder))

    def unembedded(self, store_id: str, version_id: str | None = None) -> int:
        """Count the passages that a version (the active one) finds by words only; see `build`."""
        return len(self._unembedded(store_id, self.model(store_id, version_id).embedder))

    def activate(
        self,
        store_id: str,
        version_id: str,
        *,
        how: How,
        card: dict[str, object] | None = None,
        also: Also | None = None,
    ) -> None:
        """Let a version serve from the next search on: one transaction, `also` included.

        Raises `NotFound`, and `NotBuilt` where passages lack a vector of it: `build` it first.
        """
        embedder = self._models.of(self.version(store_id, version_id)).embedder

        def change(connection: Connection, revision: str) -> bool:
            if store.revision(connection, store_id) != revision:
                return False
            version = versions.find(connection, store_id, version_id)
            if version is not None and card is not None:
                versions.put(connection, replace(version, card=card))
            versions.activate(connection, store_id, version_id, how=how, now=int(self._clock()))
            if also is not None:
                also(connection)
            return True

        while True:
            with self._database.read() as connection:
                revision = store.revision(connection, store_id)
                missing = passages.find_unembedded(connection, store_id, embedder.fingerprint)
            if missing:
                raise NotBuilt(
                    f"{len(missing)} passages of the store are not embedded by {version_id!r} yet"
                )
            self._generations.get(store_id, embedder)  # the first search shall not wait for it
            if self._database.write(lambda connection: change(connection, revision)):  # noqa: B023
                return

    def rollback(self, store_id: str) -> str:
        """Bring back what served before, as it stands; returns its id.

        Raises `Conflict` where nothing served before, and `NotBuilt`, as `activate` does.
        """
        before = self.previous(store_id)
        if before is None:
            raise Conflict("nothing searched this store before: there is nothing to bring back")
        self.activate(store_id, before, how="rollback")
        return before

    # -- small parts

    def _unembedded(self, store_id: str, embedder: EmbedsTexts) -> list[tuple[int, str]]:
        with self._database.read() as connection:
            return passages.find_unembedded(connection, store_id, embedder.fingerprint)

    def _count(self, store_id: str) -> int:
        with self._database.read() as connection:
            return store.find_store(connection, store_id).passages

    def _embed(self, embedder: EmbedsTexts, part: Sequence[tuple[int, str]]) -> None:
        owners, vectors = embedder.embed_windows([text for _, text in part])
        found = [(part[index][0], vectors[owners == index]) for index in range(len(part))]
        self._database.write(
            lambda connection: passages.insert_late_vectors(connection, embedder.fingerprint, found)
        )
