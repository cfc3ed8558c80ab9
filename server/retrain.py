"""Train a voice again in one call: on all its data, on request or as the settings say.

The data are the files of its earlier jobs, a file added now, and its approved feedback, merged
into one file. Originals are merged anew each time, never a merged file: what was deleted or
rejected since is not learned again. What comes out is a job like any other, through the gate.

Read `retrain` first.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from retrieval.errors import HousewordRetrievalError
from server.errors import ApiError, NotFound, ServerError
from server.ids import new_id
from server.merge import Line, merge, read_lines
from server.records import UploadedFile
from server.routes.fine_tuning import JobCreate, start_job
from server.services import SECONDS_PER_DAY, Services
from server.trainings import FRUITLESS, WAITING, Job
from server.voices import Voice
from tuning.errors import ExamplesError, TuningError

logger = logging.getLogger(__name__)
Because = Literal["request", "feedback", "schedule"]


@dataclass(frozen=True, slots=True)
class Retraining:
    """What is asked for. `hyperparameters` go over those of the voice's last job."""

    training_file: str | None = None
    feedback: bool = True
    from_active: bool = False
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    because: Because = "request"


def retrain(services: Services, owner: str, name: str, wanted: Retraining) -> Job:
    """Merge the voice's data and queue a job; asking twice for the same gives the same job.

    Raises:
        NotFound: no such voice or added file.
        ApiError: 409 where another training of the voice is waiting, or the active version
            cannot be continued.
        ExamplesError: the data cannot be used; the lines are those of the files that hold them.
    """
    with services.retraining:
        voice = services.voices.voice(owner, name)
        jobs = services.trainings.of_voice(owner, name)
        parent = _parent(services, owner, voice) if wanted.from_active else None
        files, missing = _files(services, owner, jobs)
        last = _last(jobs)
        held_out = last.request.get("validation_file") if last else None
        if held_out and _file(services, owner, held_out) is None:
            missing, held_out = [*missing, held_out], None
        if wanted.training_file is not None:
            added = services.ledger.file(owner, wanted.training_file)
            files = [file for file in files if file.id != added.id] + [added]
        sources = [read_lines(file.filename, services.content.read(file.digest)) for file in files]
        feedback = services.feedback.approved(owner, name) if wanted.feedback else []
        sources.append([Line(one.id, 1, one.example()) for one in feedback])
        lines = merge(sources)
        if not lines:
            raise ApiError(
                400,
                f"The voice '{name}' has no data any more: add a training_file.",
                param="training_file",
                code="no_training_data",
            )
        merged, fresh = keep_jsonl(
            services, owner, [line.value for line in lines], filename=f"{name}-all.jsonl"
        )
        lineage = {
            "parent": voice.active,
            "from": "active" if parent else "scratch",
            "files": [file.id for file in files],
            "missing_files": missing,
            "feedback": [one.id for one in feedback],
            "hyperparameters": wanted.hyperparameters,
            "because": wanted.because,
        }
        more = {"lineage": lineage, **({"parent": parent} if parent else {})}
        try:
            asked = _asked(services, owner, name, wanted, last, files=(merged.id, held_out))
            for job in jobs:
                if job.status not in WAITING:
                    continue
                same = job.request["training_file"] == merged.id
                if same and job.request.get("lineage") == lineage:
                    return job
                raise ApiError(
                    409,
                    f"The voice '{name}' waits for job {job.id} already: let it run, or cancel it.",
                    code="training_waits",
                )
            job = start_job(services, owner, asked, **more)
        except ExamplesError as error:
            _drop(services, merged, fresh)
            raise _where(error, lines) from error
        except BaseException:
            _drop(services, merged, fresh)
            raise
        services.feedback.take(owner, lineage["feedback"], job_id=job.id)  # type: ignore[arg-type]
        return job


def retrain_if_enough(services: Services, owner: str, name: str) -> Job | None:
    """Train again where as many newly approved replies wait as the settings ask for."""
    enough = services.settings.retrain_after_feedback
    if not enough or services.feedback.waiting(owner, name) < enough:
        return None
    return _by_itself(services, owner, name, "feedback")


def retrain_what_is_due(services: Services, *, now: float) -> list[Job]:
    """Train again every voice whose time or whose feedback has come; returns the new jobs."""
    started = []
    days = services.settings.retrain_every_days
    for owner, name in services.voices.everyone():
        job = retrain_if_enough(services, owner, name)
        if job is None and days:
            jobs = services.trainings.of_voice(owner, name)
            if jobs and jobs[-1].created_at <= now - days * SECONDS_PER_DAY:
                job = _by_itself(services, owner, name, "schedule")
        if job is not None:
            started.append(job)
    return started


def keep_jsonl(
    services: Services, owner: str, values: Sequence[Any], *, filename: str
) -> tuple[UploadedFile, bool]:
    """Keep values as a file of purpose fine-tune, and whether it is new: the same is kept once."""
    incoming = services.content.receive()

    def record(digest: str) -> tuple[UploadedFile, bool]:
        known = services.ledger.file_of(owner, digest, purpose="fine-tune")
        if known is not None:
            return known, False
        file = UploadedFile(
            id=new_id("file"),
            owner=owner,
            filename=filename,
            purpose="fine-tune",
            bytes=incoming.bytes,
            digest=digest,
            created_at=int(time.time()),
            expires_at=None,
        )
        return services.ledger.add_file(file), True

    try:
        incoming.write(jsonl(values))
        return services.content.keep(incoming, record)
    finally:
        incoming.discard()


