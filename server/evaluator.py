"""Evaluations at work: one thread takes them in order; a worker writes, the engine is timed.

    queued -> running -> succeeded | failed | cancelled

A training and an evaluation never compete for the machine: both hold `cores` while they work.
Kill the worker and it is started again for what is missing; kill the server and the evaluation
goes on after the restart. It knows no HTTP. Read `Evaluator._carry_out` first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from retrieval.library import Library
from retrieval.versions import BASE
from server.asking import Asker, unseen
from server.content import FileContent
from server.engine import Engine
from server.errors import ServerError
from server.evaluations import Evaluation, Evaluations
from server.judgement import judge
from server.latency import time_request
from server.ledger import Ledger
from server.plan import House, Plan, prompt_id
from server.questions import Question, read_questions, sample, voice_questions
from server.repair import Policy
from server.settings import Settings
from server.structured import voice_grammar
from server.verdict import Form, Latency
from server.work_queue import Interrupted, WorkQueue
from server.worker import carry_out
from tuning.run import Run

logger = logging.getLogger(__name__)

WRITING_SHARE = 0.8  # of the minutes; the rest is for the latencies
SECONDS_PER_MINUTE = 60


class EvaluationFailed(ServerError):
    """An evaluation that cannot be carried out; the message says why and what to do."""


class Evaluator:
    """The queue of evaluations. `wake` it after one was recorded or cancelled."""

    def __init__(
        self,
        evaluations: Evaluations,
        ledger: Ledger,
        content: FileContent,
        library: Library,
        engine: Engine,
        *,
        settings: Settings,
        cores: threading.Lock,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._evaluations = evaluations
        self._ledger = ledger
        self._content = content
        self._library = library
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._queue: WorkQueue[Evaluation] = WorkQueue(
            "evaluator",
            next_=evaluations.next,
            carry_out=self._carry_out,
            fail=self._fail,
            cores=cores,
        )

    def start(self) -> None:
        self._queue.start()

    def stop(self) -> None:
        """End the thread and its worker; the evaluation goes on after the next start."""
        self._queue.stop()

    def wake(self) -> None:
        self._queue.wake()

    def questions(self, owner: str, request: dict[str, Any]) -> tuple[list[Question], House]:
        """The questions of a request before any are drawn, and what is known of the voice.

        Raises `QuestionsError` for a file that cannot be used, `NotFound` for an unknown one.
        """
        house = self._house(request)
        if request["questions_file"]:
            file = self._ledger.file(owner, request["questions_file"])
            return read_questions(self._content.read(file.digest)), house
        return voice_questions(house.rows), house

    def _house(self, request: dict[str, Any]) -> House:
        """What is known of the voice; its task is that of its card, as it is served by."""
        adapter, task = request["adapter"], request.get("task")
        if adapter is None:
            return House()
        run = Run(self._settings.folder("runs") / (request["job_id"] or "none"))
        house = House.of_run(run, adapter) if run.exists else House(adapter)
        return replace(house, task=task) if task else house

    # -- the thread

    def _carry_out(self, evaluation: Evaluation) -> None:
        now = int(self._clock())
        if not self._evaluations.move(
            evaluation, "running", now=now, started_at=evaluation.started_at or now
        ):
            return
        work = _Work(evaluation, self._evaluations, lambda: self._queue.stopping)
        run = Run(self._settings.folder("runs") / evaluation.id)
        if not run.exists:
            self._prepare(work, run)
        plan = Plan.from_json(run.config()["evaluation"])
        self._write(work, run)
        latencies = self._time(work, run, plan)
        work.tell("measuring", 0, 1)
        result = judge(
            plan,
            run.texts(),
            adapter=evaluation.request["adapter"],
            latencies=latencies,
        )
        if result is None:
            raise EvaluationFailed(
                "no question was answered by every arm within "
                f"{evaluation.request['max_minutes']:g} minutes: raise max_minutes, or lower "
                "max_tokens"
            )
        result["seconds"] = work.seconds
        self._evaluations.move(evaluation, "succeeded", now=int(self._clock()), result=result)

    def _prepare(self, work: _Work, run: Run) -> None:
        """Freeze the questions, what the search finds for them, and the prompts."""
        request = work.request
        questions, house = self.questions(work.evaluation.owner, request)
        fresh = unseen(questions, house.rows)
        chosen = sample(
            fresh, answerable=request["answerable"], unanswerable=request["unanswerable"]
        )
        asker = self._asker(request["store"])
        if asker.tuned and house.uses_documents:
            # The base may lack what was added since another version serves.
            check = partial(work.tell, "preparing", 0, len(chosen))
            self._library.search_models.build(request["store"], BASE, check=check)
        plan, prompts = asker.plan(
            chosen,
            house,
            max_tokens=request["max_tokens"],
            progress=lambda done, of: work.tell("preparing", done, of),
        )
        if not plan.asked:
            raise EvaluationFailed(
                "no question is left to ask: those given were trained on, too long, or their "
                "documents have changed; give questions_file with others"
            )
        Run.create(
            run.folder,
            config={
                "kind": "generate",
                "generator": self._settings.generator,
                "models_dir": str(self._settings.folder("models")),
                "device": self._settings.device,
                "threads": self._settings.worker_threads,
                "adapters_dir": str(self._settings.folder("adapters").resolve()),
                "prompt_digest": self._engine.prompt_digest,
                "gate_minutes": WRITING_SHARE * request["max_minutes"],
                "voice_config": {"row_tokens": self._settings.context_tokens},
                "evaluation": {
                    **plan.to_json(),
                    "notes": [*plan.notes, *_few(questions, fresh, chosen, request, plan.form)],
                },
            },
            prompts=prompts,
        )

    def _asker(self, store_id: str) -> Asker:
        store = self._library.stores.get(store_id)
        return Asker(
            self._library,
            (store.id,) if store.documents else (),
            hits=self._settings.hits,
            budget=self._settings.prompt_tokens,
            count_tokens=self._engine.count_tokens,
            encode=self._engine.encode,
            policy=cast("Policy", self._settings.grounding),
            abstain_below=self._settings.abstain_below,
            grammar_of=partial(voice_grammar, self._engine.grammars),
            tuned=self._library.search_models.active(store.id) is not None,
            embed=self._library.search_models.model(store.id, BASE).embedder.embed,
        )

    def _write(self, work: _Work, run: Run) -> None:
        """Let the worker write what is missing; one that was killed is started again."""
        wanted, limit = len(run.prompts()), WRITING_SHARE * work.limit

        def watch() -> bool:
            self._queue.pause()
            work.tell("writing", len(run.texts()), wanted)
            return work.seconds < limit

        while run.outcome() is None and work.seconds < limit:
            before = len(run.texts())
            reason = carry_out(run, watch=watch)
            if reason is None:
                return
            if run.failure() is not None or len(run.texts()) == before:
                raise EvaluationFailed(reason)
            logger.warning("evaluation %s goes on: %s", work.evaluation.id, reason)

    def _time(self, work: _Work, run: Run, plan: Plan) -> dict[str, list[Latency]]:
        """Stream some questions through the engine, each by every arm; what was timed is kept."""
        done: dict[str, list[list[float]]] = work.progress.setdefault("latency", {})
        prompts = {prompt.id: prompt for prompt in run.prompts()}
        asker = self._asker(work.request["store"])
        usual = [a.question for a in plan.asked if a.question.answerable] or [
            a.question for a in plan.asked
        ]
        chosen = usual[: work.request["latency_questions"]]
        for number, question in enumerate(chosen):
            for arm in plan.arms:
                if len(done.setdefault(arm.key, [])) > number:
                    continue
                work.tell("timing", number, len(chosen))
                if work.seconds > work.limit:
                    break
                prompt = prompts[prompt_id(arm, question)]
                if number == 0:  # loading a voice is not part of an answer
                    time_request(
                        self._engine, prompt.messages, adapter=prompt.adapter, max_tokens=1
                    )
                took = time_request(
                    self._engine,
                    prompt.messages,
                    adapter=prompt.adapter,
                    max_tokens=prompt.max_tokens,
                    search=partial(_look_up, asker, question, arm.tuned) if arm.search else None,
                )
                done[arm.key].append([took.first_token, took.total])
        return {key: [Latency(*pair) for pair in pairs] for key, pairs in done.items()}

    def _fail(self, evaluation: Evaluation, reason: str) -> None:
        error = {"code": "evaluation_failed", "message": reason, "param": None}
        self._evaluations.move(evaluation, "failed", now=int(self._clock()), error=error)


def _look_up(asker: Asker, question: Question, tuned: bool) -> None:
    """What an answer waits for before its first token."""
    asker.grounds(question, asker.find(question, tuned=tuned and asker.tuned))


class _Work:
    """How far one evaluation has come, and the seconds that it has taken over all restarts."""

    def __init__(
        self, evaluation: Evaluation, evaluations: Evaluations, stopping: Callable[[], bool]
    ) -> None:
        self.evaluation = evaluation
        self.request = evaluation.request
        self.limit = SECONDS_PER_MINUTE * evaluation.request["max_minutes"]
        self.progress: dict[str, Any] = dict(evaluation.progress)
        self._evaluations = evaluations
        self._stopping = stopping
        self._began = time.monotonic() - self.progress.get("seconds", 0.0)
        self._told = -1.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def tell(self, stage: str, done: int, of: int) -> None:
        """Write it down, at most a few times a second; raises where the work shall end."""
        if self._stopping():
            raise Interrupted
        state = {"stage": stage, "done": done, "of": of, "seconds": self.seconds}
        changed = {**self.progress, **state}
        same = all(self.progress.get(name) == state[name] for name in ("stage", "done", "of"))
        if same and self.seconds - self._told < SECONDS_PER_MINUTE / 20:
            if self._ended():
                raise Interrupted
            return
        self.progress.update(changed)
        self._told = self.seconds
        if not self._evaluations.progress(self.evaluation, self.progress):
            raise Interrupted

    def _ended(self) -> bool:
        return self._evaluations.evaluation(self.evaluation.owner, self.evaluation.id).ended


def _few(
    given: Sequence[Question],
    fresh: Sequence[Question],
    chosen: Sequence[Question],
    request: dict[str, Any],
    form: Form,
) -> list[str]:
    """In words where there are fewer questions than were wanted; labels need no unanswerable."""
    notes = []
    if learnt := len(given) - len(fresh):
        notes.append(f"Left out, because the voice was trained on them: {learnt} questions.")
    for kind, name in ((True, "answerable"), (False, "unanswerable")):
        own = sum(question.answerable is kind for question in chosen)
        if (kind or form.refuses) and own < request[name]:
            notes.append(f"Too few {name} questions: {own} of {request[name]} wanted.")
    return notes
