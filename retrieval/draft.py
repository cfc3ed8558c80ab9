"""A document on its way into a store: drafts of its passages, and the transaction's part.

It knows the rows but writes in no transaction of its own and opens no index: that is `library.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from retrieval import passages, store
from retrieval.database import Connection, Database
from retrieval.errors import Conflict
from retrieval.models import EmbedsTexts, Rows
from retrieval.passages import embedded_text
from retrieval.records import Added, Document, Passage, Text
from retrieval.split import Span


@dataclass(frozen=True, slots=True)
class Draft:
    """`digest` names context and text together: the same digest has the same vectors."""

    span: Span
    text: str
    context: str
    digest: str

    @classmethod
    def of(cls, span: Span, text: Text, *, name: str) -> Draft:
        """Make the draft of one span; its context is the document's title and its heading.

        A heading that the passage holds itself is not said twice.
        """
        title = PurePath(name).stem.replace("-", " ").replace("_", " ").strip()
        words = text.text[span.start : span.end]
        above = span.heading if span.heading and span.heading not in words else ""
        context = " - ".join(filter(None, (title, above)))
        digest = hashlib.sha256(embedded_text(context, words).encode()).hexdigest()
        return cls(span=span, text=words, context=context, digest=digest)

    @property
    def embedded(self) -> str:
        """What the embedder is given."""
        return embedded_text(self.context, self.text)

    def passage(self, document: Document, index: int) -> Passage:
        """Return the record of it; its id is given by the store."""
        return Passage(
            id=0,
            document_id=document.id,
            store_id=document.store_id,
            index=index,
            start=self.span.start,
            end=self.span.end,
            text=self.text,
            page=self.span.page,
            heading=self.span.heading,
            tokens=self.span.tokens,
        )


Embedded = Mapping[str, Sequence[Rows]]  # fingerprint -> for each draft its windows' rows
Came = Mapping[str, Sequence[tuple[int, Rows]]]  # fingerprint -> (passage id, its rows)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a transaction did: passage ids that went, and rows that came."""

    added: Added
    removed_ids: Sequence[int] = ()
    rows: Came = field(default_factory=dict)


def embed(
    database: Database,
    embedder: EmbedsTexts,
    store_id: str,
    drafts: Sequence[Draft],
    *,
    progress: Callable[[int, int], None],
) -> list[Rows]:
    """Find each draft's vectors: the store's own where it has embedded the same before."""
    digests = [draft.digest for draft in drafts]
    with database.read() as connection:
        known = passages.find_known_vectors(connection, store_id, embedder.fingerprint, digests)
    new = {draft.digest: draft.embedded for draft in drafts if draft.digest not in known}
    owners, vectors = embedder.embed_windows(list(new.values()), progress=progress)
    known |= {digest: vectors[owners == index] for index, digest in enumerate(new)}
    return [known[draft.digest] for draft in drafts]


def find_duplicate(connection: Connection, wanted: Document) -> Added | None:
    """Say which document of the store is the same (source, content, attributes), or None.

    Raises `Conflict` if the id of `wanted` is taken by a document with other content.
    """
    taken = store.find_document(connection, wanted.store_id, wanted.id)
    if taken is not None and taken.digest != wanted.digest:
        raise Conflict(f"document {wanted.id!r} is in this store already, with other content")
    same = taken or store.find_same_document(connection, wanted)
    if same is None:
        return None
    return Added(
        outcome="skipped",
        passages=passages.count_passages(connection, same.store_id, same.id),
        characters=same.characters,
        duplicate_of=None if same.id == wanted.id else same.id,
    )


def keep(
    connection: Connection,
    document: Document,
    text: str,
    drafts: Sequence[Draft],
    embedded: Embedded,
) -> Kept:
    """Write a document with its passages and vectors, in place of its source's old one."""
    old = store.find_document_by_source(connection, document.store_id, document.source)
    removed: list[int] = []
    if old is not None:
        removed = store.delete_document(connection, old.store_id, old.id) or []
    store.insert_document(connection, document, text)
    ids = [
        passages.insert_passage(
            connection,
            draft.passage(document, index),
            context=draft.context,
            digest=draft.digest,
        )
        for index, draft in enumerate(drafts)
    ]
    rows = {
        fingerprint: list(zip(ids, vectors, strict=True))
        for fingerprint, vectors in embedded.items()
    }
    for fingerprint, came in rows.items():
        for passage_id, vectors in came:
            passages.insert_vectors(connection, passage_id, fingerprint, vectors)
    added = Added(
        outcome="added" if old is None else "replaced",
        passages=len(drafts),
        characters=document.characters,
        replaced=None if old is None else old.id,
    )
    return Kept(added=added, removed_ids=removed, rows=rows)
