"""Ask the gate again about a version that is there: one call, a job like a training.

For a voice whose training did not ask the gate, or whose gate ran out of minutes. It knows no
HTTP; `preparing.py` freezes the run and `jobs.py` carries it out.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from server.errors import ApiError, NotFound
from server.ids import new_id
from server.services import Services
from server.trainings import Job

SAME_REQUEST_SECONDS = 60


def rejudge(
    services: Services, owner: str, name: str, version_id: str | None, *, minutes: float | None
) -> Job:
    """Queue the judging of a version, by default the newest one of the voice.

    Raises:
        NotFound: no such voice or version.
        ApiError: the minutes are none.
    """
    voice = services.voices.voice(owner, name)
    version = next(
        (v for v in reversed(voice.versions) if version_id is None or v.id == version_id), None
    )
    if version is None:
        raise NotFound(f"version of the voice '{name}'", version_id or "")
    if minutes is not None and not 0 < minutes <= 10_000:
        raise ApiError(400, "minutes must be above 0.", param="minutes", code="invalid_value")
    trained = services.trainings.job(owner, version.job_id).request if version.job_id else {}
    request: dict[str, Any] = {
        "version": version.id,
        "training_file": trained.get("training_file", ""),
        "lineage": trained.get("lineage"),
        "metadata": {},
        "method": trained.get("method", "supervised"),
        "hyperparameters": {} if minutes is None else {"gate_minutes": minutes},
    }
    now = int(time.time())
    job = Job(
        id=new_id("ftjob"),
        owner=owner,
        kind="judge",
        status="validating_files",
        model=services.engine.generator.name,
        suffix=name,
        request=request,
        request_digest=hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest(),
        created_at=now,
    )
    kept = services.trainings.add(job, same_since=now - SAME_REQUEST_SECONDS)
    services.jobs.wake()
    return kept
