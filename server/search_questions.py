"""What answers a question, found in the store: passages by their words, documents by their names.

It searches by words alone, so it needs no model. Read `Resolver` first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from retrieval.library import Library
from retrieval.records import EmbeddedText
from server.found_questions import find_questions
from server.search_pairs import Pair, question_key

LEAST_SHARED = 0.8  # of the words of the shorter of two texts that are the same passage
TEXT_WORDS = 60  # of a named passage that are searched for
CANDIDATES = 20

Source = Literal["given", "feedback", "opened", "found", "written"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with all that answers it.

    `passages` are ids; `documents` are ids, too, where no text was named. `keys` are what it must
    not be split from, itself last. `masked` is the passage without the question, where it was
    found in a document. Only what was given judges; the rest teaches.
    """

    text: str
    passages: tuple[int, ...]
    documents: tuple[str, ...]
    keys: tuple[str, ...]
    source: Source = "given"
    masked: str | None = None


class Resolver:
    """The passages of one store, looked up for questions."""

    def __init__(self, library: Library, store_id: str, texts: Sequence[EmbeddedText]) -> None:
        self._library = library
        self._store_id = store_id
        self._texts = texts
        self._by_id = {text.id: text for text in texts}
        self._of_document: dict[str, list[EmbeddedText]] = {}  # by its name and by its id
        for text in texts:
            for key in {text.document_name, text.document_id}:
                self._of_document.setdefault(key, []).append(text)

    def named(self, pair: Pair, *, source: Source = "given") -> Asked | None:
        """What a pair names; None if the store holds none of it."""
        ids = [id_ for text in pair.texts for id_ in self._find(text)]
        held = [text for key in (*pair.names, *pair.ids) for text in self._of_document.get(key, ())]
        if not ids and not held:
            return None
        documents = dict.fromkeys(self._by_id[id_].document_name for id_ in ids) | dict.fromkeys(
            text.document_name for text in held
        )
        topics = [f"topic:{pair.topic}"] if pair.topic else [f"document:{n}" for n in documents]
        return Asked(
            text=pair.question,
            passages=tuple(dict.fromkeys(ids)),
            documents=tuple(dict.fromkeys(text.document_id for text in held)) if not ids else (),
            keys=(*topics, f"question:{pair.key}"),
            source=source,
        )

    def found(self, known: Collection[str]) -> list[Asked]:
        """The questions that stand in the documents, but for the `known` keys."""
        return [
            Asked(
                text=found.question,
                passages=(found.passage.id,),
                documents=(),
                keys=(f"document:{found.passage.document_name}", f"question:{key}"),
                source="found",
                masked=found.masked,
            )
            for found in find_questions(self._texts)
            if (key := question_key(found.question)) not in known
        ]

    def _find(self, text: str) -> list[int]:
        """The passages that are a text or a part of it, else the one that is nearly the same."""
        words = re.findall(r"\w+", text.casefold())
        if not words:
            return []
        hits = self._library.search(
            [self._store_id], " ".join(words[:TEXT_WORDS]), k=CANDIDATES, dense=False
        )
        plain = f" {' '.join(words)} "
        bodies = {hit.passage.id: _plain(hit.passage.text) for hit in hits}
        bodies = {id_: body for id_, body in bodies.items() if id_ in self._by_id}
        same = [id_ for id_, body in bodies.items() if body in plain or plain in body]
        if same:
            return same
        shares = {id_: _shared(body.split(), words) for id_, body in bodies.items()}
        best = max(shares, key=lambda id_: shares[id_], default=None)
        return [best] if best is not None and shares[best] >= LEAST_SHARED else []


def _plain(text: str) -> str:
    """A text's words between single spaces, one before and one after them."""
    words = re.findall(r"\w+", text.casefold())
    return f" {' '.join(words)} "


def _shared(a: Sequence[str], b: Sequence[str]) -> float:
    """The share of the shorter one's words that the other has, too."""
    both = (Counter(a) & Counter(b)).total()
    return both / max(1, min(len(a), len(b)))
