"""What the running server is made of, built once and handed to every handler.

`open_services` is the only place that knows the order in which the parts depend on each other.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from retrieval import errors as retrieval_errors
from retrieval.database import Database
from retrieval.embed import DEFAULT_EMBEDDER, Embedder
from retrieval.library import Library
from retrieval.models import EmbedsTexts
from retrieval.parse import Parser
from retrieval.read import reader_for
from retrieval.records import Store
from retrieval.rerank import Reranker
from retrieval.verify import Verifier
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
from server.lock import DataLock
from server.migrations import MIGRATIONS
from server.preparing import Preparing
from server.responses import Responses
from server.rows import RowMaker, RowShares
from server.search_preparing import SearchPreparing
from server.search_split import SearchSplits
from server.search_tuning import SearchTuning
from server.settings import Settings
from server.structured import voice_grammar
from server.trainings import Job, Trainings
from server.turns import Turns
from server.voices import FIRST_TASK, Voices
from tuning.generator import locate
from tuning.query_adapter import QueryAdapter
from tuning.search_data import ADAPTER_FILE
from tuning.source import DEFAULT_GENERATOR, default_gguf

logger = logging.getLogger(__name__)

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


def verifier_for(settings: Settings) -> Verifier | None:
    """The verifier beside the built-in reader; none where the default generator is missing."""
    built_in = settings.reader == "auto" and settings.embedder == DEFAULT_EMBEDDER
    if settings.verifier == "none" or not built_in:
        return None
    if default_gguf() is None:
        logger.warning("no verifier: it needs %r, which is not installed", DEFAULT_GENERATOR)
        return None
    base = locate(DEFAULT_GENERATOR, models_dir=settings.folder("models"))
    return Verifier(Path(base), settings.device)


def open_services(settings: Settings) -> Services:
    """Take the data directory, migrate it, load the models and start the threads.

    Raises `AlreadyRunning` where another server holds the directory. Whatever fails half-way
    is taken back.
    """
    with ExitStack() as opening:
        lock = DataLock(settings.data_dir, url=settings.url)
        opening.callback(lock.release)

        database = Database(settings.folder("houseword.db"))
        opening.callback(database.close)
        embedder = Embedder(settings.embedder, settings.device)
        parser = Parser(
            timeout_seconds=settings.parse_timeout_seconds,
            memory_bytes=settings.parse_memory_bytes,
        )
        tuned = settings.folder("embedders")
        library = Library(
            database,
            embedder,
            folder=settings.folder("generations"),
            parser=parser,
            open_embedder=lambda digest: Embedder(tuned / digest, settings.device),
            open_adapter=lambda digest: QueryAdapter.load(tuned / digest / ADAPTER_FILE),
            reranker=Reranker(settings.reranker, settings.device) if settings.reranker else None,
            reader=reader_for(settings.reader, embedder=settings.embedder, device=settings.device),
            verifier=verifier_for(settings),
        )
        opening.callback(library.close)
        database.migrate("server", MIGRATIONS)

        ledger = Ledger(database)
        content = FileContent(settings.folder("files"))
        content.clean(keep=ledger.digests())
        ingest = Ingest(ledger, library, content, settings=settings)
        engine = Engine(
            settings.generator,
            models_dir=settings.folder("models"),
            adapters_dir=settings.folder("adapters"),
            device=settings.device,
            threads=settings.threads,
            context_tokens=settings.context_tokens,
            queue_length=settings.queue_length,
        )
        engine.start()
        opening.callback(engine.stop)

        turns, responses = Turns(database), Responses(database)
        kept_since = int(time.time()) - settings.turn_retention_days * SECONDS_PER_DAY
        turns.forget(before=kept_since)
        responses.forget(before=kept_since)
        voices, trainings = Voices(database), Trainings(database)

        def row_maker(job: Job) -> RowMaker:
            store = job.request["store"]
            return RowMaker(
                library,
                [store] if library.stores.get(store).documents else [],
                hits=settings.hits,
                budget=settings.prompt_tokens,
                count_tokens=engine.count_tokens,
                abstain_below=settings.abstain_below,
                shares=RowShares(
                    gold_only=settings.rows_gold_only,
                    none=settings.rows_none,
                    varied=settings.rows_varied,
                    untold=settings.rows_untold,
                    drills=settings.rows_drills,
                    replay=settings.rows_replay,
                ),
            )

        running = Running(
            base=engine.generator.name,
            base_fingerprint=engine.generator.fingerprint,
            prompt_digest=engine.prompt_digest,
            adapters=settings.folder("adapters").resolve(),
        )
        cores = threading.Lock()  # one training or evaluation at a time
        preparing = Preparing(
            voices=voices,
            ledger=ledger,
            content=content,
            settings=settings,
            row_maker=row_maker,
            running=running,
            grammar_of=partial(voice_grammar, engine.grammars),
        )
        jobs = Jobs(
            trainings,
            voices,
            preparing,
            SearchPreparing(
                library=library,
                ledger=ledger,
                content=content,
                settings=settings,
                splits=SearchSplits(database),
                feedback=Feedbacks(database),
                turns=turns,
                base_folder=embedder.folder,
            ),
            SearchTuning(library, trainings, database),
            settings=settings,
            database=database,
            base=engine.generator.name,
            cores=cores,
        )
        evaluations = Evaluations(database)
        evaluator = Evaluator(
            evaluations,
            ledger,
            content,
            library,
            engine,
            settings=settings,
            cores=cores,
        )
        ingest.start()
        opening.callback(ingest.stop)
        jobs.start()
        opening.callback(jobs.stop)
        evaluator.start()
        opening.callback(evaluator.stop)

        return Services(
            settings=settings,
            database=database,
            embedder=embedder,
            library=library,
            ledger=ledger,
            content=content,
            ingest=ingest,
            engine=engine,
            running=running,
            voices=voices,
            trainings=trainings,
            turns=turns,
            responses=responses,
            chains=Chains(database),
            feedback=Feedbacks(database),
            jobs=jobs,
            evaluations=evaluations,
            evaluator=evaluator,
            started_at=int(time.time()),
            _closing=opening.pop_all(),
        )
