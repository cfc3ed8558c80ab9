"""What other stores know to ask: whether a tuned search has unlearned what is general.

The held-out questions of the same owner's other trainings are kept in their run folders. They are
asked among passages of their own stores, by vectors alone, of the candidate and of what serves. A
version never serves another store: this is a general set, such as nobody has to make.
Read `measure_elsewhere` first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from retrieval.errors import NotFound
from retrieval.library import Library
from retrieval.measure import ndcg
from retrieval.models import SearchModel
from retrieval.records import EmbeddedText
from server.search_gate import GateQuestion
from server.search_preparing import gate_questions
from server.trainings import Job
from tuning.run import Run

MOST_QUESTIONS = 100
MOST_RIGHT, MOST_OTHERS = 1_000, 300  # passages of a store that answer, and beside them
AT_ONCE = 32  # texts between two checks


def measure_elsewhere(
    library: Library,
    jobs: Sequence[Job],
    runs: Path,
    *,
    candidate: SearchModel,
    serving: SearchModel,
    check: Callable[[], None],
    seed: int = 0,
) -> tuple[list[float], list[float]]:
    """nDCG@10 of each question of other stores by both models; empty where there are none.

    `jobs` are ended trainings of other stores, in order; of each store the last one counts.
    """
    random_ = random.Random(seed)
    found: tuple[list[float], list[float]] = ([], [])
    latest = {job.request["store"]: job for job in jobs}
    for store_id, job in latest.items():
        run = Run(runs / job.id)
        texts: list[EmbeddedText] = []
        with suppress(NotFound):  # the store is gone
            texts = library.search_models.texts(store_id)
        held = {text.id for text in texts} | {text.document_id for text in texts}
        asked = [
            question
            for question in (gate_questions(run) if run.exists else [])
            if {*question.passages, *question.documents} & held
        ]
        room = max(1, MOST_QUESTIONS // len(latest))
        asked = random_.sample(asked, min(room, len(asked)))
        if asked:
            shown = _shown(texts, asked, random_)
            for values, model in zip(found, (candidate, serving), strict=True):
                values += _ranked(model, asked, shown, check)
    return found


def _shown(
    texts: Sequence[EmbeddedText], asked: Sequence[GateQuestion], random_: random.Random
) -> list[EmbeddedText]:
    """The passages that answer, and some others of the store; both bounded by drawing."""
    right = {id_ for question in asked for id_ in (*question.passages, *question.documents)}
    own = [text for text in texts if {text.id, text.document_id} & right]
    others = [text for text in texts if not {text.id, text.document_id} & right]
    own = random_.sample(own, min(MOST_RIGHT, len(own)))
    return own + random_.sample(others, min(MOST_OTHERS, len(others)))


def _ranked(
    model: SearchModel,
    asked: Sequence[GateQuestion],
    shown: Sequence[EmbeddedText],
    check: Callable[[], None],
) -> list[float]:
    parts = []
    for start in range(0, len(shown), AT_ONCE):
        check()
        parts.append(model.embedder.embed([text.text for text in shown[start : start + AT_ONCE]]))
    passages = np.concatenate(parts)  # (n, dim)
    questions = model.embed_queries([question.text for question in asked])
    values = []
    for question, scores in zip(asked, questions @ passages.T, strict=True):
        order = np.argsort(-scores)
        ids = [str(shown[at].id if question.passages else shown[at].document_id) for at in order]
        values.append(ndcg(list(dict.fromkeys(ids)), question.judged()))
    return values
