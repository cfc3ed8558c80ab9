"""A passage on its way into a store: its words, what stands around them, and its vectors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from retrieval.passages import embedded_text
from retrieval.records import Document, Passage, Text
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


Drafted = tuple[Draft, NDArray[np.float32]]  # a draft and its rows, one for each window
