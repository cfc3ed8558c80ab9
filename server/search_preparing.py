"""A search training's run folder: questions given and found, what answers them, and the split.

It embeds the questions by what serves, and starts no worker. What answers a question is found by
`search_questions.py`. Read `SearchPreparing.freeze` first.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from retrieval.embed import find_local_embedder
from retrieval.library import Library
from retrieval.models import Rows, SearchModel
from retrieval.records import EmbeddedText
from retrieval.versions import BASE
from server.content import FileContent
from server.errors import ApiError
from server.feedback import Feedbacks
from server.ledger import Ledger
from server.question_writing import FOUND_WITHIN, draw, write_questions
from server.search_feedback import liked_pairs, opened_pairs
from server.search_gate import GateQuestion
from server.search_pairs import Pair, check_documents, merge_same, question_key, read_pairs
from server.search_questions import Asked, Resolver, Source
from server.search_split import SearchSplits, assign, groups_of
from server.settings import Settings
from server.trainings import Job
from server.turns import Turns
from tuning.errors import ExamplesError
from tuning.records import Split
from tuning.run import Run
from tuning.search_data import Question, SearchData

MOST_PASSAGES = 20_000  # that a training looks at; of a larger store some are drawn
FULL_FROM = 500  # questions to learn from
PAIRS_TOLD = 200  # pairs between two progress events
QUESTIONS_TOLD = 20  # written questions between two
GATE_FILE = "gate.jsonl"

Tell = Callable[..., None]


@dataclass(frozen=True, slots=True)
class SearchPreparing:
    """What the run folders of search trainings are made of."""

    library: Library
    ledger: Ledger
    content: FileContent
    settings: Settings
    splits: SearchSplits
    feedback: Feedbacks
    turns: Turns
    base_folder: Path

    def freeze(self, job: Job, run: Run, *, tell: Tell, check: Callable[[], None]) -> None:
        """Freeze a training. `check` is called now and then, and may raise to end it.

        Raises:
            ExamplesError: faulty pairs, or too few questions.
            ApiError: the store holds no documents.
        """
        store_id = job.request["store"]
        texts = self.library.search_models.texts(store_id)
        if not texts:
            raise ApiError(409, f"The store '{store_id}' holds no documents to search.")
        resolver = Resolver(self.library, store_id, texts)
        given = self._given(job, texts, resolver, tell=tell, check=check)
        asked = [*given, *self._told(job, resolver, known={one.keys[-1] for one in given})]
        asked += resolver.found({one.keys[-1].removeprefix("question:") for one in asked})
        asked += self._written(job, texts, known=asked, tell=tell, check=check)
        counted = Counter(one.source for one in asked)
        kinds = {source: counted[source] for source in get_args(Source)}
        tell(
            f"Questions: {kinds['given']} given, {kinds['feedback']} from approved feedback, "
            f"{kinds['opened']} from opened citations, {kinds['found']} found in the documents, "
            f"{kinds['written']} written by a model.",
            data=kinds,
        )
        splits = self._split(store_id, asked)
        train, dev, gate = (
            [a for a, s in zip(asked, splits, strict=True) if s == side]
            for side in ("train", "dev", "gate")
        )
        dev = [a for a in dev if a.source == "given"] or dev
        gate = [a for a in gate if a.source == "given"]
        told = {"train": len(train), "dev": len(dev), "gate": len(gate)}
        tell(
            f"Split by topic or document: {told['train']} to learn from, {told['dev']} to select "
            f"by, {told['gate']} to judge by.",
            data=told,
        )
        if not train or not dev:
            raise ExamplesError([(0, "too few questions to learn from some and hold others out")])
        method, why = choose_method(job.request, len(train), own=self.settings.embedder)
        tell(f"Method: {method}, {why}.", data={"method": method})
        models = self.library.search_models
        active, model = models.active(store_id), models.model(store_id)
        models.build(store_id, active.id if active else BASE, check=check)  # mostly it is there
        own = job.request["embedder"] == self.settings.embedder
        data = self._data(store_id, model, texts, train, dev, embed=own)
        questions = [self._judged(question) for question in gate]

        def more(folder: Path) -> None:
            data.save(folder)
            lines = (json.dumps(asdict(question)) + "\n" for question in questions)
            (folder / GATE_FILE).write_text("".join(lines))

        Run.create(
            run.folder,
            config={
                "kind": "search",
                "method": method,
                "why": why,
                "store": store_id,
                "split": told,
                "questions": kinds,
                "calibrate": _with_documents(dev, texts),
                "space": {
                    "embedder": active.embedder if active else None,
                    "fingerprint": model.embedder.fingerprint,
                },
                "embedder_folder": str(self._folder(job)),
                "embedders_dir": str(self.settings.folder("embedders").resolve()),
                "device": self.settings.device,
                "threads": self.settings.worker_threads,
                "hyperparameters": job.request["hyperparameters"],
            },
            more=more,
        )

    # -- questions

    def _given(
        self,
        job: Job,
        texts: Sequence[EmbeddedText],
        resolver: Resolver,
        *,
        tell: Tell,
        check: Callable[[], None],
    ) -> list[Asked]:
        file_id = job.request["training_file"]
        if file_id is None:
            return []
        lines = read_pairs(self.content.read(self.ledger.file(job.owner, file_id).digest))
        pairs, repeated, differing = merge_same(lines)
        names = {text.document_name for text in texts}
        check_documents(pairs, names=names, ids={text.document_id for text in texts})
        if repeated:
            tell(f"{repeated} lines only repeat others.")
        if differing:
            tell(
                f"{differing} questions have several lines with different answers: all of them "
                "count as right.",
                level="warn",
            )
        asked, lost = [], []
        for number, pair in enumerate(pairs):
            check()
            if number and number % PAIRS_TOLD == 0:
                tell(f"Pairs: {number} of {len(pairs)}.")
            one = resolver.named(pair, source="written" if pair.written else "given")
            if one is None:
                lost.append(pair.line)
            else:
                asked.append(one)
        if lost:
            shown = ", ".join(map(str, lost[:10])) + (" and more" if len(lost) > 10 else "")
            tell(
                f"{len(lost)} passages are in no document of the store, so their pairs are left "
                f"out: lines {shown}.",
                level="warn",
            )
        return asked

    def _told(self, job: Job, resolver: Resolver, *, known: Collection[str]) -> list[Asked]:
        """The questions whose answers readers liked or read on from, where the passages remain."""
        store_id = job.request["store"]
        approved = self.feedback.approved(job.owner, None)
        sources: dict[Source, list[Pair]] = {
            "feedback": liked_pairs(approved, store_id=store_id),
            "opened": opened_pairs(self.turns.opened(job.owner), store_id=store_id),
        }
        told: dict[str, Asked] = {}
        for source, pairs in sources.items():
            for pair in pairs:
                one = resolver.named(pair, source=source)
                if one is not None and one.keys[-1] not in known:
                    told.setdefault(one.keys[-1], one)
        return list(told.values())

    def _written(
        self,
        job: Job,
        texts: Sequence[EmbeddedText],
        *,
        known: Sequence[Asked],
        tell: Tell,
        check: Callable[[], None],
    ) -> list[Asked]:
        """As many questions as were asked for, written by the base and found by a search."""
        count = job.request["hyperparameters"].get("written_questions", 0)
        if not count:
            return []
        of_document: dict[str, list[EmbeddedText]] = {}
        for text in texts:
            of_document.setdefault(text.document_id, []).append(text)
        drawn = draw(of_document.values(), lambda text: text.body, count=count)
        told = 0

        def progress(done: int, of: int) -> None:
            nonlocal told
            check()
            if done >= told + QUESTIONS_TOLD:
                told = done
                tell(f"Questions: {done} of {of} written.")

        def finds(question: str, at: int) -> bool:
            check()
            hits = self.library.search([job.request["store"]], question, k=FOUND_WITHIN)
            return drawn[at].id in {hit.passage.id for hit in hits}

        written = write_questions(
            self.settings, [text.body for text in drawn], finds=finds, progress=progress
        )
        tell(f"{len(written)} of {len(drawn)} written questions find their passage again.")
        taken = {one.keys[-1] for one in known}
        asked: dict[str, Asked] = {}
        for one in written:
            text, key = drawn[one.passage], f"question:{question_key(one.question)}"
            if key not in taken:
                keys = (f"document:{text.document_name}", key)
                asked[key] = Asked(one.question, (text.id,), (), keys, source="written")
        return list(asked.values())

    def _split(self, store_id: str, asked: Sequence[Asked]) -> list[Split]:
        """The split of every question, remembered for ever; given questions fill the shares."""
        known = self.splits.known(store_id)
        given = [one for one in asked if one.source == "given"] or list(asked)
        groups = groups_of([one.keys for one in given])
        by_group = assign(groups, known=known)
        of_question = {
            one.keys[-1]: known.get(one.keys[-1]) or by_group[group]
            for one, group in zip(given, groups, strict=True)
        }
        of_key: dict[str, Split] = {}
        for one in given:
            for key in one.keys[:-1]:
                of_key.setdefault(key, of_question[one.keys[-1]])
        self.splits.keep(store_id, {**by_group, **of_question})
        by_topic = set(groups) != {one.keys[-1] for one in given}
        return [
            of_question.get(one.keys[-1])
            or (_strictest(of_key.get(key) for key in one.keys[:-1]) if by_topic else "train")
            for one in asked
        ]

    def _judged(self, asked: Asked) -> GateQuestion:
        return GateQuestion(asked.text, asked.passages, asked.documents)

    # -- what the worker reads

    def _data(
        self,
        store_id: str,
        model: SearchModel,
        texts: Sequence[EmbeddedText],
        train: Sequence[Asked],
        dev: Sequence[Asked],
        *,
        embed: bool,
    ) -> SearchData:
        """Questions and passages by index, with the vectors that the store has of them."""
        vectors = self.library.search_models.vectors(store_id)
        asked = [*train, *dev]
        rows = model.embedder.embed([one.text for one in asked], queries=True)
        of_document: dict[str, list[int]] = {}
        for text in texts:
            if text.id in vectors:
                of_document.setdefault(text.document_id, []).append(text.id)
        right = [
            _nearest(one, row, of_document, vectors) for one, row in zip(asked, rows, strict=True)
        ]
        answered = [n for n, own in enumerate(right) if own]
        needed = {id_ for own in right for id_ in own}
        others = [text.id for text in texts if text.id in vectors and text.id not in needed]
        room = max(0, MOST_PASSAGES - len(needed))
        drawn = set(random.Random(0).sample(others, min(room, len(others))))
        shown = [text for text in texts if text.id in needed or text.id in drawn]
        # A heading is no art to find by itself: its passage is learned without it.
        masked = {one.passages[0]: one.masked for one in asked if one.masked}
        passage_rows = np.stack([vectors[text.id][0] for text in shown])
        places = {text.id: place for place, text in enumerate(shown)}
        hidden = [text.id for text in shown if text.id in masked]
        if hidden and embed:
            passage_rows[[places[id_] for id_ in hidden]] = model.embedder.embed(
                [masked[id_] for id_ in hidden]
            )
        return SearchData(
            questions=tuple(
                Question(
                    asked[n].text,
                    "train" if n < len(train) else "dev",
                    tuple(places[id_] for id_ in right[n]),
                    tuple(
                        places[id_]
                        for document in asked[n].documents
                        for id_ in of_document.get(document, ())
                        if id_ in places and id_ not in right[n]
                    ),
                )
                for n in answered
            ),
            passages=tuple(masked.get(text.id, text.text) for text in shown),
            question_rows=rows[answered] if embed else None,
            passage_rows=passage_rows if embed else None,
        )

    def _folder(self, job: Job) -> Path:
        own = job.request["embedder"] == self.settings.embedder
        return (self.base_folder if own else find_local_embedder(job.request["embedder"])).resolve()


def _strictest(splits: Iterable[Split | None]) -> Split:
    """Where a question belongs whose documents or topics are split: never to learn from gate."""
    found = set(splits)
    return "gate" if "gate" in found else "dev" if "dev" in found else "train"


def _with_documents(asked: Sequence[Asked], texts: Sequence[EmbeddedText]) -> list[tuple[str, str]]:
    """The given ones of some questions, each with the id of one document that answers it."""
    owners = {text.id: text.document_id for text in texts}
    return [
        (one.text, one.documents[0] if one.documents else owners[one.passages[0]])
        for one in asked
        if one.source == "given"
    ]


def choose_method(request: dict[str, Any], questions: int, *, own: str) -> tuple[str, str]:
    """The method of a training and why, in words; `own` is the server's embedder."""
    asked: str = request["method"]
    if asked != "auto":
        return asked, "as asked for"
    if request["embedder"] != own:
        return "full", "since the passages must be embedded anew by another embedder anyway"
    if questions < FULL_FROM:
        why = f"since {questions} questions to learn from are fewer than {FULL_FROM}"
        return "query_adapter", why
    return "full", f"since there are {questions} questions to learn from"


def gate_questions(run: Run) -> list[GateQuestion]:
    """The held-out questions of a run folder."""
    lines = (run.folder / GATE_FILE).read_text().splitlines()
    values = map(json.loads, lines)
    return [GateQuestion(v["text"], tuple(v["passages"]), tuple(v["documents"])) for v in values]


def _nearest(
    asked: Asked, row: Rows, of_document: dict[str, list[int]], vectors: dict[int, Rows]
) -> list[int]:
    """The passages that answer, the best first: of a document the one that is nearest."""
    if asked.passages:
        own = [id_ for id_ in asked.passages if id_ in vectors]
        return sorted(own, key=lambda id_: -float((vectors[id_] @ row).max()))
    return [
        max(of_document[document], key=lambda id_: float((vectors[id_] @ row).max()))
        for document in asked.documents
        if document in of_document
    ]
