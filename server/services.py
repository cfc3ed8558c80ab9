"""What the running server is made of, built once and handed to every handler.

`opening.py` alone knows the order in which the parts depend on each other.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from retrieval import errors as retrieval_errors
from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.library import Library
from retrieval.models import EmbedsTexts
from retrieval.records import Store
from server.chains import Chains
from server.content import FileContent
from server.engine import Engine
from server.errors import ApiError, NotFound
from server.evaluations import Evaluations
from server.evaluator import Evaluator
from server.feedback import Feedbacks
from server.fit import Running
from server.formulas import NO_FORMULAS, Formulas
from server.ids import new_id
from server.ingest import Ingest
from server.jobs import Jobs
from server.ledger import Ledger
from server.responses import Responses
from server.settings import Settings
from server.trainings import Trainings
from server.turns import Turns
from server.voices import FIRST_TASK, Voices

DEFAULT_STORE_NAME = "default"
SECONDS_PER_DAY = 86_400


@dataclass(slots=True)
class Services:
    """The parts of a running server; handlers get it by the dependency `services`."""

    settings: Settings
    database: Database
    embedder: Embedder
    library: Library
    ledger: Ledger
    content: FileContent
    ingest: Ingest
    engine: Engine
    running: Running
    voices: Voices
    trainings: Trainings
    turns: Turns
    responses: Responses
    chains: Chains
    feedback: Feedbacks
    jobs: Jobs
    evaluations: Evaluations
    evaluator: Evaluator
    started_at: int
    _closing: ExitStack
    _making_default: threading.Lock = field(default_factory=threading.Lock)
    retraining: threading.Lock = field(default_factory=threading.Lock)  # one merge at a time

    def store(self, owner: str, store_id: str) -> Store:
        """One store of the owner; raises `NotFound`."""
        try:
            store = self.library.stores.get(store_id)
        except retrieval_errors.NotFound:
            raise NotFound("vector store", store_id) from None
        if store.owner != owner:
            raise NotFound("vector store", store_id)
        return store

    def searchable_store(self, owner: str, store_id: str) -> Store:
        """One store of the owner that may be searched; raises `NotFound`, and a 400 if expired."""
        store = self.store(owner, store_id)
        if store.expires_at is not None and store.expires_at <= time.time():
            raise ApiError(400, f"The vector store '{store_id}' has expired.", code="expired")
        return store

    def default_store(self, owner: str) -> str:
        """The id of the store that is searched where a request names none; made when missing."""
        with self._making_default:
            known = self.ledger.default_store(owner)
            if known is not None:
                return known
            store_id = new_id("vs")
            self.library.stores.create(
                store_id,
                owner=owner,
                name=DEFAULT_STORE_NAME,
                also=lambda connection: self.ledger.set_default_store(connection, owner, store_id),
            )
            return store_id

    def model_list(self, owner: str) -> list[dict[str, Any]]:
        """Every model that `owner` can name, as dicts of id, created and owned_by."""
        models = [(name, self.started_at) for name in self.reserved_names()]
        for voice in self.voices.list(owner):
            if voice.active:
                models.append((voice.name, voice.created_at))
            models += [(version.id, version.created_at) for version in voice.versions]
        models += [(chain.name, chain.created_at) for chain in self.chains.list(owner)]
        return [
            {"id": name, "created": created, "owned_by": "houseword"} for name, created in models
        ]

    def reserved_names(self) -> tuple[str, ...]:
        """The models' own names, which no voice can take."""
        return (self.engine.generator.name, self.settings.embedder)

    def resolve_model(self, owner: str, model: str) -> str | None:
        """The adapter digest that a model name means, None for the base; raises `NotFound`."""
        if model in (self.engine.generator.name, self.settings.generator):
            return None
        version = self.voices.version(owner, model)
        if version is None:
            raise NotFound("model", model, code="model_not_found")
        return version.digest

    def embedder_of(self, owner: str, model: str) -> EmbedsTexts:
        """The embedder that a model name means: the base, or what a job of the owner has tuned.

        A query adapter moves questions alone: its texts are embedded by what it was trained for.
        Raises `NotFound`.
        """
        if model == self.settings.embedder:
            return self.embedder
        models = self.library.search_models
        name, _, version_id = model.rpartition(":search:")
        for store in self.library.stores.of(owner) if name else ():
            if any(version.id == version_id for version in models.versions(store.id)):
                return models.model(store.id, version_id).embedder
        raise NotFound("embedding model", model, code="model_not_found")

    def task_of(self, owner: str, model: str) -> dict[str, Any]:
        """The task of whom a model name means; the base replies from the documents."""
        version = self.voices.version(owner, model)
        return version.task if version else FIRST_TASK

    def formulas_of(self, owner: str, model: str) -> Formulas:
        """How the voice that a model name means greets and takes leave; nothing of the base."""
        version = self.voices.version(owner, model)
        return version.formulas if version else NO_FORMULAS

    def health(self) -> dict[str, Any]:
        """What /healthz tells; cheap, and no lock is waited for."""
        return {
            "status": "ok",
            "ready": True,
            "generator": self.engine.generator.name,
            "embedder": self.settings.embedder,
            "queue": {
                "ingest": self.ledger.attachments.count_waiting(),
                "chat": self.engine.waiting,
            },
        }

    def close(self) -> None:
        """Stop the threads, save and close, in the reverse of the opening order."""
        self._closing.close()


# How a handler asks for them. Not validated: Litestar would copy the parts of a dataclass.
AppServices = NamedDependency[SkipValidation[Services]]
