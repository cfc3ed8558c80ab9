"""/v1/voices: the voices with their versions; activating a version is one call."""

from __future__ import annotations

import time
from typing import Any

from litestar import Router, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from server.auth import Owner
from server.services import AppServices
from server.voices import Version, Voice


class Activate(Struct, kw_only=True):
    """Which version shall speak: its `ft:` id."""

    version: str


@get("/", sync_to_thread=True)
def list_voices(services: AppServices, owner: Owner) -> dict[str, Any]:
    """List the voices, the oldest first."""
    data = [voice_object(voice) for voice in services.voices.list(owner)]
    return {"object": "list", "data": data, "has_more": False}


@get("/{name:str}", sync_to_thread=True)
def retrieve_voice(services: AppServices, owner: Owner, name: FromPath[str]) -> dict[str, Any]:
    """Describe one voice and its versions."""
    return voice_object(services.voices.voice(owner, name))


@post("/{name:str}/activate", status_code=200, sync_to_thread=True)
def activate_version(
    services: AppServices, owner: Owner, name: FromPath[str], data: JSONBody[Activate]
) -> dict[str, Any]:
    """Let a version speak for the voice from the next answer on; the one before is kept."""
    return voice_object(
        services.voices.activate(
            owner, name, data.version, now=int(time.time()), reason="activated by hand"
        )
    )


def voice_object(voice: Voice) -> dict[str, Any]:
    return {
        "object": "voice",
        "name": voice.name,
        "active": voice.active,
        "previous": voice.previous,
        "created_at": voice.created_at,
        "updated_at": voice.updated_at,
        "versions": [_version_object(version) for version in voice.versions],
    }


def _version_object(version: Version) -> dict[str, Any]:
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
    }


router = Router(
    path="/voices",
    route_handlers=[list_voices, retrieve_voice, activate_version],
    tags=["voices"],
)
