"""A cross-encoder reads question and passage together and orders what the search has found.

Optional: it costs a forward pass for each hit, so only the first `RERANKED` are read. It knows no
stores. Read `rerank` first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from retrieval.errors import RerankerError
from retrieval.records import Hit

logger = logging.getLogger(__name__)

RERANKED = 30


class Reranks(Protocol):
    """What a search needs of a cross-encoder."""

    def score(self, query: str, texts: Sequence[str]) -> list[float]: ...


class Reranker:
    """A sentence-transformers `CrossEncoder`, by its folder or hub name; safe from any thread.

    Weights are read from safetensors only and no code of a model is ever run. Raises
    `RerankerError` where there is no such model, or it is not one that gives one score to a pair.
    """

    def __init__(self, name_or_folder: str | Path, device: str = "auto") -> None:
        self.name = str(name_or_folder)
        self._model = _load(self.name, device)
        self._turn = threading.Lock()  # a fast tokenizer must not be used by two threads

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return how well each text answers the query, within 0..1."""
        import torch

        if not texts:
            return []
        with self._turn:
            scores = self._model.predict(
                [(query, text) for text in texts],
                activation_fn=torch.nn.Sigmoid(),
                show_progress_bar=False,
            )
        return [float(score) for score in scores]


def rerank(reranker: Reranks, query: str, hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits in the cross-encoder's order; its score becomes theirs.

    Equal scores stay in the order of the hits.
    """
    texts = [
        "\n".join(filter(None, (hit.document_name, hit.passage.heading, hit.passage.text)))
        for hit in hits
    ]
    scored = [
        replace(hit, score=score, rerank=score)
        for hit, score in zip(hits, reranker.score(query, texts), strict=True)
    ]
    return sorted(scored, key=lambda hit: -hit.score)


def _load(name: str, device: str) -> Any:
    import torch
    from sentence_transformers import CrossEncoder

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    fix = "set HOUSEWORD_RERANKER to a folder with a cross-encoder or a hub name, or unset it"
    try:
        model = CrossEncoder(
            name,
            device=device,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RerankerError(
            f"no reranker {name!r}: it is no folder with a cross-encoder, and it could not be "
            f"downloaded ({type(error).__name__}); {fix}"
        ) from error
    if model.num_labels != 1:
        raise RerankerError(
            f"the reranker {name!r} gives {model.num_labels} scores to a pair instead of one: "
            f"it is a classifier; {fix}"
        )
    logger.info("reranker %s on %s", name, device)
    return model
