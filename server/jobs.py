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
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any, cast

from retrieval.database import Database
from server import data_check
from server.arms import house_formulas
from server.ids import new_id
from server.judging import measure
from server.preparing import Preparing
from server.progress import describe
from server.promote import Decision, judge
from server.repair import Policy
from server.search_preparing import SearchPreparing
from server.search_tuning import SearchTuning
from server.settings import Settings
from server.trainings import Event, Job, Trainings
from server.voices import Version, Voices
from server.work_queue import Interrupted, WorkQueue
from server.worker import carry_out
from tuning.run import Run

logger = logging.getLogger(__name__)


class Jobs:
    """The training queue. `wake` it after a job was recorded or cancelled."""

    def __init__(
        self,
        trainings: Trainings,
        voices: Voices,
        preparing: Preparing,
        search_preparing: SearchPreparing,
        search_tuning: SearchTuning,
        *,
        settings: Settings,
        database: Database,
        base: str,
        cores: threading.Lock,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._trainings = trainings
        self._voices = voices
        self._preparing = preparing
        self._search_preparing = search_preparing
        self._search_tuning = search_tuning
        self._settings = settings
        self._database = database
        self._base = base
        self._clock = clock
        self._queue: WorkQueue[Job] = WorkQueue(
            "jobs", next_=trainings.next, carry_out=self._carry_out, fail=self._fail, cores=cores
        )

    def start(self) -> None:
        self._queue.start()

    def stop(self) -> None:
        """End the thread and its worker; the job goes on after the next start."""
        self._queue.stop()

    def wake(self) -> None:
        self._queue.wake()

    # -- the thread

    def _carry_out(self, job: Job) -> None:
        run = Run(self._settings.folder("runs") / job.id)
        trains = job.kind != "activate"
        if trains and not run.exists:
            if not self._prepare(job, run):
                return
        started = job.started_at or int(self._clock())
        if not self._trainings.move(job, "running", now=started, started_at=started):
            return  # cancelled meanwhile
        if trains and run.outcome() is None:
            self._tell(job, _beginning(job, run))
            reason = self._train(job, run)
            if self._queue.stopping or self._ended(job):
                return
            if reason is not None:
                self._fail(job, reason)
                return
        how: dict[str, Any] = {"tell": partial(self._tell, job), "check": partial(self._check, job)}
        match job.kind:
            case "judge":
                self._finish_judging(job, run)
            case "search":
                self._search_tuning.finish(job, run, **how)
            case "activate":
                self._search_tuning.build_and_activate(job, **how)
            case _:
                self._finish(job, run)

    def _prepare(self, job: Job, run: Run) -> bool:
        """Freeze the run folder; false if the job was cancelled meanwhile."""
        how: dict[str, Any] = {"tell": partial(self._tell, job), "check": partial(self._check, job)}
        try:
            if job.kind == "judge":
                self._preparing.judging(job, run)
            elif job.kind == "search":
                self._search_preparing.freeze(job, run, **how)
            else:
                self._preparing.training(job, run, **how)
        except Interrupted:
            return False
        return self._trainings.move(job, "queued", now=int(self._clock()))

    def _train(self, job: Job, run: Run) -> str | None:
        """Run the worker to its end, telling its metrics; returns why it failed, if it did."""
        offset = max((end for end, _ in run.metrics()), default=0)

        def watch() -> bool:
            nonlocal offset
            self._queue.pause()
            offset = self._follow(job, run, offset)
            return not (self._queue.stopping or self._ended(job))

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
        """Let the gate decide on the adapter that was trained, and record it as a version."""
        outcome = run.outcome()
        assert outcome is not None
        digest = outcome["digest"]
        place = self._settings.folder("adapters") / digest
        card = json.loads((place / "card.json").read_text())
        decision = self._judge(job, run, digest, outcome["texts"])
        card |= {"gate": list(decision.table), "formulas": asdict(house_formulas(run.rows()))}
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
            reasons=(),
            created_at=now,
        )
        result = {
            **{k: v for k, v in outcome.items() if not k.startswith("heldout")},
            "tokens_per_second": outcome["tokens"] / max(outcome["seconds"], 1e-9),
            "heldout_loss_before": outcome["heldout_before"],
            "heldout_loss_after": outcome["heldout_after"],
            "task": card.get("task", {}),
            "report": data_check.summary(run.data_report()),
        }
        self._record(job, run, version, decision, result, tokens=outcome["tokens"])
        shutil.rmtree(run.checkpoints, ignore_errors=True)

    def _finish_judging(self, job: Job, run: Run) -> None:
        """Let the gate decide once more on a version that is there."""
        outcome = run.outcome()
        version = self._voices.version(job.owner, job.request["version"])
        assert outcome is not None and version is not None
        decision = self._judge(job, run, version.digest, outcome)
        judged = replace(version, card={**version.card, "gate": list(decision.table)})
        self._record(job, run, judged, decision, {"texts": outcome}, tokens=0)

    def _record(
        self,
        job: Job,
        run: Run,
        version: Version,
        decision: Decision,
        figures: dict[str, Any],
        *,
        tokens: int,
    ) -> None:
        """End a job: its version, whether that serves from now on, and its result, all at once.

        A job that was cancelled meanwhile leaves no version.
        """
        now = int(self._clock())
        against = run.config()["against"]

        def change(connection: Any) -> Decision | None:
            final = decision
            if decision.promoted and (overtaken := self._overtaken(job, version, against)):
                final = replace(decision, promoted=False, reasons=(overtaken, *decision.reasons))
            result = {
                **figures,
                "promoted": final.promoted,
                "reasons": list(final.reasons),
                "gate": list(final.table),
            }
            ended = self._trainings.move_within(
                connection,
                job,
                "succeeded",
                now=now,
                fine_tuned_model=version.id,
                trained_tokens=tokens,
                result=result,
            )
            if not ended:
                return None
            self._voices.add(connection, replace(version, reasons=final.reasons))
            if final.promoted:
                self._voices.activate_within(connection, job.owner, job.suffix, version.id, now=now)
            return final

        if (final := self._database.write(change)) is not None:
            self._tell(job, _told(version.id, final))

    def _overtaken(self, job: Job, version: Version, against: str | None) -> str | None:
        """Why a verdict is out of date, if the version speaks now that it did not compare with."""
        opponent = self._preparing.opponent(job)
        if opponent is None or opponent.digest in (against, version.digest):
            return None
        return (
            f"{opponent.id} was activated meanwhile, and the gate has compared with "
            f"{against or 'the base'}: ask the gate again"
        )

    def _judge(self, job: Job, run: Run, digest: str, written: Mapping[str, Any]) -> Decision:
        """Let the gate decide by what base (or active version) and candidate have written.

        `written` is the worker's account of that. What hampered the gate comes first among the
        reasons, and is warned of.
        """
        config = run.config()
        if not config["gate_minutes"]:
            return Decision(False, ("not judged, as gate_minutes is 0",))
        measured = measure(
            run.rows(),
            run.texts(),
            candidate=digest,
            against=config["against"],
            kind=config["task"]["kind"],
            policy=cast("Policy", self._settings.grounding),
        )
        decision = judge(
            measured,
            against="active" if config["against"] else "base",
            cut_short=written.get("stopped") == "minutes",
        )
        hampered = _hampered(config, written)
        for reason in hampered:
            self._tell(job, f"{reason[0].upper()}{reason[1:]}.", level="warn")
        return replace(decision, reasons=(*hampered, *decision.reasons))

    # -- small parts

    def _check(self, job: Job) -> None:
        """Raise `Interrupted` once the job was cancelled or the server is stopping."""
        if self._queue.stopping or self._ended(job):
            raise Interrupted

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


def _beginning(job: Job, run: Run) -> str:
    if job.kind == "judge" or run.trained():
        return "Writing for the gate."
    resumed = any(run.checkpoints.glob("step-*"))
    return "Training goes on from its checkpoint." if resumed else "Training."


def _hampered(config: Mapping[str, Any], written: Mapping[str, Any]) -> list[str]:
    """What kept the gate from judging as it should have."""
    reasons = []
    if misfit := config.get("misfit"):
        reasons.append(f"{misfit}, so the base was compared with")
    if written.get("stopped") == "minutes":
        reasons.append(
            f"the gate's minutes ran out with {written['written']} of {written['wanted']} texts "
            "written, so allow more gate_minutes or ask it again with more"
        )
    if too_long := written.get("too_long"):
        context = config["voice_config"]["row_tokens"]
        reasons.append(f"{too_long} of the gate's prompts left out, too long for {context} tokens")
    return reasons


def _told(version_id: str, decision: Decision) -> str:
    serves = "serves now" if decision.promoted else "stays a candidate"
    return f"Version {version_id} {serves}: {'; '.join(decision.reasons)}."
