"""The end of a search training: build beside the live search, judge, and flip or stay.

Everything is taken up again where it was after a crash: vectors that are embedded stay, and what
serves changes in the transaction that ends the job. It knows no HTTP and starts no worker. Read
`SearchTuning.finish` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from retrieval.database import Connection, Database
from retrieval.errors import HousewordRetrievalError
from retrieval.library import Library
from retrieval.versions import Version
from server.promote import Decision
from server.search_elsewhere import measure_elsewhere
from server.search_gate import decide, measure
from server.search_preparing import gate_questions
from server.trainings import Job, Trainings
from server.work_queue import Interrupted
from tuning.run import Run

PASSAGES_TOLD = 512  # between two progress events

Tell = Callable[..., None]
Check = Callable[[], None]


@dataclass(frozen=True, slots=True)
class SearchTuning:
    """What ends search trainings, and what builds versions that were chosen by hand."""

    library: Library
    trainings: Trainings
    database: Database
    clock: Callable[[], float] = time.time

    def finish(self, job: Job, run: Run, *, tell: Tell, check: Check) -> None:
        """Build, judge and record what a worker has trained. `check` may raise to end it.

        Raises:
            NotFound: the store is gone.
        """
        outcome, config = run.outcome(), run.config()
        assert outcome is not None
        store_id, digest = config["store"], outcome["digest"]
        result = {**outcome, "split": config["split"], "questions": config["questions"]}
        self._calibrate(store_id, run, None, tell=tell, check=check)
        if digest is None:
            why = "nothing was better than what serves on the questions to select by"
            self._end(job, None, Decision(False, (why,)), result, tell=tell)
            return
        full = outcome["method"] == "full"
        version = Version(
            id=digest,
            store_id=store_id,
            embedder=digest if full else config["space"]["embedder"],
            fingerprint="" if full else config["space"]["fingerprint"],
            adapter=None if full else digest,
            card={"job_id": job.id, "metrics": outcome, "why": config["why"]},
            state="building",
            created_at=0,
        )
        models = self.library.search_models
        active = models.active(store_id)
        if active is not None and active.id == digest:
            why = "it is the very version that serves already"
            self._end(job, digest, Decision(False, (why,)), result, tell=tell)
            return
        models.add(version)
        try:
            self._build(store_id, digest, tell=tell, check=check)
            decision = self._judge(job, digest, run, tell=tell, check=check)
            self._end(job, digest, decision, result, tell=tell, card=version.card)
        except Exception as error:
            stopping = isinstance(error, Interrupted) and not self._ended(job)
            if not stopping:  # what ended for ever gets no new documents
                with suppress(HousewordRetrievalError):
                    why = "its job was cancelled" if self._ended(job) else str(error)
                    models.judged(store_id, digest, {**version.card, "reasons": [why]})
            raise

    def build_and_activate(self, job: Job, *, tell: Tell, check: Check) -> None:
        """Embed what a version chosen by hand still lacks, then let it serve."""
        store_id, chosen = job.request["store"], job.request["version"]
        self._build(store_id, chosen, tell=tell, check=check)
        reasons = [f"search model {chosen} serves now, activated by hand"]
        self.library.search_models.activate(
            store_id,
            chosen,
            how="hand",
            also=lambda connection: self._succeed(
                connection, job, chosen, {"promoted": True, "reasons": reasons, "gate": []}
            ),
        )
        tell(f"Search model {chosen} serves now: activated by hand.")

    def _build(self, store_id: str, version_id: str, *, tell: Tell, check: Check) -> None:
        told = 0

        def progress(done: int, total: int) -> None:
            nonlocal told
            if done >= told + PASSAGES_TOLD or (done == total and total):
                told = done
                tell(
                    f"Embedded for the new model: {done} of {total} passages.",
                    data={"embedded": done, "of": total},
                )

        self.library.search_models.build(store_id, version_id, progress=progress, check=check)

    def _judge(self, job: Job, digest: str, run: Run, *, tell: Tell, check: Check) -> Decision:
        store_id = job.request["store"]
        questions = gate_questions(run)
        self._calibrate(store_id, run, digest, tell=tell, check=check)
        tell(f"Judging on {len(questions)} held-out questions.")
        measured = measure(self.library, store_id, questions, candidate=digest, check=check)
        models = self.library.search_models
        others = self.trainings.of_search(job.owner)
        elsewhere = measure_elsewhere(
            self.library,
            [other for other in others if other.request["store"] != store_id],
            run.folder.parent,
            candidate=models.model(store_id, digest),
            serving=models.model(store_id),
            check=check,
        )
        return decide(replace(measured, elsewhere=elsewhere))

    def _calibrate(
        self, store_id: str, run: Run, version_id: str | None, *, tell: Tell, check: Check
    ) -> None:
        """Let the questions to select by choose how much words count: alike on both sides."""

        def stopped() -> bool:
            check()
            return False

        chosen = [(query, document) for query, document in run.config().get("calibrate", ())]
        fitted = self.library.calibrations.fit(
            store_id, questions=chosen or None, version=version_id, stopped=stopped
        )
        tell(
            f"Words count for {fitted.lexical_weight:g} of a score under "
            f"{version_id or 'what serves'}, fitted on {fitted.method}."
        )

    def _end(
        self,
        job: Job,
        digest: str | None,
        decision: Decision,
        figures: dict[str, Any],
        *,
        tell: Tell,
        card: dict[str, Any] | None = None,
    ) -> None:
        """End the job: its version, whether that serves, and its result, all at once."""
        store_id = job.request["store"]
        verdict = {
            "promoted": decision.promoted,
            "reasons": list(decision.reasons),
            "gate": list(decision.table),
        }
        models = self.library.search_models

        def also(connection: Connection) -> None:
            self._succeed(connection, job, digest, {**figures, **verdict})

        judged = {**(card or {}), **verdict, "passed": decision.promoted}
        if digest is None or card is None:
            self.database.write(also)
        elif decision.promoted:
            models.activate(store_id, digest, how="gate", card=judged, also=also)
        else:
            models.judged(store_id, digest, judged, also=also)
        said = "; ".join(decision.reasons)
        if card is None:
            tell(f"Search stays as it is: {said}.")
        else:
            serves = "serves now" if decision.promoted else "stays a candidate"
            tell(f"Search model {digest} {serves}: {said}.")

    def _succeed(
        self, connection: Connection, job: Job, digest: str | None, result: dict[str, Any]
    ) -> None:
        moved = self.trainings.move_within(
            connection,
            job,
            "succeeded",
            now=int(self.clock()),
            fine_tuned_model=f"ft:{job.model}:search:{digest}" if digest else None,
            result=result,
        )
        if not moved:
            raise Interrupted  # cancelled at the last moment: nothing changes

    def _ended(self, job: Job) -> bool:
        return self.trainings.job(job.owner, job.id).ended
