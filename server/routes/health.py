"""/healthz: whether the server is up; the only route that never needs a key."""

from __future__ import annotations

from typing import Any

from litestar import get

from server.auth import PUBLIC
from server.services import AppServices


@get("/healthz", opt=PUBLIC, sync_to_thread=True, tags=["health"])
def healthz(services: AppServices) -> dict[str, Any]:
    """Tell what serves and how much waits."""
    return services.health()
