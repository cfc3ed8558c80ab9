"""/v1/evaluations: the same held-out questions through every arm, and what to make of it.

The request is checked here and completed; the work is done in the background by
`server/evaluator.py`. Read `create_evaluation` first.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from litestar import Response, Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Struct

from server.auth import Owner
from server.errors import ApiError, NotFound
from server.evaluations import Evaluation
from server.ids import new_id
from server.picture import draw
from server.questions import ANSWERABLE, UNANSWERABLE
from server.records import Window
from server.services import AppServices, Services
from server.table import write_table
from server.voices import Version

SAME_REQUEST_SECONDS = 60  # the client repeats a POST that seems to have failed
# Name on the wire -> (lowest, highest)
_LIMITS = {
    "answerable": (0, 1000),
    "unanswerable": (0, 1000),
    "max_tokens": (1, 1024),
    "max_minutes": (0.05, 10_000),
    "latency_questions": (0, 100),
}


class EvaluationCreate(Struct, kw_only=True):
    """Whom to evaluate (`voice`, or `model`: a voice, a version or the base) and on what.

    Without `questions_file` (JSONL: `question`, and if known `answerable`, `expected`,
    `document`, `reply`) the voice's own held-out rows are asked.
    """

    voice: str | None = None
    model: str | None = None
    questions_file: str | None = None
    vector_store_id: str | None = None
    answerable: int = ANSWERABLE
    unanswerable: int = UNANSWERABLE
    max_tokens: int = 96
    max_minutes: float = 20
    latency_questions: int = 10


@post("/", status_code=200, sync_to_thread=True)
def create_evaluation(
    services: AppServices, owner: Owner, data: JSONBody[EvaluationCreate]
) -> dict[str, Any]:
    """Queue an evaluation; the same request within a minute gives the same one."""
    request = _request(services, owner, data)
    now = int(time.time())
    evaluation = services.evaluations.add(
        Evaluation(new_id("eval"), owner, "queued", request, created_at=now),
        same_since=now - SAME_REQUEST_SECONDS,
    )
    services.evaluator.wake()
    return evaluation_object(evaluation)


@get("/", sync_to_thread=True)
def list_evaluations(
    services: AppServices,
    owner: Owner,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
    after: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """List the evaluations, the newest first."""
    page = services.evaluations.evaluations(owner, Window(limit=limit, after=after))
    return {
        "object": "list",
        "data": [evaluation_object(item) for item in page.items],
        "has_more": page.has_more,
    }


@get("/{evaluation_id:str}", sync_to_thread=True)
def retrieve_evaluation(
    services: AppServices, owner: Owner, evaluation_id: FromPath[str]
) -> dict[str, Any]:
    """Describe one evaluation; one that succeeded has its verdict in `result`."""
    return evaluation_object(services.evaluations.evaluation(owner, evaluation_id))


@post("/{evaluation_id:str}/cancel", status_code=200, sync_to_thread=True)
def cancel_evaluation(
    services: AppServices, owner: Owner, evaluation_id: FromPath[str]
) -> dict[str, Any]:
    """Cancel an evaluation that has not ended; its worker is stopped at once."""
    evaluation = services.evaluations.evaluation(owner, evaluation_id)
    if not services.evaluations.move(evaluation, "cancelled", now=int(time.time())):
        ended = services.evaluations.evaluation(owner, evaluation_id)
        raise ApiError(
            400, f"The evaluation has ended already: {ended.status}.", code="evaluation_ended"
        )
    services.evaluator.wake()
    return evaluation_object(services.evaluations.evaluation(owner, evaluation_id))


@get("/{evaluation_id:str}/picture", media_type="image/svg+xml", sync_to_thread=True)
def draw_evaluation(
    services: AppServices, owner: Owner, evaluation_id: FromPath[str]
) -> Response[str]:
    """Draw the verdict as an SVG of bars with intervals."""
    result = _result(services, owner, evaluation_id)
    return Response(draw(result), media_type="image/svg+xml")


@get("/{evaluation_id:str}/table", media_type="text/markdown", sync_to_thread=True)
def tabulate_evaluation(
    services: AppServices, owner: Owner, evaluation_id: FromPath[str]
) -> Response[str]:
    """Write the verdict as a Markdown table."""
    result = _result(services, owner, evaluation_id)
    return Response(write_table(result), media_type="text/markdown; charset=utf-8")


def _result(services: Services, owner: str, evaluation_id: str) -> dict[str, Any]:
    evaluation = services.evaluations.evaluation(owner, evaluation_id)
    if evaluation.result is None:
        raise ApiError(
            409, f"There is no verdict: the evaluation is {evaluation.status}.", code="no_verdict"
        )
    return evaluation.result


def _request(services: Services, owner: str, data: EvaluationCreate) -> dict[str, Any]:
    """The request, checked and complete: what the evaluation will be carried out by."""
    for name, (lowest, highest) in _LIMITS.items():
        if not lowest <= getattr(data, name) <= highest:
            raise _refused(name, f"{name} must be within {lowest:g}..{highest:g}.")
    if data.answerable + data.unanswerable == 0:
        raise _refused("answerable", "Nothing is asked: raise answerable or unanswerable.")
    if (data.voice is None) == (data.model is None):
        raise _refused("voice", "Name either a voice or a model.")
    version = _version(services, owner, data)
    store = data.vector_store_id or _own_store(services, owner, version)
    services.store(owner, store)
    request = {
        "voice": version.voice if version else None,
        "model": version.id if version else services.engine.generator.name,
        "adapter": version.digest if version else None,
        "job_id": version.job_id if version else None,
        "task": version.task if version else None,
        "questions_file": data.questions_file,
        "store": store,
        **{name: getattr(data, name) for name in _LIMITS},
    }
    questions, _ = services.evaluator.questions(owner, request)
    wanted = [
        question
        for question in questions
        if (data.answerable if question.answerable else data.unanswerable)
    ]
    if not wanted:
        raise ApiError(
            400,
            "There are no questions to ask: "
            + (
                "the file has none of the kind that is wanted."
                if data.questions_file
                else "there are no held-out rows of a voice. Give questions_file, the id of an "
                "uploaded JSONL file."
            ),
            param="questions_file",
            code="no_questions",
        )
    return request


def _version(services: Services, owner: str, data: EvaluationCreate) -> Version | None:
    """The version that is meant: of a voice the active one, else the newest; None is the base."""
    name = data.voice or data.model or ""
    if data.model and name in (services.engine.generator.name, services.settings.generator):
        return None
    version = services.voices.version(owner, name)
    if version is None and data.voice is not None:
        versions = services.voices.voice(owner, name).versions
        version = versions[-1] if versions else None
    if version is None:
        raise NotFound("voice or model", name, code="model_not_found")
    return version


def _own_store(services: Services, owner: str, version: Version | None) -> str:
    """The store whose passages the voice was trained with, else the default one."""
    if version and version.job_id:
        store = services.trainings.job(owner, version.job_id).request["store"]
        return str(store)
    return services.default_store(owner)


def evaluation_object(evaluation: Evaluation) -> dict[str, Any]:
    hidden = ("adapter", "job_id", "store", "task")
    asked = {name: value for name, value in evaluation.request.items() if name not in hidden}
    progress = {name: value for name, value in evaluation.progress.items() if name != "latency"}
    return {
        "id": evaluation.id,
        "object": "evaluation",
        "created_at": evaluation.created_at,
        "started_at": evaluation.started_at,
        "finished_at": evaluation.finished_at,
        "status": evaluation.status,
        **asked,
        "vector_store_id": evaluation.request["store"],
        "progress": progress,
        "error": evaluation.error,
        "result": evaluation.result,
    }


def _refused(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="invalid_value")


router = Router(
    path="/evaluations",
    route_handlers=[
        create_evaluation,
        list_evaluations,
        retrieve_evaluation,
        cancel_evaluation,
        draw_evaluation,
        tabulate_evaluation,
    ],
    tags=["evaluations"],
)
