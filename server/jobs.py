"""Training jobs: one thread takes them in order, one worker subprocess carries out each.

    validating_files -> queued -> running -> succeeded | failed | cancelled

The worker and the server talk through the run folder alone. Kill the worker and the job fails
with a reason; kill the server and the worker ends with it, and the job goes on from its last
checkpoint after the restart. It knows no HTTP. Read `Jobs._carry_out` first.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from retrieval.errors import HousewordRetrievalError
from server import data_check
from server.content import FileContent
from server.errors import ServerError
from server.ids import new_id
from server.judging import gate_prompts, measure
from server.ledger import Ledger
from server.progress import describe
from server.promote import Decision, judge
from server.rows import RowMaker
from server.settings import Settings
from server.trainings import Event, Job, Trainings
from server.voices import Version, Voices
from server.worker import carry_out
from tuning.errors import ExamplesError, TuningError
from tuning.examples import assign_splits, data_digest, read_examples
from tuning.records import Example, Split
from tuning.run import Run
from tuning.task import choose

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.3
RETRY_SECONDS = 10.0
GATE_MINUTES = 30.0  # longest writing for the gate, where a job names no other
ROWS_TOLD = 50  # examples between two progress events while rows are made


class Jobs:
    """The training queue. `wake` it after a job was recorded or cancelled."""

    def __init__(
        self,
        trainings: Trainings,
        voices: Voices,
        ledger: Ledger,
        content: FileContent,
        *,
        settings: Settings,
        row_maker: Callable[[Job], RowMaker],
        base: str,
        prompt_digest: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._trainings = trainings
        self._voices = voices
        self._ledger = ledger
        self._content = content
        self._settings = settings
        self._row_maker = row_maker
        self._base = base
        self._prompt_digest = prompt_digest
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and its worker; the job goes on after the next start."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=30)

    def wake(self) -> None:
        self._wake.set()

    # -- the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            job = self._trainings.next()
            if job is None:
                self._wake.wait(timeout=60)
                self._wake.clear()
                continue
            try:
                self._attempt(job)
            except Exception:  # not even the failure could be recorded: a full disk, say
                logger.exception("job %s waits: its state cannot be written", job.id)
                self._stopping.wait(RETRY_SECONDS)

    def _attempt(self, job: Job) -> None:
        try:
            self._carry_out(job)
        except (TuningError, HousewordRetrievalError, ServerError, OSError) as error:
            self._fail(job, str(error))
        except Exception:
            logger.exception("job %s failed", job.id)
            self._fail(job, "an error inside the server: its log tells more")

    def _carry_out(self, job: Job) -> None:
        run = Run(self._settings.folder("runs") / job.id)
        if not run.exists:
            self._tell(job, "Preparing the rows: searching the documents for every example.")
            if not self._prepare(job, run):
                return
        started = job.started_at or int(self._clock())
        if not self._trainings.move(job, "running", now=started, started_at=started):
            return  # cancelled meanwhile
        if run.outcome() is None:
            resumed = any(run.checkpoints.glob("step-*"))
            self._tell(job, "Training goes on from its checkpoint." if resumed else "Training.")
            reason = self._train(job, run)
            if self._stopping.is_set() or self._ended(job):
                return
            if reason is not None:
                self._fail(job, reason)
                return
        self._finish(job, run)

    def _prepare(self, job: Job, run: Run) -> bool:
        """Freeze the rows into the run folder; false if the job was cancelled meanwhile."""
        examples = self._examples(job)
        splits = self._splits(job, examples)
        task = choose(
            examples,
            kind=job.request.get("task"),
            uses_documents=job.request.get("uses_documents"),
        )
        self._tell(job, f"Task: {task.kind}; {'; '.join(task.reasons)}.", data=task.to_json())

        def watch(done: int, total: int) -> None:
            if self._stopping.is_set() or (done % ROWS_TOLD == 0 and self._ended(job)):
                raise _Interrupted

        def progress(done: int, total: int) -> None:
            watch(done, total)
            if done and done % ROWS_TOLD == 0:
                self._tell(job, f"Rows: {done} of {total}.")

        maker = replace(self._row_maker(job), uses_documents=task.uses_documents)
        try:
            checked = data_check.check(
                examples,
                splits,
                kind=task.kind,
                library=maker.library,
                stores=maker.stores if task.uses_documents else [],
                drop=job.request.get("drop", []),
                progress=watch,
            )
            self._trainings.tell(job, checked.events(now=int(self._clock())))
            examples = checked.examples
            rows, kinds = maker.rows(examples, splits, progress=progress)
        except _Interrupted:
            return False
        self._tell(job, f"Rows by evidence: {dict(kinds)}.", data={"rows": dict(kinds)})
        if kinds["unsupported"]:
            self._tell(
                job,
                f"{kinds['unsupported']} replies state figures that no document holds. They would "
                "teach the voice to invent, so they are left out.",
                level="warn",
            )
        if not {"train", "dev"} <= {row.split for row in rows}:
            raise ExamplesError(
                [(0, "too few examples are left to train on some and hold others out")]
            )
        active = self._voices.version(job.owner, job.suffix)
        against = active.digest if active else None
        gate_minutes = job.request["hyperparameters"].get("gate_minutes", GATE_MINUTES)
        replay = maker.replay(rows)
        rows, prompts = gate_prompts(rows, against=against)
        Run.create(
            run.folder,
            config={
                "kind": "voice",
                "voice": job.suffix,
                "generator": self._settings.generator,
                "models_dir": str(self._settings.folder("models")),
                "device": self._settings.device,
                "threads": self._settings.worker_threads,
                "adapters_dir": str(self._settings.folder("adapters").resolve()),
                "prompt_digest": self._prompt_digest,
                "against": against,
                "gate_minutes": gate_minutes,
                "replay": replay,
                "data_digest": data_digest(examples),
                "task": task.to_json(),
                "voice_config": {
                    "row_tokens": self._settings.context_tokens,
                    **job.request["hyperparameters"],
                },
            },
            rows=rows,
            prompts=prompts if gate_minutes else [],
            data_report=checked.to_json(),
        )
        return self._trainings.move(job, "queued", now=int(self._clock()))

    def _examples(self, job: Job) -> list[Example]:
        file = self._ledger.file(job.owner, job.request["training_file"])
        return read_examples(self._content.read(file.digest))

    def _splits(self, job: Job, examples: list[Example]) -> dict[str, Split]:
        """The split of every example, remembered for ever."""
        known = self._voices.splits(job.owner, job.suffix)
        splits = assign_splits(examples, known=known)
        self._voices.keep_splits(job.owner, job.suffix, splits)
        return splits

    def _train(self, job: Job, run: Run) -> str | None:
        """Run the worker to its end, telling its metrics; returns why it failed, if it did."""
        offset = max((end for end, _ in run.metrics()), default=0)

        def watch() -> bool:
            nonlocal offset
            self._wake.wait(timeout=POLL_SECONDS)
            self._wake.clear()
            offset = self._follow(job, run, offset)
            return not (self._stopping.is_set() or self._ended(job))

        return carry_out(run, watch=watch)

    def _follow(self, job: Job, run: Run, offset: int) -> int:
        events = []
        for end, metrics in run.metrics(start=offset):
            offset = end
            event = describe(metrics, now=int(self._clock()))
            if event is not None:
                events.append(event)
        self._trainings.tell(job, events)
        return offset

    def _finish(self, job: Job, run: Run) -> None:
        """Move the adapter to its place, record the version, and let the gate decide."""
        outcome = run.outcome()
        assert outcome is not None
        digest = outcome["digest"]
        place = self._settings.folder("adapters") / digest
        card = json.loads((place / "card.json").read_text())
        decision = self._judge(run, digest)
        card["gate"] = list(decision.table)
        now = int(self._clock())
        version = Version(
            id=f"ft:{self._base}:{job.suffix}:{digest}",
            owner=job.owner,
            voice=job.suffix,
            digest=digest,
            job_id=job.id,
            base=self._base,
            card=card,
            state="candidate",
            reasons=decision.reasons,
            created_at=now,
        )
        result = {
            **{k: v for k, v in outcome.items() if not k.startswith("heldout")},
            "tokens_per_second": outcome["tokens"] / max(outcome["seconds"], 1e-9),
            "heldout_loss_before": outcome["heldout_before"],
            "heldout_loss_after": outcome["heldout_after"],
            "task": card.get("task", {}),
            "promoted": decision.promoted,
            "reasons": list(decision.reasons),
            "gate": list(decision.table),
            "report": data_check.summary(run.data_report()),
        }

        def change(connection: Any) -> None:
            self._voices.add(connection, version)
            if decision.promoted:
                self._voices.activate_within(connection, job.owner, job.suffix, version.id, now=now)
            self._trainings.move_within(
                connection,
                job,
                "succeeded",
                now=now,
                fine_tuned_model=version.id,
                trained_tokens=outcome["tokens"],
                result=result,
            )

        self._ledger.database.write(change)
        serves = "serves now" if decision.promoted else "stays a candidate"
        self._tell(job, f"Version {version.id} {serves}: {'; '.join(decision.reasons)}.")
        shutil.rmtree(run.checkpoints, ignore_errors=True)

    def _judge(self, run: Run, digest: str) -> Decision:
        """Let the gate decide by what base (or active version) and candidate have written."""
        config = run.config()
        if not config["gate_minutes"]:
            return Decision(False, ("not judged, as gate_minutes is 0",))
        measured = measure(run.rows(), run.texts(), candidate=digest, against=config["against"])
        return judge(measured, against="active" if config["against"] else "base")

    # -- small parts

    def _ended(self, job: Job) -> bool:
        return self._trainings.job(job.owner, job.id).ended

    def _fail(self, job: Job, reason: str) -> None:
        error = {"code": "training_failed", "message": reason, "param": None}
        if self._trainings.move(job, "failed", now=int(self._clock()), error=error):
            self._tell(job, f"The job failed: {reason}", level="error")

    def _tell(
        self, job: Job, message: str, *, level: str = "info", data: dict[str, Any] | None = None
    ) -> None:
        event = Event(new_id("ftevent"), level, "message", message, data, int(self._clock()))
        self._trainings.tell(job, [event])


class _Interrupted(Exception):
    """The job was cancelled or the server is stopping."""
