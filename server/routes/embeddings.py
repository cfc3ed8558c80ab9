"""/v1/embeddings: texts to vectors, by an embedder that search uses: the base, or a tuned one."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from litestar import Router, post
from litestar.params import JSONBody

from server.auth import Owner
from server.errors import ApiError
from server.schemas import Embedding, Embeddings, EmbeddingsCreate, EmbeddingsUsage
from server.services import AppServices

MAX_TEXTS = 2048


@post("/", status_code=200, sync_to_thread=True)
def create_embeddings(
    services: AppServices, owner: Owner, data: JSONBody[EmbeddingsCreate]
) -> Embeddings:
    """Embed texts; the client asks for base64 by default and decodes it itself.

    With fewer `dimensions` the first ones are kept, and made unit vectors again.
    """
    embedder = services.embedder_of(owner, data.model)
    dimensions = embedder.dimension if data.dimensions is None else data.dimensions
    if not 1 <= dimensions <= embedder.dimension:
        raise ApiError(
            400,
            f"dimensions must be within 1..{embedder.dimension} for this model.",
            param="dimensions",
        )
    texts = _texts(data.input)
    tokens = embedder.count_tokens(texts)
    if (longest := max(tokens)) > embedder.max_tokens:
        raise ApiError(
            400,
            f"Input {tokens.index(longest)} has {longest} tokens; this model reads at most "
            f"{embedder.max_tokens}: split it.",
            param="input",
            code="context_length_exceeded",
        )
    rows = embedder.embed(texts)[:, :dimensions]  # (n, dimensions) float32
    if dimensions < embedder.dimension:
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return Embeddings(
        data=[Embedding(index=i, embedding=_encode(row, data)) for i, row in enumerate(rows)],
        model=data.model,
        usage=EmbeddingsUsage(sum(tokens), sum(tokens)),
    )


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_TEXTS:
        raise _bad(f"input must be a text or a list of 1 to {MAX_TEXTS} texts.")
    if any(isinstance(text, int | list) for text in texts):
        raise _bad(
            "Token ids mean nothing here, since clients count with other tokenizers: send text "
            "(in LangChain: check_embedding_ctx_length=False)."
        )
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise _bad(f"Input {index} is not a text, or is empty.")
    return texts


def _encode(
    row: np.ndarray[Any, np.dtype[np.float32]], data: EmbeddingsCreate
) -> list[float] | str:
    if data.encoding_format == "base64":
        return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
    values: list[float] = row.tolist()
    return values


def _bad(message: str) -> ApiError:
    return ApiError(400, message, param="input", code="invalid_input")


router = Router(path="/embeddings", route_handlers=[create_embeddings], tags=["embeddings"])