def jsonl(values: Iterable[Any]) -> bytes:
    """One JSON value a line."""
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _by_itself(services: Services, owner: str, name: str, because: Because) -> Job | None:
    """Train again without being asked; what hinders it is logged, as nobody waits for it."""
    if any(not job.ended for job in services.trainings.of_voice(owner, name)):
        return None
    try:
        job = retrain(services, owner, name, Retraining(because=because))
    except (ServerError, TuningError, HousewordRetrievalError, OSError) as error:
        logger.warning("the voice %s is not trained again: %s", name, error)
        return None
    logger.info("the voice %s is trained again (%s): job %s", name, because, job.id)
    return job


def _files(
    services: Services, owner: str, jobs: Sequence[Job]
) -> tuple[list[UploadedFile], list[str]]:
    """The training files of a voice's jobs, oldest first, and the ids of those deleted since."""
    ids: dict[str, None] = {}
    for job in jobs:
        if job.status in FRUITLESS:
            continue
        lineage = job.request.get("lineage")
        originals = lineage["files"] if lineage else [job.request.get("training_file")]
        ids.update(dict.fromkeys(file_id for file_id in originals if file_id))
    files, missing = [], []
    for file_id in ids:
        file = _file(services, owner, file_id)
        if file is not None:
            files.append(file)
        else:
            missing.append(file_id)
    return files, missing


def _file(services: Services, owner: str, file_id: str) -> UploadedFile | None:
    """An uploaded file; None where it was deleted."""
    try:
        return services.ledger.file(owner, file_id)
    except NotFound:
        return None


def _asked(
    services: Services,
    owner: str,
    name: str,
    wanted: Retraining,
    last: Job | None,
    *,
    files: tuple[str, str | None],
) -> JobCreate:
    """The job's request: as the voice's last job was, where nothing else is said.

    `files` are those to train and to judge on, by their ids.

    That the last one was not judged is not carried on: a voice that is trained again would stay
    a candidate each time.
    """
    hyperparameters = dict(last.request["hyperparameters"]) if last else {}
    if not hyperparameters.get("gate_minutes", True):
        del hyperparameters["gate_minutes"]
    adapter = hyperparameters.pop("adapter", None)
    if wanted.from_active:
        for fixed in ("rank", "alpha"):
            hyperparameters.pop(fixed, None)
            if fixed in wanted.hyperparameters:
                raise ApiError(
                    400,
                    f"{fixed} is the active version's: leave it out, or train from scratch.",
                    param=fixed,
                    code="invalid_value",
                )
    metadata = dict(last.request["metadata"]) if last else {}
    try:
        if last:
            services.store(owner, last.request["store"])
            metadata["vector_store_id"] = last.request["store"]
    except NotFound:
        metadata.pop("vector_store_id", None)  # deleted since: the default store serves
    return JobCreate(
        model=services.engine.generator.name,
        training_file=files[0],
        validation_file=files[1],
        suffix=name,
        hyperparameters={**hyperparameters, **wanted.hyperparameters},
        adapter=adapter,
        metadata=metadata,
        task=last.request.get("task") if last else None,
        uses_documents=last.request.get("uses_documents") if last else None,
        drop=last.request.get("drop") if last else None,
    )


def _last(jobs: Sequence[Job]) -> Job | None:
    """The training that the next one is like."""
    return next((job for job in reversed(jobs) if _taught(job)), None)


def _taught(job: Job) -> bool:
    """Whether a job is a supervised training that did not fail: preferences are tuned otherwise."""
    method = job.request.get("method") or "supervised"
    kind = method.get("type") if isinstance(method, dict) else method
    return job.kind == "voice" and kind == "supervised" and job.status not in FRUITLESS


def _parent(services: Services, owner: str, voice: Voice) -> str:
    """The version to go on from, if it fits what runs now; raises a 409 otherwise."""
    version = services.voices.version(owner, voice.name)
    if version is None:
        raise ApiError(
            409,
            f"The voice '{voice.name}' has no active version to continue: train from scratch.",
            param="from",
            code="no_active_version",
        )
    if reason := services.running.misfit(version):
        raise ApiError(409, f"{reason}: train from scratch.", param="from", code="adapter_mismatch")
    return version.id


def _where(error: ExamplesError, lines: Sequence[Line]) -> ExamplesError:
    """The same faults, at the lines of the files that the merged lines came from."""
    problems = []
    for number, why in error.problems:
        if 1 <= number <= len(lines):
            line = lines[number - 1]
            problems.append((line.number, f"{why} ({line.source})"))
        else:
            problems.append((number, why))
    return ExamplesError(problems)


def _drop(services: Services, merged: UploadedFile, fresh: bool) -> None:
    if fresh:
        services.ingest.remove_file(merged.owner, merged.id)
