"""The library: add, remove, search. The only orchestrator of retrieval; read `add` first.

SQLite holds the truth and changes in one transaction; the FAISS generations follow each commit
and are built again from the stored vectors whenever they do not match. It knows nothing of
HTTP, queues or answers.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from retrieval import attribute, passages, store
from retrieval.calibrations import Calibrations
from retrieval.database import Connection, Database
from retrieval.draft import Draft, Embedded, Kept, embed, find_duplicate, keep
from retrieval.errors import Cancelled, NotFound
from retrieval.extract import Reads
from retrieval.filter import Filter, checked_attributes
from retrieval.generations import Generations
from retrieval.grounds import Judge
from retrieval.migrations import MIGRATIONS
from retrieval.models import EmbedsTexts, Models, MovesQueries, Rows
from retrieval.parse import Parser
from retrieval.records import Added, Attributes, Document, Hit, Passage
from retrieval.remembered import Remembered
from retrieval.rerank import Reranks
from retrieval.search import search
from retrieval.search_models import SearchModels
from retrieval.split import split
from retrieval.stores import Also, Stores, new_revision
from retrieval.vectors import INVERTED_FROM
from retrieval.versions import BASE

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # (stage, done, total)


class Library:
    """Documents in stores, found again by passages; safe to use from any thread.

    `folder` keeps the generations. `close` saves them; without it they are built again. From
    `inverted_from` vectors on a store's index is approximate. A `reranker` orders what was found,
    a `reader` and a `verifier` judge whether it answers. `stores` makes, lists and deletes them.
    `embedder` is the base; `search_models` are the tuned versions of stores, and
    `open_embedder` and `open_adapter` open what their digests name (`models.py`).
    """

    def __init__(
        self,
        database: Database,
        embedder: EmbedsTexts,
        *,
        folder: Path,
        parser: Parser | None = None,
        clock: Callable[[], float] = time.time,
        open_embedder: Callable[[str], EmbedsTexts] | None = None,
        open_adapter: Callable[[str], MovesQueries] | None = None,
        inverted_from: int = INVERTED_FROM,
        reranker: Reranks | None = None,
        reader: Reads | None = None,
        verifier: Reads | None = None,
    ) -> None:
        database.migrate("retrieval", MIGRATIONS)
        self._database = database
        self._embedder = embedder
        self._parser = parser or Parser()
        self._clock = clock
        self._reranker = reranker
        self._generations = Generations(database, folder, inverted_from=inverted_from)
        models = Models(embedder, open_embedder=open_embedder, open_adapter=open_adapter)
        self.search_models = SearchModels(database, self._generations, models, clock=clock)
        self._sentences = Remembered(embedder)
        self.calibrations = Calibrations(
            database,
            self._generations,
            self.search_models,
            Judge(self._sentences, reader, verifier),
        )
        self.stores = Stores(database, self._generations, clock=clock, erase=self._erase)

    # -- documents

    def documents(self, store_id: str) -> list[Document]:
        """Return the store's documents, oldest first."""
        with self._database.read() as connection:
            return store.find_documents(connection, store_id)

    def document_text(self, store_id: str, document_id: str) -> str:
        """Return a document's whole text, into which its passages' offsets point."""
        with self._database.read() as connection:
            return store.document_text(connection, store_id, document_id)

    def passages(self, store_id: str, document_id: str) -> list[Passage]:
        """Return a document's passages in their order."""
        with self._database.read() as connection:
            return passages.find_passages(connection, store_id, document_id)

    def update_attributes(self, store_id: str, document_id: str, attributes: Attributes) -> None:
        """Replace a document's attributes; raises `NotFound` and `InvalidAttributes`."""
        checked = checked_attributes(attributes)
        if not self._database.write(
            lambda connection: store.update_attributes(connection, store_id, document_id, checked)
        ):
            raise NotFound(f"no document {document_id!r} in store {store_id!r}")

    def add(
        self,
        store_id: str,
        *,
        document_id: str,
        name: str,
        data: bytes,
        attributes: Attributes | None = None,
        source: str | None = None,
        max_tokens: int = 120,
        overlap_tokens: int = 20,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        also: Also | None = None,
    ) -> Added:
        """Read, split, embed and index one file; it is found by searches once this returns.

        A document of the store with the same source (or none), content and attributes makes
        this one a duplicate: nothing is kept but what `also` writes. One with the same source
        and other content is replaced. Everything, `also` included, is one transaction.
        Stages of `progress`: "parsing", "embedding" (passages) and "indexing".

        Raises `UnsupportedFile`, `InvalidFile`, `InvalidAttributes`, `NotFound` (the store),
        `Conflict` (the id, with other content), `Cancelled` and `StorageFull`.
        """

        def step(stage: str, done: int, total: int) -> None:
            if cancelled is not None and cancelled():
                raise Cancelled(f"adding {name!r} was cancelled")
            if progress is not None:
                progress(stage, done, total)

        step("parsing", 0, 1)
        document = Document(
            id=document_id,
            store_id=store_id,
            name=name,
            digest=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            media_type="",
            characters=0,
            attributes=checked_attributes(attributes or {}),
            source=source,
            created_at=int(self._clock()),
        )
        skipped = self._database.write(lambda connection: _skip(connection, document, also))
        if skipped is not None:
            return skipped
        text = self._parser.parse(data, name)
        document = replace(document, media_type=text.media_type, characters=len(text.text))
        spans = split(
            text,
            count_tokens=self._embedder.count_tokens,
            max_tokens=max_tokens,
            overlap_tokens=overlap_tokens,
        )
        drafts = [Draft.of(span, text, name=name) for span in spans]
        step("embedding", 0, len(drafts))
        embedded: dict[str, list[Rows]] = {}
        while True:
            with self._database.read() as connection:
                embedders = self.search_models.embedders(connection, store_id)
            for embedder in embedders:
                if embedder.fingerprint not in embedded:
                    embedded[embedder.fingerprint] = embed(
                        self._database,
                        embedder,
                        store_id,
                        drafts,
                        progress=lambda done, all: step("embedding", done, all),
                    )
            step("indexing", 0, 1)
            added = self._keep(document, text.text, drafts, embedded, also)
            if added is not None:
                return added

    def remove(self, store_id: str, document_id: str, *, also: Also | None = None) -> bool:
        """Delete a document and every trace of it; false if the store has no such document."""
        revision = new_revision()

        def change(connection: Connection) -> list[int] | None:
            ids = store.delete_document(connection, store_id, document_id)
            if ids is not None:
                store.touch_store(connection, store_id, revision=revision, now=int(self._clock()))
            if also is not None:
                also(connection)
            return ids

        with self._generations.changing:
            ids = self._database.write(change)
            if ids is not None:
                self._generations.follow(store_id, revision, removed=ids)
        self._erase()
        return ids is not None

    def tend(self, *, stopped: Callable[[], bool] = lambda: False) -> None:
        """Bring up to date what lags behind, in the background, while searches go on.

        After another base embedder was configured, passages are embedded by that; until then they
        are found by words alone. Then indexes and calibrations follow. Raises `Cancelled` once
        `stopped()`; the next call goes on from there.
        """

        def check() -> None:
            if stopped():
                raise Cancelled("what lags behind waits: there is other work")

        models = self.search_models
        with self._database.read() as connection:
            store_ids = store.find_store_ids(connection)
        for store_id in store_ids:
            with suppress(NotFound):  # deleted meanwhile
                active = models.active(store_id)
                serving = active.id if active else BASE
                for version in dict.fromkeys([serving, models.previous(store_id) or BASE]):
                    if count := models.unembedded(store_id, version):
                        logger.info("%s: %s passages to embed for %s", store_id, count, version)
                        models.build(store_id, version, check=check)
        self.calibrations.tend(stopped=stopped)

    # -- search

    def search(
        self,
        store_ids: Sequence[str],
        query: str,
        *,
        k: int = 10,
        filter: Filter | None = None,
        lexical_weight: float | None = None,
        lexical: bool = True,
        dense: bool = True,
        version: str | None = None,
    ) -> list[Hit]:
        """Return the k best passages of these stores for a query, best first.

        The filter is applied before the best are chosen. Without a `lexical_weight` words count
        as the stores' calibrations say. `lexical` and `dense` switch the two sides off; `version`
        names a search model other than the active one. Stores with different models are searched
        each by its own, and what they find is merged by score. An empty store or query finds
        nothing; an unknown store or version raises `NotFound`, and k outside 1..50 `ValueError`.
        """
        wanted = list(dict.fromkeys(store_ids))
        found = [
            search(
                self._database,
                self._generations,
                model,
                own,
                query,
                k=k,
                filter=filter,
                lexical_weight=self.calibrations.weight(own, model)
                if lexical_weight is None
                else lexical_weight,
                lexical=lexical,
                dense=dense,
                reranker=self._reranker,
            )
            for model, own in self.search_models.serving(wanted, version_id=version)
        ]
        if len(found) == 1:
            return found[0]
        merged = [hit for hits in found for hit in hits]
        return sorted(merged, key=lambda hit: (-hit.score, hit.passage.id))[:k]

    def _erase(self) -> None:
        """Let go of what was deleted, in memory and on the disk."""
        self._sentences.forget()
        attribute.forget()
        self._database.erase()

    def close(self) -> None:
        """Save the generations and end the parser's process."""
        self._generations.save()
        self._parser.close()

    # -- the end of `add`

    def _keep(
        self,
        document: Document,
        text: str,
        drafts: list[Draft],
        embedded: Embedded,
        also: Also | None,
    ) -> Added | None:
        """Write everything in one transaction; then the generations follow.

        None if a version began meanwhile whose embedder has not embedded the document.
        """
        store_id, revision = document.store_id, new_revision()

        def change(connection: Connection) -> Kept | None:
            # Another thread may have added the same while this one was embedding.
            if (skipped := _skip(connection, document, also)) is not None:
                return Kept(skipped)
            needed = self.search_models.embedders(connection, store_id)
            if not {embedder.fingerprint for embedder in needed} <= embedded.keys():
                return None
            store.touch_store(connection, store_id, revision=revision, now=document.created_at)
            kept = keep(connection, document, text, drafts, embedded)
            if also is not None:
                also(connection)
            return kept

        with self._generations.changing:
            kept = self._database.write(change)
            if kept is None:
                return None
            if kept.added.outcome != "skipped":
                self._generations.follow(
                    store_id, revision, removed=kept.removed_ids, added=kept.rows
                )
        if kept.removed_ids:
            self._erase()
        return kept.added


def _skip(connection: Connection, document: Document, also: Also | None) -> Added | None:
    store.revision(connection, document.store_id)
    skipped = find_duplicate(connection, document)
    if skipped is not None and also is not None:
        also(connection)
    return skipped
