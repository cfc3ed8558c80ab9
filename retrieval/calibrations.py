"""The calibration of each store: kept, read, and fitted again when the store has changed much.

It is keyed by what embeds passages and questions (`generation`), because scores of one model say
nothing of another's. Fitting takes seconds and happens in the background; a search reads one row.
Read `Calibrations.fit` first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Literal

from retrieval import passages, store
from retrieval.calibrate import ENOUGH_CASES, Calibration, Case, fit_weight, separate
from retrieval.database import Connection, Database, Row
from retrieval.errors import Cancelled, NotFound
from retrieval.extract import distinct
from retrieval.generations import Generations
from retrieval.grounds import DEFAULT_THRESHOLD, Grounds, Judge
from retrieval.models import SearchModel
from retrieval.probes import find_cases
from retrieval.records import Hit
from retrieval.search import MAX_HITS, search
from retrieval.search_models import SearchModels

MOST_QUESTIONS = 300
MOST_WEIGHED = 100  # questions on which a threshold is fitted
POOL = 100  # passages that each side offers
CHANGED_ENOUGH = 0.2  # of the passages: then it is fitted again

Question = tuple[str, str]  # a question and the id of the document that answers it
IndexKind = Literal["exact", "approximate", "not loaded"]
_FIELDS = tuple(field.name for field in fields(Calibration))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration with what it was fitted on: so many passages, and these questions if any.

    Its threshold is of the chances that the named `judge` gives.
    """

    calibration: Calibration
    passages: int
    questions: tuple[Question, ...]
    judge: str


