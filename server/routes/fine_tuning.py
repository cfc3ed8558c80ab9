"""/v1/fine_tuning/jobs: teach a voice or tune search; jobs with their events and checkpoints.

A job whose `model` is an embedder tunes the search of its store (`search_request.py`); else:

`method` says how (`methods.py`), `adapter` whether a LoRA adapter or all weights are trained.
`suffix` names the voice. `metadata.vector_store_id` names the store whose documents the rows
are built with, else the default store is used. A `validation_file` is the gate's set, of any
size. Faulty data is refused here, with the numbers of the lines, before a job exists.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from litestar import Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Struct

from server.auth import Owner
from server.errors import ApiError
from server.hyperparameters import refused, within_limits
from server.ids import new_id
from server.methods import METHODS, Method, full_warning, method_object, read_method
from server.records import Window
from server.search_request import is_search, named_embedder, search_request
from server.services import AppServices, Services
from server.trainings import Checkpoint, Event, Job
from server.voices import NAME
from tuning.errors import ExamplesError
from tuning.findings import check_codes
from tuning.records import AdapterKind, Example
from tuning.task import KINDS

SAME_REQUEST_SECONDS = 60  # the client repeats a POST that seems to have failed
# Name on the wire -> (field of VoiceConfig, lowest, highest)
_HYPERPARAMETERS: dict[str, tuple[str, float, float]] = {
    "n_epochs": ("max_epochs", 1, 50),
    "max_epochs": ("max_epochs", 1, 50),
    "max_minutes": ("max_minutes", 0.05, 10_000),
    "learning_rate": ("learning_rate", 1e-7, 1e-1),
    "rank": ("rank", 1, 256),
    "alpha": ("alpha", 1, 1024),
    "batch_tokens": ("batch_tokens", 64, 1_000_000),
    "patience": ("patience", 1, 100),
    "seed": ("seed", 0, 2**31),
    "gate_minutes": ("gate_minutes", 0, 10_000),  # longest writing for the gate; 0: not judged
}


class JobCreate(Struct, kw_only=True):
    """What to train, on what, and under which name."""

    model: str
    training_file: str | None = None  # needed for a voice
    suffix: str | None = None
    hyperparameters: dict[str, Any] | None = None
    method: dict[str, Any] | str | None = None
    adapter: AdapterKind | None = None
    metadata: dict[str, str] | None = None
    seed: int | None = None
    max_minutes: float | None = None
    max_epochs: int | None = None
    validation_file: str | None = None
    task: str | None = None  # ours: reply, text, label or json; recognised where left out
    uses_documents: bool | None = None  # ours, the same
    drop: list[str] | None = None  # ours: findings of the data report whose rows are left out


@post("/", status_code=200, sync_to_thread=True)
def create_job(services: AppServices, owner: Owner, data: JSONBody[JobCreate]) -> dict[str, Any]:
    """Queue a training; the same request within a minute gives the same job."""
    return job_object(start_job(services, owner, data))


def start_job(services: Services, owner: str, data: JobCreate, **more: Any) -> Job:
    """Check a request and queue it; `more` is kept in the job's request beside it."""
    search = is_search(services, data.model)
    request = {**(_search if search else _request)(services, owner, data), **more}
    now = int(time.time())
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    job = Job(
        id=new_id("ftjob"),
        owner=owner,
        kind="search" if search else METHODS[request["method"]].kind,
        status="validating_files",
        model=named_embedder(data.model) if search else services.engine.generator.name,
        suffix=f"search:{request['store']}" if search else request["suffix"],
        request=request,
        request_digest=digest,
        created_at=now,
    )
    kept = services.trainings.add(job, same_since=now - SAME_REQUEST_SECONDS)
    if kept.id == job.id and data.adapter == "full":
        warning = full_warning(services.engine.generator.weights)
        event = Event(new_id("ftevent"), "warn", "message", warning, None, now)
        services.trainings.tell(job, [event])
    services.jobs.wake()
    return kept


