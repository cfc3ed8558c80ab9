"""A job's run folder, frozen before any worker starts: the very rows, and the gate's prompts.

A training's rows are made from its examples by searching the documents; a judging takes the rows
of the training that made the version. It starts no worker and knows no model.
Read `Preparing.training` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from server import data_check
from server.content import FileContent
from server.errors import ApiError, NotFound
from server.fit import Running
from server.gate_prompts import gate_prompts
from server.ledger import Ledger
from server.methods import METHODS
from server.preference_rows import preference_rows
from server.rows import RowMaker
from server.settings import Settings
from server.trainings import Job
from server.voices import FIRST_TASK, Version, Voices
from tuning.errors import ExamplesError
from tuning.examples import assign_splits, data_digest, question_key
from tuning.records import Example, Split
from tuning.run import Run
from tuning.task import choose

GATE_MINUTES = 30.0  # longest writing for the gate, where a job names no other
ROWS_TOLD = 50  # examples between two progress events while rows are made
# Labels and JSON gain in a third pass, which is short; replies do not: see benchmarks/LOG.md.
EPOCHS = {"label": 3, "json": 3}

Tell = Callable[..., None]  # (message, level=..., data=...)


@dataclass(frozen=True, slots=True)
class Preparing:
    """What run folders are made of."""

    voices: Voices
    ledger: Ledger
    content: FileContent
    settings: Settings
    row_maker: Callable[[Job], RowMaker]
    running: Running
    grammar_of: Callable[[Mapping[str, Any]], str | None]  # by the task of a voice

    def training(self, job: Job, run: Run, *, tell: Tell, check: Callable[[], None]) -> None:
        """Freeze a training. `check` is called now and then, and may raise to end it.

        Raises:
            ExamplesError: faulty examples, or too few of them.
        """
        tell("Preparing the rows: searching the documents for every example.")
        examples, gate = self._examples(job)
        splits = self._splits(job, examples, gate)
        task = choose(
            examples,
            kind=job.request.get("task"),
            uses_documents=job.request.get("uses_documents"),
        )
        chosen = {k: v for k, v in job.request["hyperparameters"].items() if v is not None}
        if task.kind in EPOCHS:
            chosen.setdefault("max_epochs", EPOCHS[task.kind])
        tell(f"Task: {task.kind}; {'; '.join(task.reasons)}.", data=task.to_json())

        def watch(done: int, total: int) -> None:
            if done % ROWS_TOLD == 0:
                check()

        def progress(done: int, total: int) -> None:
            watch(done, total)
            if done and done % ROWS_TOLD == 0:
                tell(f"Rows: {done} of {total}.")

        maker = replace(self.row_maker(job), uses_documents=task.uses_documents)
        checked = data_check.check(
            examples,
            splits,
            kind=task.kind,
            library=maker.library,
            stores=maker.stores if task.uses_documents else [],
            drop=job.request.get("drop", []),
            progress=watch,
        )
        for event in checked.events(now=0):
            tell(event.message, level=event.level, data=event.data)
        examples = checked.examples
        if job.kind == "preference":
            rows, kinds = preference_rows(maker, examples, splits, progress=progress)
        else:
            rows, kinds = maker.rows(examples, splits, progress=progress)
        tell(f"Rows by evidence: {dict(kinds)}.", data={"rows": dict(kinds)})
        if kinds["unsupported"]:
            tell(
                f"{kinds['unsupported']} replies state figures that no document holds. They would "
                "teach the voice to invent, so they are left out.",
                level="warn",
            )
        if not {"train", "dev"} <= {row.split for row in rows}:
            raise ExamplesError(
                [(0, "too few examples are left to train on some and hold others out")]
            )
        parent = self._parent(job)
        replay = maker.replay(rows)
        opponent = self.opponent(job)
        against = opponent.digest if opponent else None
        grammar = self.grammar_of(task.to_json())
        rows, prompts = gate_prompts(rows, against=against, kind=task.kind, grammar=grammar)
        config = self._config(job, against=against)
        Run.create(
            run.folder,
            config={
                **config,
                "kind": job.kind,
                "parent_adapter": str(self.running.adapters / parent.digest) if parent else None,
                "replay": replay,
                "data_digest": data_digest(examples),
                "task": task.to_json(),
                "voice_config": {
                    "row_tokens": self.settings.context_tokens,
                    **({"adapter": parent.card.get("adapter", "lora")} if parent else {}),
                    **chosen,
                },
            },
            rows=rows,
            prompts=prompts if config["gate_minutes"] else [],
            data_report=checked.to_json(),
        )

    def judging(self, job: Job, run: Run) -> None:
        """Freeze the judging of a version that is there; the gate's rows are its training's.

        Raises:
            ApiError: the version cannot speak here, or the run folder of its training is gone.
        """
        version = self.voices.version(job.owner, job.request["version"])
        if version is None:
            raise NotFound(f"version of the voice '{job.suffix}'", job.request["version"])
        self.running.check(version)
        trained = Run(self.settings.folder("runs") / (version.job_id or ""))
        rows = trained.rows()
        if not version.job_id or not rows:
            raise ApiError(409, "The rows of its training are gone: train the voice again.")
        opponent = self.opponent(job)
        other = opponent.digest if opponent else None
        task = version.card.get("task") or FIRST_TASK
        rows, prompts = gate_prompts(
            rows, against=other, kind=task["kind"], grammar=self.grammar_of(task)
        )
        Run.create(
            run.folder,
            config={
                **self._config(job, against=other),
                "kind": "judge",
                "task": task,
                "candidate": version.digest,
                "voice_config": {"row_tokens": self.settings.context_tokens},
            },
            rows=rows,
            prompts=prompts,
        )

    def opponent(self, job: Job) -> Version | None:
        """Whom the gate compares with: the active version; the base where none can speak here.

        A version that is judged again is not compared with itself.
        """
        active = self.voices.version(job.owner, job.suffix)
        if active is None or active.id == job.request.get("version"):
            return None
        return None if self.running.misfit(active) else active

    def _config(self, job: Job, *, against: str | None) -> dict[str, Any]:
        """What every worker of the gate needs to know."""
        hyperparameters = job.request["hyperparameters"]
        active = self.voices.version(job.owner, job.suffix)
        return {
            "voice": job.suffix,
            "generator": self.settings.generator,
            "models_dir": str(self.settings.folder("models")),
            "adapters_dir": str(self.running.adapters),
            "device": self.settings.device,
            "threads": self.settings.worker_threads,
            "prompt_digest": self.running.prompt_digest,
            "against": against,
            "misfit": self.running.misfit(active) if active else None,
            "gate_minutes": hyperparameters.get("gate_minutes", GATE_MINUTES),
        }

    def _examples(self, job: Job) -> tuple[list[Example], set[str]]:
        """The examples of the job's files, and the questions of its validation file.

        A question that both files hold is held out. The lines of the validation file are counted
        on from the last line of the training file.
        """
        method = METHODS[job.request.get("method", "supervised")]
        examples = method.read(self._content(job, job.request["training_file"]))
        if not job.request.get("validation_file"):
            return examples, set()
        held_out = method.read(self._content(job, job.request["validation_file"]), least=1)
        gate = {question_key(example) for example in held_out}
        examples = [example for example in examples if question_key(example) not in gate]
        last = max((example.line for example in examples), default=0)
        return examples + [replace(e, line=last + e.line) for e in held_out], gate

    def _content(self, job: Job, file_id: str) -> bytes:
        return self.content.read(self.ledger.file(job.owner, file_id).digest)

    def _parent(self, job: Job) -> Version | None:
        """The version that the training goes on from: a named one; for preferences, the active."""
        named = job.request.get("parent")
        if named is None:
            preferences = job.kind == "preference"
            return self.voices.version(job.owner, job.suffix) if preferences else None
        parent = self.voices.version(job.owner, named)
        if parent is None:
            raise NotFound(f"version of the voice '{job.suffix}'", named)
        return parent

    def _splits(self, job: Job, examples: list[Example], gate: set[str]) -> dict[str, Split]:
        """The split of every example, remembered for ever."""
        known = self.voices.splits(job.owner, job.suffix)
        splits = assign_splits(examples, known=known, gate=gate)
        self.voices.keep_splits(job.owner, job.suffix, splits)
        return splits
