"""/v1/data/check: what is wrong with training data, before a voice is taught with it."""

from __future__ import annotations

from typing import Any

from litestar import Router, post
from litestar.params import JSONBody
from msgspec import Struct

from server.auth import Owner
from server.data_check import examine
from server.errors import ApiError
from server.services import AppServices
from tuning.errors import ExamplesError
from tuning.examples import assign_splits
from tuning.report import read, refusal
from tuning.task import KINDS, choose


class Check(Struct, kw_only=True):
    """Which uploaded file to check, and against the documents of which store."""

    file_id: str
    vector_store_id: str | None = None
    documents: bool = True
    task: str | None = None


@post("/check", status_code=200, sync_to_thread=True)
def check_data(services: AppServices, owner: Owner, data: JSONBody[Check]) -> dict[str, Any]:
    """Report on a file of examples or preferences; faulty lines are findings, too."""
    if data.task is not None and data.task not in KINDS:
        raise ApiError(
            400,
            f"The task must be one of {', '.join(KINDS)}, not {data.task!r}.",
            param="task",
            code="invalid_value",
        )
    store = data.vector_store_id or services.default_store(owner)
    documents = services.store(owner, store).documents
    file = services.ledger.file(owner, data.file_id)
    try:
        examples = read(services.content.read(file.digest))
    except ExamplesError as error:
        return {"object": "data.report", **refusal(error).to_json()}
    task = choose(examples, kind=data.task)
    report = examine(
        examples,
        assign_splits(examples),
        kind=task.kind,
        library=services.library,
        stores=[store] if documents and data.documents and task.uses_documents else [],
    )
    return {"object": "data.report", **report.to_json()}


router = Router(path="/data", route_handlers=[check_data], tags=["data"])
