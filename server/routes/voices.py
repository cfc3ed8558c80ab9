"""/v1/voices: the voices with their versions, their lineage and who spoke when.

Activating a version, rolling back, comparing two and training again are one call each.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Literal

from litestar import Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct, field

from server.auth import Owner
from server.compare import caveats, gate_figures, side_by_side
from server.errors import ApiError, NotFound
from server.rejudge import rejudge
from server.retrain import Retraining, retrain
from server.routes.fine_tuning import job_object
from server.services import AppServices, Services
from server.voices import Version, Voice


class Activate(Struct, kw_only=True):
    """Which version shall speak: its `ft:` id."""

    version: str


class Retrain(Struct, kw_only=True):
    """On what a voice is trained again. `from: active` goes on from the active version."""

    training_file: str | None = None
    feedback: bool = True
    start: Literal["scratch", "active"] = field(default="scratch", name="from")
    hyperparameters: dict[str, Any] | None = None


class Judge(Struct, kw_only=True):
    """Which version the gate shall judge, by default the newest, and how long it may write."""

    version: str | None = None
    minutes: float | None = None


@get("/", sync_to_thread=True)
def list_voices(services: AppServices, owner: Owner) -> dict[str, Any]:
    """List the voices, the oldest first."""
    data = [voice_object(services, owner, voice) for voice in services.voices.list(owner)]
    return {"object": "list", "data": data, "has_more": False}


@get("/{name:str}", sync_to_thread=True)
def retrieve_voice(services: AppServices, owner: Owner, name: FromPath[str]) -> dict[str, Any]:
    """Describe one voice and its versions."""
    return voice_object(services, owner, services.voices.voice(owner, name))


@post("/{name:str}/activate", status_code=200, sync_to_thread=True)
def activate_version(
    services: AppServices, owner: Owner, name: FromPath[str], data: JSONBody[Activate]
) -> dict[str, Any]:
    """Let a version speak for the voice from the next answer on; the one before is kept.

    A candidate can be activated, too; that it was forced past its gate is recorded. 409 where it
    was trained for another base or prompt format, or its files are gone.
    """
    services.running.check(_version(services.voices.voice(owner, name), data.version))
    voice = services.voices.activate(
        owner, name, data.version, now=int(time.time()), reason="activated by hand"
    )
    return voice_object(services, owner, voice)


@post("/{name:str}/rollback", status_code=200, sync_to_thread=True)
def roll_back(services: AppServices, owner: Owner, name: FromPath[str]) -> dict[str, Any]:
    """Bring back the version that spoke before; again goes back further.

    409 if there is none, or if it cannot speak here any more.
    """
    voice = services.voices.voice(owner, name)
    if voice.previous is not None:
        services.running.check(_version(voice, voice.previous))
    voice = services.voices.rollback(owner, name, now=int(time.time()))
    return voice_object(services, owner, voice)


@get("/{name:str}/compare", sync_to_thread=True)
def compare_versions(
    services: AppServices,
    owner: Owner,
    name: FromPath[str],
    a: FromQuery[str | None] = None,
    b: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """Two versions side by side; without names, the one that spoke before and the active one."""
    voice = services.voices.voice(owner, name)
    first, second = _named(voice, "a", a or voice.previous), _named(voice, "b", b or voice.active)
    figures = [_figures(services, owner, version) for version in (first, second)]
    return {
        "object": "voice.comparison",
        "voice": name,
        "a": _version_object(services, owner, first),
        "b": _version_object(services, owner, second),
        "metrics": side_by_side(*figures),
        "caveats": caveats(first.card, second.card),
    }


@post("/{name:str}/retrain", status_code=200, sync_to_thread=True)
def retrain_voice(
    services: AppServices, owner: Owner, name: FromPath[str], data: JSONBody[Retrain]
) -> dict[str, Any]:
    """Train a voice again on all its data, through the gate; returns the fine-tuning job."""
    wanted = Retraining(
        training_file=data.training_file,
        feedback=data.feedback,
        from_active=data.start == "active",
        hyperparameters=data.hyperparameters or {},
    )
    return job_object(retrain(services, owner, name, wanted))


@post("/{name:str}/judge", status_code=200, sync_to_thread=True)
def judge_version(
    services: AppServices, owner: Owner, name: FromPath[str], data: JSONBody[Judge]
) -> dict[str, Any]:
    """Ask the gate again about a version; returns the job, whose result has its decision."""
    return job_object(rejudge(services, owner, name, data.version, minutes=data.minutes))


def voice_object(services: Services, owner: str, voice: Voice) -> dict[str, Any]:
    return {
        "object": "voice",
        "name": voice.name,
        "active": voice.active,
        "previous": voice.previous,
        "created_at": voice.created_at,
        "updated_at": voice.updated_at,
        "versions": [_version_object(services, owner, version) for version in voice.versions],
        "activations": [asdict(activation) for activation in voice.activations],
    }


def _version_object(services: Services, owner: str, version: Version) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if version.job_id:
        request = services.trainings.job(owner, version.job_id).request
        asked = request.get("lineage") or {
            "files": [request.get("training_file")],
            **_went_on_from(version),
        }
    return {
        "id": version.id,
        "digest": version.digest,
        "state": version.state,
        "created_at": version.created_at,
        "job_id": version.job_id,
        "base": version.base,
        "task": version.task,
        "metrics": version.card["metrics"],
        "reasons": list(version.reasons),
        "gate": version.card.get("gate", []),
        "lineage": {
            "data_digest": version.card["data_digest"],
            "prompt_digest": version.card["prompt_digest"],
            "base_fingerprint": version.card["base_fingerprint"],
            "parent": asked.get("parent"),
            "from": asked.get("from", "scratch"),
            "files": asked.get("files", []),
            "missing_files": asked.get("missing_files", []),
            "feedback": asked.get("feedback", []),
            "because": asked.get("because", "request"),
        },
    }


def _went_on_from(version: Version) -> dict[str, str]:
    """The version that a training of preferences went on from; nothing where it was the base."""
    if not (parent := version.card.get("parent")):
        return {}
    return {"parent": f"{version.id.rpartition(':')[0]}:{parent}", "from": "active"}


def _named(voice: Voice, param: str, version_id: str | None) -> Version:
    if version_id is None:
        raise ApiError(400, f"Name a version as {param}: ?{param}=ft:...", param=param)
    return _version(voice, version_id)


def _version(voice: Voice, version_id: str) -> Version:
    for version in voice.versions:
        if version.id == version_id:
            return version
    raise NotFound(f"version of the voice '{voice.name}'", version_id)


def _figures(services: Services, owner: str, version: Version) -> dict[str, Any]:
    """Everything measured of a version: in its training, by its job, and by the gate."""
    result = services.trainings.job(owner, version.job_id).result if version.job_id else None
    return {**(result or {}), **version.card["metrics"], "gate": gate_figures(version.card)}


router = Router(
    path="/voices",
    route_handlers=[
        list_voices,
        retrieve_voice,
        activate_version,
        roll_back,
        compare_versions,
        retrain_voice,
        judge_version,
    ],
    tags=["voices"],
)