class Calibrations:
    """The calibrations of all stores; safe to use from any thread."""

    def __init__(
        self,
        database: Database,
        generations: Generations,
        models: SearchModels,
        judge: Judge,
    ) -> None:
        self._database = database
        self._generations = generations
        self._models = models
        self._judge = judge

    def of(self, store_id: str) -> Calibration:
        """Return what a store's search is set to; the default where nothing was fitted yet."""
        return self._of(store_id, self._models.model(store_id))

    def weight(self, store_ids: Sequence[str], model: SearchModel) -> float:
        """Return how much words count where this model searches these stores together."""
        return fmean(self._of(store_id, model).lexical_weight for store_id in store_ids)

    def threshold(self, store_ids: Sequence[str]) -> float:
        """Return the confidence below which what these stores hold together is no answer."""
        return fmean(self.of(store_id).threshold for store_id in store_ids)

    def judge(
        self,
        question: str,
        hits: Sequence[Hit],
        store_ids: Sequence[str],
        *,
        threshold: float | None = None,
    ) -> Grounds:
        """Return what the hits of these stores offer for a question, and how sure that is.

        Too little is what their thresholds say, or the one that is given.
        """
        threshold = self.threshold(store_ids) if threshold is None else threshold
        return self._judge.find(question, hits, threshold=threshold)

    def index(self, store_id: str) -> tuple[IndexKind, float | None]:
        """Return what kind of index a store has, and an approximate one's measured recall@10."""
        embedder = self._models.model(store_id).embedder
        generation = self._generations.loaded(store_id, embedder)
        if generation is None:
            return "not loaded", None
        return "exact" if generation.recall is None else "approximate", generation.recall

    def tend(self, *, stopped: Callable[[], bool] = lambda: False) -> None:
        """Bring up to date what lags behind changes, in the background: indexes, calibrations.

        Searches go on meanwhile. Raises `Cancelled` once `stopped()`; the next call goes on.
        """
        with self._database.read() as connection:
            store_ids = store.find_store_ids(connection)
        for store_id in store_ids:
            try:
                model = self._models.model(store_id)
                self._generations.grow(store_id, model.embedder)
                with self._database.read() as connection:
                    stale = is_stale(connection, store_id, model.name, self._judge.name)
                if stale:
                    self.fit(store_id, stopped=stopped)
            except NotFound:
                continue  # deleted meanwhile

    def fit(
        self,
        store_id: str,
        *,
        questions: Sequence[Question] | None = None,
        version: str | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Calibration:
        """Fit a store's calibration and keep it; `version` names one that does not serve.

        `questions` choose it where there are enough, else those of the last time, else probes
        made of the documents. Raises `NotFound`, and `Cancelled` if `stopped()`; nothing is
        changed then.
        """
        model = self._models.model(store_id, version)
        with self._database.read() as connection:
            store.revision(connection, store_id)
            count = passages.count_in_store(connection, store_id)
            if questions is None:
                questions = _questions(connection, store_id)
            held = {document.id for document in store.find_documents(connection, store_id)}
        questions = tuple(questions)[:MOST_QUESTIONS]
        known = [(query, document_id) for query, document_id in questions if document_id in held]
        cases = self._cases(store_id, model, known, stopped)
        if len(cases) >= ENOUGH_CASES:
            weight = fit_weight(cases)
            right, wrong = self._confidences(store_id, model, known, weight, stopped)
            threshold, separation = separate(right, wrong)
            calibration = Calibration(weight, threshold, "questions", len(cases), separation)
        else:
            probes = find_cases(
                self._database,
                store_id,
                model.embedder.fingerprint,
                embed=model.embedder.embed,
                embed_queries=model.embed_queries,
                stopped=stopped,
            )
            calibration = Calibration()
            if len(probes) >= ENOUGH_CASES:
                weight = fit_weight(probes)
                calibration = Calibration(weight, method="probes", probes=len(probes))
        fitted = Fitted(calibration, count, questions, self._judge.name)
        self._database.write(lambda connection: _keep(connection, store_id, model.name, fitted))
        return calibration

    def _of(self, store_id: str, model: SearchModel) -> Calibration:
        with self._database.read() as connection:
            fitted = find(connection, store_id, model.name)
        if fitted is None:
            return Calibration()
        if fitted.judge != self._judge.name:
            return replace(fitted.calibration, threshold=DEFAULT_THRESHOLD)
        return fitted.calibration

    def _cases(
        self,
        store_id: str,
        model: SearchModel,
        questions: Sequence[Question],
        stopped: Callable[[], bool],
    ) -> list[Case]:
        """What a search finds for each question."""
        index = self._generations.get(store_id, model.embedder)
        cases = []
        for query, document_id in questions:
            _go_on(stopped)
            vector = model.embed_query(query)
            near = dict(index.search(vector, POOL))
            with self._database.read() as connection:
                words = dict(passages.search_words(connection, [store_id], query, POOL))
                own = passages.find_passages(connection, store_id, document_id)
            near |= dict(index.search(vector, POOL, ids=list(words)))
            cases.append(Case(query, near, words, frozenset(passage.id for passage in own)))
        return cases

    def _confidences(
        self,
        store_id: str,
        model: SearchModel,
        questions: Sequence[Question],
        weight: float,
        stopped: Callable[[], bool],
    ) -> tuple[list[float], list[float]]:
        """How sure each question's hits are to answer it, and those of other documents alone."""
        right, wrong = [], []
        for query, document_id in questions[:MOST_WEIGHED]:
            _go_on(stopped)
            hits = search(
                self._database,
                self._generations,
                model,
                [store_id],
                query,
                k=MAX_HITS,
                filter=None,
                lexical_weight=weight,
                lexical=True,
                dense=True,
            )
            hits = distinct(hits)
            others = [hit for hit in hits if hit.passage.document_id != document_id]
            right.append(self._judge.find(query, hits, thorough=True).confidence)
            wrong.append(self._judge.find(query, others, thorough=True).confidence)
        return right, wrong


def find(connection: Connection, store_id: str, generation: str) -> Fitted | None:
    """Return a store's calibration, or None where it was never fitted."""
    row = connection.execute(
        "SELECT * FROM calibrations WHERE store_id = ? AND generation = ?", (store_id, generation)
    ).fetchone()
    return _fitted(row) if row else None


def _questions(connection: Connection, store_id: str) -> tuple[Question, ...]:
    """The questions that were last given for a store, whatever searched it then."""
    row = connection.execute(
        "SELECT * FROM calibrations WHERE store_id = ? LIMIT 1", (store_id,)
    ).fetchone()
    return _fitted(row).questions if row else ()


def _go_on(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise Cancelled("the calibration was stopped: there is other work")


def is_stale(connection: Connection, store_id: str, generation: str, judge: str) -> bool:
    """Whether another judge or many other passages ask for the calibration to be fitted again."""
    count = passages.count_in_store(connection, store_id)
    fitted = find(connection, store_id, generation)
    if fitted is None:
        return count > 0
    if fitted.judge != judge:
        return True
    return abs(count - fitted.passages) > CHANGED_ENOUGH * fitted.passages


def _keep(connection: Connection, store_id: str, generation: str, fitted: Fitted) -> None:
    if not connection.execute("SELECT 1 FROM stores WHERE id = ?", (store_id,)).fetchone():
        return  # deleted meanwhile
    values = [getattr(fitted.calibration, name) for name in _FIELDS]
    connection.execute(
        f"INSERT OR REPLACE INTO calibrations (store_id, generation, {', '.join(_FIELDS)}, "
        f"passages, questions, judge) VALUES ({', '.join('?' * (len(_FIELDS) + 5))})",
        (
            store_id,
            generation,
            *values,
            fitted.passages,
            json.dumps(fitted.questions),
            fitted.judge,
        ),
    )
    connection.execute(
        "UPDATE calibrations SET questions = ? WHERE store_id = ?",
        (json.dumps(fitted.questions), store_id),
    )


def _fitted(row: Row) -> Fitted:
    return Fitted(
        Calibration(**{name: row[name] for name in _FIELDS}),
        row["passages"],
        tuple((query, document) for query, document in json.loads(row["questions"])),
        row["judge"],
    )
