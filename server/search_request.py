"""A request to tune search, checked and complete: which embedder, store, pairs and method.

Faulty pairs are refused here, with the numbers of the lines, before a job exists. It starts
nothing. Read `search_request` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.embed import find_local_embedder
from retrieval.errors import EmbedderError
from server.errors import ApiError
from server.hyperparameters import refused, within_limits
from server.search_pairs import check_documents, read_pairs
from server.services import Services

METHODS = ("auto", "query_adapter", "full")
# Name on the wire -> (field of the training's config, lowest, highest)
_LIMITS: dict[str, tuple[str, float, float]] = {
    "n_epochs": ("max_epochs", 1, 1000),
    "max_epochs": ("max_epochs", 1, 1000),
    "max_minutes": ("max_minutes", 0.01, 10_000),
    "learning_rate": ("learning_rate", 1e-7, 1e-1),
    "batch_size": ("batch", 2, 4096),
    "hard_negatives": ("hard_negatives", 0, 5),
    "temperature": ("temperature", 0.001, 1),
    "rank": ("rank", 1, 1024),
    "lora_rank": ("lora_rank", 0, 256),
    "least_dimensions": ("least_dimensions", 8, 8192),
    "written_questions": ("written_questions", 0, 10_000),
    "compare_stock": ("compare_stock", 0, 1),
    "seed": ("seed", 0, 2**31),
}
_DEFAULTS = {"full": {"max_minutes": 10.0, "max_epochs": 10}}


def is_search(services: Services, model: str) -> bool:
    """Whether a job's `model` is an embedder: the server's own, or another on this machine."""
    if model in (services.engine.generator.name, services.settings.generator):
        return False
    if model == services.settings.embedder:
        return True
    try:
        folder = find_local_embedder(model)
    except EmbedderError:
        return False
    return (folder / "modules.json").is_file()


def search_request(
    services: Services,
    owner: str,
    *,
    model: str,
    training_file: str | None,
    metadata: dict[str, str],
    method: Mapping[str, Any] | str | None,
    hyperparameters: Mapping[str, Any],
) -> dict[str, Any]:
    """What a search job will be carried out by. Raises ApiError and ExamplesError."""
    store_id = metadata.get("vector_store_id") or services.default_store(owner)
    services.store(owner, store_id)
    documents = services.library.documents(store_id)
    if not documents:
        raise ApiError(
            400,
            f"The store '{store_id}' holds no documents yet: add some first.",
            param="metadata",
            code="empty_store",
        )
    chosen, asked = _method(method)
    if training_file:
        content = services.content.read(services.ledger.file(owner, training_file).digest)
        check_documents(
            read_pairs(content),
            names={document.name for document in documents},
            ids={document.id for document in documents},
        )
    if model != services.settings.embedder and chosen == "query_adapter":
        raise refused(
            "method", "Another embedder needs all passages embedded anew: use the method 'full'."
        )
    known = {key: value for key, value in hyperparameters.items() if value is not None}
    return {
        "training_file": training_file or None,
        "store": store_id,
        "embedder": model,
        "metadata": metadata,
        "method": chosen,
        "hyperparameters": _hyperparameters({**known, **asked}, chosen),
    }


def named_embedder(model: str) -> str:
    """An embedder's name as it stands in `ft:` ids: a folder's last part."""
    return Path(model).name


def _method(value: Mapping[str, Any] | str | None) -> tuple[str, dict[str, Any]]:
    """The method asked for, and the hyperparameters that came with it."""
    given = {"type": value} if isinstance(value, str) else dict(value or {})
    name = given.get("type", "auto")
    if name not in METHODS:
        known = ", ".join(METHODS)
        raise refused("method", f"The method {name!r} does not tune search; known are {known}.")
    settings = given.get(name) or {}
    asked = settings.get("hyperparameters") or {} if isinstance(settings, dict) else None
    if not isinstance(asked, dict):
        raise refused("method", f'method.{name} must hold an object "hyperparameters".')
    return name, asked


def _hyperparameters(asked: Mapping[str, Any], method: str) -> dict[str, Any]:
    given = {
        name: value
        for name, value in asked.items()
        if value != "auto" and name != "learning_rate_multiplier"
    }
    defaults = {} if method == "query_adapter" else _DEFAULTS["full"]
    return {**defaults, **within_limits(given, _LIMITS)}
