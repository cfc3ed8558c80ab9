"""How a running server is put together: the parts, in the order in which they need each other.

Read `open_services`; what it gives is `services.Services`.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from retrieval.database import Database
from retrieval.embed import DEFAULT_EMBEDDER, Embedder
from retrieval.library import Library
from retrieval.parse import Parser
from retrieval.read import reader_for
from retrieval.rerank import Reranker
from retrieval.verify import Verifier
from server.chains import Chains
from server.content import FileContent
from server.engine import Engine
from server.evaluations import Evaluations
from server.evaluator import Evaluator
from server.feedback import Feedbacks
from server.fit import Running
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
from server.services import SECONDS_PER_DAY, Services
from server.settings import Settings
from server.structured import voice_grammar
from server.trainings import Job, Trainings
from server.turns import Turns
from server.voices import Voices
from tuning.generator import locate
from tuning.query_adapter import QueryAdapter
from tuning.search_data import ADAPTER_FILE
from tuning.source import DEFAULT_GENERATOR, default_gguf

logger = logging.getLogger(__name__)


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
