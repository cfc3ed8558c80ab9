"""Facts: documents in, cited passages out. Knows no HTTP, no voice and no language model.

Read `library.py` first: `Library` is the one orchestrator, and every other file is one stage
of it. Importing this package loads no model; `retrieval.embed` loads one when an `Embedder`
is made.
"""

from retrieval.errors import (
    Cancelled,
    Conflict,
    EmbedderError,
    FilterError,
    HousewordRetrievalError,
    InvalidAttributes,
    InvalidFile,
    NotFound,
    OutdatedSQLite,
    ParseTimeout,
    RerankerError,
    StorageFull,
    UnsupportedFile,
)
from retrieval.filter import Filter
from retrieval.records import Added, Document, Hit, Passage, Store, Text

__all__ = [
    "Added",
    "Cancelled",
    "Conflict",
    "Document",
    "EmbedderError",
    "Filter",
    "FilterError",
    "Hit",
    "HousewordRetrievalError",
    "InvalidAttributes",
    "InvalidFile",
    "NotFound",
    "OutdatedSQLite",
    "ParseTimeout",
    "Passage",
    "RerankerError",
    "StorageFull",
    "Store",
    "Text",
    "UnsupportedFile",
]
