"""/v1/vector_stores/{id}/search_models: the versions of a store's search, and which one serves.

The base, the server's own embedder, is always there under the name `base`. A version is made by a
fine-tuning job whose `model` is an embedder.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from typing import Any

from litestar import Router, get, post
from litestar.params import FromPath

from retrieval.errors import NotBuilt
from retrieval.versions import BASE, Version
from server.auth import Owner
from server.errors import NotFound
from server.ids import new_id
from server.routes.fine_tuning import SAME_REQUEST_SECONDS, job_object
from server.services import AppServices, Services
from server.trainings import Job


@get("/", sync_to_thread=True)
def list_search_models(
    services: AppServices, owner: Owner, store_id: FromPath[str]
) -> dict[str, Any]:
    """List the versions of a store's search with what the gate said of them, the base first."""
    return _listing(services, owner, _own(services, owner, store_id))


@post("/{version_id:str}/activate", status_code=200, sync_to_thread=True)
def activate_search_model(
    services: AppServices, owner: Owner, store_id: FromPath[str], version_id: FromPath[str]
) -> dict[str, Any]:
    """Let a version serve from the next search on; that a candidate was forced is recorded.

    Where passages are not embedded by it yet, a job does that first, and `job` names it.
    """
    store_id, version_id = _own(services, owner, store_id), version_id.rpartition(":")[2]
    models = services.library.search_models
    if version_id not in {BASE, *(version.id for version in models.versions(store_id))}:
        raise NotFound("search model", version_id)
    job = None
    try:
        models.activate(store_id, version_id, how="hand")
    except NotBuilt:
        job = _build(services, owner, store_id, version_id)
    return {**_listing(services, owner, store_id), "job": job_object(job) if job else None}


@post("/rollback", status_code=200, sync_to_thread=True)
def roll_back_search_model(
    services: AppServices, owner: Owner, store_id: FromPath[str]
) -> dict[str, Any]:
    """Bring back what served before; again goes back further. 409 if nothing did."""
    store_id = _own(services, owner, store_id)
    services.library.search_models.rollback(store_id)
    return _listing(services, owner, store_id)


def _own(services: Services, owner: str, store_id: str) -> str:
    if store_id == "default":
        store_id = services.default_store(owner)
    return services.store(owner, store_id).id


def _listing(services: Services, owner: str, store_id: str) -> dict[str, Any]:
    models = services.library.search_models
    active = models.active(store_id)
    base: dict[str, Any] = {
        "id": BASE,
        "object": "vector_store.search_model",
        "state": "active" if active is None else "retired",
        "method": None,
        "embedder": None,
        "adapter": None,
        "job_id": None,
        "created_at": None,
        "reasons": [],
        "gate": [],
        "metrics": {},
    }
    return {
        "object": "list",
        "data": [base, *(_object(version) for version in models.versions(store_id))],
        "has_more": False,
        "vector_store_id": store_id,
        "active": active.id if active else BASE,
        "previous": models.previous(store_id),
        "serves": models.model(store_id).name,
        "activations": [asdict(activation) for activation in models.activations(store_id)],
    }


def _object(version: Version) -> dict[str, Any]:
    card = version.card
    return {
        "id": version.id,
        "object": "vector_store.search_model",
        "state": version.state,
        "method": card.get("metrics", {}).get("method"),
        "embedder": version.embedder,
        "adapter": version.adapter,
        "job_id": card.get("job_id"),
        "created_at": version.created_at,
        "reasons": card.get("reasons", []),
        "gate": card.get("gate", []),
        "metrics": card.get("metrics", {}),
    }


def _build(services: Services, owner: str, store_id: str, version_id: str) -> Job:
    request = {
        "training_file": None,
        "store": store_id,
        "version": version_id,
        "metadata": {"vector_store_id": store_id},
        "method": "activate",
        "hyperparameters": {},
    }
    now = int(time.time())
    job = Job(
        id=new_id("ftjob"),
        owner=owner,
        kind="activate",
        status="queued",
        model=services.settings.embedder,
        suffix=f"search:{store_id}",
        request=request,
        request_digest=hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest(),
        created_at=now,
    )
    job = services.trainings.add(job, same_since=now - SAME_REQUEST_SECONDS)
    services.jobs.wake()
    return job


router = Router(
    path="/vector_stores/{store_id:str}/search_models",
    route_handlers=[list_search_models, activate_search_model, roll_back_search_model],
    tags=["vector stores"],
)