@get("/", sync_to_thread=True)
def list_jobs(
    services: AppServices,
    owner: Owner,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
    after: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """List the jobs, the newest first."""
    page = services.trainings.jobs(owner, Window(limit=limit, after=after))
    return _list([job_object(job) for job in page.items], page.has_more)


@get("/{job_id:str}", sync_to_thread=True)
def retrieve_job(services: AppServices, owner: Owner, job_id: FromPath[str]) -> dict[str, Any]:
    """Describe one job; an ended one has its figures in `result`."""
    return job_object(services.trainings.job(owner, job_id))


@post("/{job_id:str}/cancel", status_code=200, sync_to_thread=True)
def cancel_job(services: AppServices, owner: Owner, job_id: FromPath[str]) -> dict[str, Any]:
    """Cancel a job that has not ended; its worker is stopped at once."""
    job = services.trainings.job(owner, job_id)
    if not services.trainings.move(job, "cancelled", now=int(time.time())):
        ended = services.trainings.job(owner, job_id)
        raise ApiError(400, f"The job has ended already: {ended.status}.", code="job_ended")
    services.jobs.wake()
    return job_object(services.trainings.job(owner, job_id))


@get("/{job_id:str}/events", sync_to_thread=True)
def list_events(
    services: AppServices,
    owner: Owner,
    job_id: FromPath[str],
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 20,
    order: FromQuery[Literal["asc", "desc"]] = "desc",
    after: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """List a job's events, the newest first unless asked otherwise."""
    window = Window(limit=limit, order=order, after=after)
    page = services.trainings.events(owner, job_id, window)
    return _list([_event_object(event) for event in page.items], page.has_more)


@get("/{job_id:str}/checkpoints", sync_to_thread=True)
def list_checkpoints(
    services: AppServices,
    owner: Owner,
    job_id: FromPath[str],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
    after: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """List the steps at which a job was measured on held-out rows, the newest first."""
    job = services.trainings.job(owner, job_id)
    page = services.trainings.checkpoints(owner, job_id, Window(limit=limit, after=after))
    items = [_checkpoint_object(job, item) for item in page.items]
    return {
        **_list(items, page.has_more),
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
    }


def _search(services: Services, owner: str, data: JobCreate) -> dict[str, Any]:
    """The same for a job that tunes search."""
    if data.validation_file:
        raise refused("validation_file", "A search job holds questions back itself: leave it out.")
    named = {name: getattr(data, name) for name in ("seed", "max_minutes", "max_epochs")}
    return search_request(
        services,
        owner,
        model=data.model,
        training_file=data.training_file,
        metadata=data.metadata or {},
        method=data.method,
        hyperparameters={**(data.hyperparameters or {}), **named},
    )


def _request(services: Services, owner: str, data: JobCreate) -> dict[str, Any]:
    """The request, checked and complete: what the job will be carried out by."""
    if data.model not in (services.engine.generator.name, services.settings.generator):
        raise ApiError(
            404,
            f"No model '{data.model}' on this machine; this server runs the generator "
            f"'{services.engine.generator.name}' and the embedder '{services.settings.embedder}'.",
            param="model",
            code="model_not_found",
        )
    if data.task is not None and data.task not in KINDS:
        raise refused("task", f"The task must be one of {', '.join(KINDS)}, not {data.task!r}.")
    try:
        check_codes(data.drop or [])
    except ValueError as error:
        raise refused("drop", str(error)) from None
    name = data.suffix or "house"
    if not NAME.fullmatch(name):
        raise refused("suffix", "A voice's name is 1 to 40 of a-z, 0-9 and '-'.")
    if name in services.reserved_names():
        raise refused("suffix", f"'{name}' is the name of a model already.")
    if services.chains.find(owner, name):
        raise refused("suffix", f"'{name}' is the name of a chain already.")
    store = (data.metadata or {}).get("vector_store_id") or services.default_store(owner)
    services.store(owner, store)
    method, asked = read_method(data.method)
    if not data.training_file:
        raise refused("training_file", "A voice is taught by a training_file: name one.")
    _check_examples(services, method.read(_content(services, owner, data.training_file)))
    if data.validation_file:
        held_out = _content(services, owner, data.validation_file)
        _check_examples(services, method.read(held_out, least=1))
    return {
        "training_file": data.training_file,
        "validation_file": data.validation_file,
        "suffix": name,
        "store": store,
        "metadata": data.metadata or {},
        "method": method.type,
        "hyperparameters": _hyperparameters(data, method, asked),
        "task": data.task,
        "uses_documents": data.uses_documents,
        "drop": sorted(set(data.drop or [])),
    }


def _content(services: Services, owner: str, file_id: str) -> bytes:
    return services.content.read(services.ledger.file(owner, file_id).digest)


def _check_examples(services: Services, examples: Sequence[Example]) -> None:
    """Raise ExamplesError where a reply fills the generator's context."""
    context = services.engine.context_tokens
    too_long = [
        (example.line, f"the reply has {tokens} tokens; the context holds {context}")
        for example in examples
        for reply in (example.reply, example.rejected or "")
        if len(reply) > context  # a token has at least one character
        and (tokens := services.engine.count_tokens(reply)) >= context
    ]
    if too_long:
        raise ExamplesError(too_long)


def _hyperparameters(data: JobCreate, method: Method, asked: dict[str, Any]) -> dict[str, Any]:
    """What was asked for as fields of the training's configuration."""
    limits = {**_HYPERPARAMETERS, **method.limits}
    asked = {**(data.hyperparameters or {}), **asked}
    for name in ("seed", "max_minutes", "max_epochs"):
        if getattr(data, name) is not None:
            asked[name] = getattr(data, name)
    given = {
        name: value
        for name, value in asked.items()
        if value != "auto"
        and not (name in ("batch_size", "learning_rate_multiplier") and value is None)
    }
    chosen = within_limits(given, limits)
    if data.adapter == "full" and (lora := chosen.keys() & {"rank", "alpha"}):
        raise refused(min(lora), "A full fine-tune has no rank and no alpha: leave them out.")
    if data.adapter is not None:
        chosen["adapter"] = data.adapter
    return chosen


def job_object(job: Job) -> dict[str, Any]:
    hyperparameters = {"n_epochs": job.request["hyperparameters"].get("max_epochs", "auto")}
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "status": job.status,
        "model": job.model,
        "suffix": job.suffix,
        "training_file": job.request["training_file"] or "",
        "validation_file": job.request.get("validation_file"),
        "fine_tuned_model": job.fine_tuned_model,
        "trained_tokens": job.trained_tokens,
        "error": job.error,
        "organization_id": job.owner,
        "result_files": [],
        "seed": job.request["hyperparameters"].get("seed", 0),
        "hyperparameters": hyperparameters,
        "method": method_object(job.request),
        "adapter": job.request["hyperparameters"].get("adapter", "auto"),
        "metadata": job.request["metadata"],
        "estimated_finish": None,
        "integrations": [],
        "result": job.result,
        "lineage": job.request.get("lineage"),
        "kind": job.kind,
    }


def _event_object(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "object": "fine_tuning.job.event",
        "created_at": event.created_at,
        "level": event.level,
        "type": event.type,
        "message": event.message,
        "data": event.data,
    }


def _checkpoint_object(job: Job, checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "id": checkpoint.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": checkpoint.created_at,
        "fine_tuning_job_id": job.id,
        # Only the best one is kept as a model; until the job ends it has no name.
        "fine_tuned_model_checkpoint": job.fine_tuned_model or "",
        "step_number": checkpoint.step,
        "metrics": {**checkpoint.metrics, "step": checkpoint.step},
    }


def _list(items: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    return {"object": "list", "data": items, "has_more": has_more}


router = Router(
    path="/fine_tuning/jobs",
    route_handlers=[
        create_job,
        list_jobs,
        retrieve_job,
        cancel_job,
        list_events,
        list_checkpoints,
    ],
    tags=["fine-tuning"],
)
