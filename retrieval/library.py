"""The library: add, remove, search. The only orchestrator of retrieval; read `add` first.

SQLite holds the truth and changes in one transaction; the FAISS generations follow each commit
and are built again from the stored vectors whenever they do not match. It knows nothing of
HTTP, queues or answers.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval import passages, store
from retrieval.database import Connection, Database
from retrieval.draft import Draft, Drafted
from retrieval.errors import Cancelled, Conflict, InvalidAttributes, NotFound
from retrieval.filter import Filter, check_value
from retrieval.fuse import fuse
from retrieval.generations import Generations
from retrieval.migrations import MIGRATIONS
from retrieval.parse import Parser
from retrieval.records import (
    Added,
    Attributes,
    AttributeValue,
    Document,
    Hit,
    Passage,
    Store,
)
from retrieval.split import split

# Measured on medquad-dev (dense is far better there) and on the demo's questions (words are).
DEFAULT_LEXICAL_WEIGHT = 0.3
MAX_HITS = 50
# How many candidates each side offers to the fusion.
POOL = 100
REBUILD_PASSAGES = 256

Progress = Callable[[str, int, int], None]  # (stage, done, total)
Also = Callable[[Connection], None]
Rows = NDArray[np.float32]  # (n, dim) float32, unit rows


class EmbedsTexts(Protocol):
    """What the library needs of an embedder; `retrieval.embed.Embedder` is the real one."""

    fingerprint: str
    dimension: int

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...
    def embed(self, texts: Sequence[str], *, queries: bool = False) -> Rows: ...
    def embed_windows(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[NDArray[np.int64], Rows]: ...


class Library:
    """Documents in stores, found again by passages; safe to use from any thread.

    `folder` keeps the generations. `close` saves them; without it they are built again.
    """

    def __init__(
        self,
        database: Database,
        embedder: EmbedsTexts,
        *,
        folder: Path,
        parser: Parser | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        database.migrate("retrieval", MIGRATIONS)
        self._database = database
        self._embedder = embedder
        self._parser = parser or Parser()
        self._clock = clock
        self._generations = Generations(
            database, folder, fingerprint=embedder.fingerprint, dimension=embedder.dimension
        )

    # -- stores

    def create_store(
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
            store.insert_store(connection, made, revision=_new_revision())
            if also is not None:
                also(connection)

        self._database.write(change)
        return made

    def store(self, store_id: str) -> Store:
        """Return a store; raises `NotFound`."""
        with self._database.read() as connection:
            return store.find_store(connection, store_id)

    def stores(self, owner: str) -> list[Store]:
        """Return the owner's stores, oldest first."""
        with self._database.read() as connection:
            return store.find_stores(connection, owner)

    def update_store(
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

    def delete_store(self, store_id: str, *, also: Also | None = None) -> bool:
        """Delete a store with all its documents; false if there is none."""

        def change(connection: Connection) -> bool:
            deleted = store.delete_store(connection, store_id)
            if also is not None:
                also(connection)
            return deleted

        with self._generations.changing:
            deleted = self._database.write(change)
            self._generations.drop(store_id)
        self._database.erase()
        return deleted

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
        checked = _checked(attributes)
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
            attributes=_checked(attributes or {}),
            source=source,
            created_at=int(self._clock()),
        )
        with self._database.read() as connection:
            store.revision(connection, store_id)
            known = _find_same(connection, document)
        if known is not None:
            same = known
            return self._database.write(lambda connection: _skip(connection, document, same, also))
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
        drafted = self._embed(store_id, drafts, lambda done, all: step("embedding", done, all))
        step("indexing", 0, 1)
        return self._keep(document, text.text, drafted, also)

    def remove(self, store_id: str, document_id: str, *, also: Also | None = None) -> bool:
        """Delete a document and every trace of it; false if the store has no such document."""
        revision = _new_revision()

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
        self._database.erase()
        return ids is not None

    def rebuild(self, store_id: str, *, progress: Progress | None = None) -> int:
        """Embed what lacks a vector of this embedder and build the generation anew.

        Returns its number of rows. Needed after the embedder was changed (`unembedded` counts
        what is missing); the old embedder's vectors stay until their documents go.
        """
        fingerprint = self._embedder.fingerprint
        with self._database.read() as connection:
            missing = passages.find_unembedded(connection, store_id, fingerprint)
        for start in range(0, len(missing), REBUILD_PASSAGES):
            if progress is not None:
                progress("embedding", start, len(missing))
            part = missing[start : start + REBUILD_PASSAGES]
            owners, vectors = self._embedder.embed_windows([text for _, text in part])
            found = [(part[index][0], vectors[owners == index]) for index in range(len(part))]
            self._database.write(
                lambda connection, found=found: passages.insert_late_vectors(  # type: ignore[misc]
                    connection, fingerprint, found
                )
            )
        self._generations.drop(store_id)
        return len(self._generations.get(store_id))

    def unembedded(self, store_id: str) -> int:
        """Count the passages that only words can find, for want of a vector: see `rebuild`."""
        with self._database.read() as connection:
            return len(passages.find_unembedded(connection, store_id, self._embedder.fingerprint))

    # -- search

    def search(
        self,
        store_ids: Sequence[str],
        query: str,
        *,
        k: int = 10,
        filter: Filter | None = None,
        lexical_weight: float = DEFAULT_LEXICAL_WEIGHT,
        lexical: bool = True,
        dense: bool = True,
    ) -> list[Hit]:
        """Return the k best passages of these stores for a query, best first.

        The filter is applied before the best are chosen. `lexical` and `dense` switch the two
        sides off. An empty store or query finds nothing; an unknown store raises `NotFound`.
        """
        if not 1 <= k <= MAX_HITS:
            raise ValueError(f"k must be within 1..{MAX_HITS}, got {k}")
        searched = list(dict.fromkeys(store_ids))
        if not searched or not query.strip():
            return []
        allowed: list[int] | None = None
        words: dict[int, float] = {}
        with self._database.read() as connection:
            for store_id in searched:
                store.revision(connection, store_id)
            if filter is not None:
                allowed = passages.find_ids(connection, searched, filter)
            if lexical:
                words = dict(
                    passages.search_words(connection, searched, query, POOL, filter=filter)
                )
        near = self._search_vectors(searched, query, allowed, list(words)) if dense else {}
        ranking = fuse(near, words, lexical_weight=lexical_weight)[: 2 * k]
        with self._database.read() as connection:
            found = passages.find_found(connection, [passage_id for passage_id, _ in ranking])
        return [
            Hit(
                passage=passages.passage(found[passage_id]),
                document_name=found[passage_id]["document_name"],
                attributes=json.loads(found[passage_id]["attributes"]),
                score=score,
                dense=near.get(passage_id, 0.0),
                lexical=words.get(passage_id, 0.0),
                generation=self._embedder.fingerprint,
            )
            for passage_id, score in ranking
            if passage_id in found  # it may have been removed since it was ranked
        ][:k]

    def close(self) -> None:
        """Save the generations and end the parser's process."""
        self._generations.save()
        self._parser.close()

    # -- the parts of `add` and `search`

    def _embed(
        self, store_id: str, drafts: list[Draft], progress: Callable[[int, int], None]
    ) -> list[Drafted]:
        """Find each draft's vectors: the store's own where it has embedded the same before."""
        with self._database.read() as connection:
            known = passages.find_known_vectors(
                connection, store_id, self._embedder.fingerprint, [draft.digest for draft in drafts]
            )
        new = {draft.digest: draft.embedded for draft in drafts if draft.digest not in known}
        owners, vectors = self._embedder.embed_windows(list(new.values()), progress=progress)
        known |= {digest: vectors[owners == index] for index, digest in enumerate(new)}
        return [(draft, known[draft.digest]) for draft in drafts]

    def _keep(
        self, document: Document, text: str, drafted: list[Drafted], also: Also | None
    ) -> Added:
        """Write everything in one transaction; then the generation follows."""
        store_id, revision = document.store_id, _new_revision()
        removed: list[int] = []
        added: list[tuple[int, Rows]] = []

        def change(connection: Connection) -> Added:
            # Another thread may have added the same while this one was embedding.
            if (known := _find_same(connection, document)) is not None:
                return _skip(connection, document, known, also)
            store.touch_store(connection, store_id, revision=revision, now=document.created_at)
            old = store.find_document_by_source(connection, store_id, document.source)
            if old is not None:
                removed.extend(store.delete_document(connection, store_id, old.id) or [])
            store.insert_document(connection, document, text)
            for index, (draft, vectors) in enumerate(drafted):
                passage_id = passages.insert_passage(
                    connection,
                    draft.passage(document, index),
                    context=draft.context,
                    digest=draft.digest,
                )
                passages.insert_vectors(connection, passage_id, self._embedder.fingerprint, vectors)
                added.append((passage_id, vectors))
            if also is not None:
                also(connection)
            return Added(
                outcome="added" if old is None else "replaced",
                passages=len(drafted),
                characters=document.characters,
                replaced=None if old is None else old.id,
            )

        with self._generations.changing:
            result = self._database.write(change)
            if result.outcome != "skipped":
                self._generations.follow(store_id, revision, removed=removed, added=added)
        if removed:
            self._database.erase()
        return result

    def _search_vectors(
        self,
        store_ids: Sequence[str],
        query: str,
        allowed: Sequence[int] | None,
        also_score: Sequence[int],
    ) -> dict[int, float]:
        """Cosines of the closest passages, and of those that the words have found."""
        vector = self._embedder.embed([query], queries=True)[0]
        near: dict[int, float] = {}
        scores: dict[int, float] = {}
        for store_id in store_ids:
            generation = self._generations.get(store_id)
            near.update(generation.search(vector, POOL, ids=allowed))
            scores.update(generation.search(vector, len(also_score), ids=also_score))
        best = sorted(near.items(), key=lambda item: (-item[1], item[0]))[:POOL]
        return scores | dict(best)


def _find_same(connection: Connection, wanted: Document) -> Document | None:
    """The document that makes `wanted` a duplicate; `Conflict` if its id means another one."""
    taken = store.find_document(connection, wanted.store_id, wanted.id)
    if taken is not None and taken.digest != wanted.digest:
        raise Conflict(f"document {wanted.id!r} is in this store already, with other content")
    return taken or store.find_same_document(connection, wanted)


def _skip(connection: Connection, wanted: Document, known: Document, also: Also | None) -> Added:
    if also is not None:
        also(connection)
    return Added(
        outcome="skipped",
        passages=passages.count_passages(connection, known.store_id, known.id),
        characters=known.characters,
        duplicate_of=None if known.id == wanted.id else known.id,
    )


def _checked(attributes: Attributes) -> dict[str, AttributeValue]:
    for key, value in attributes.items():
        if reason := check_value(key) or check_value(value):
            raise InvalidAttributes(f"attribute {key!r:.80}: {reason}")
    return dict(attributes)


def _new_revision() -> str:
    return secrets.token_hex(8)
