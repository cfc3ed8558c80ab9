"""Who may ask, and whose objects they see.

One key for the whole server for now; `owner_of` is the only place that tells owners apart, so
that tenants can come later. Requests that a foreign web page could cause are refused.
"""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler

from server.errors import ApiError
from server.settings import Settings, is_loopback

LOCAL_OWNER = "local"
Owner = NamedDependency[str]  # how a handler asks for the owner
PUBLIC = {"public": True}  # a route's `opt` that lets it answer without a key


def owner_of(request: Request[Any, Any, Any]) -> str:
    """The owner whose objects this request may see."""
    return LOCAL_OWNER


def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request pass or raise 401 or 403; runs before any body is read."""
    settings: Settings = connection.app.state.settings
    _refuse_foreign_pages(connection, settings)
    if settings.api_key is None or handler.opt.get("public"):
        return
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    # As bytes, which headers are: compare_digest refuses text beyond ASCII.
    given, wanted = key.strip(" \t").encode("latin-1"), settings.api_key.encode()
    if scheme.lower() != "bearer" or not hmac.compare_digest(given, wanted):
        raise ApiError(
            401,
            "A key is needed: send the header 'Authorization: Bearer KEY'.",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )


def _refuse_foreign_pages(
    connection: ASGIConnection[Any, Any, Any, Any], settings: Settings
) -> None:
    """Refuse other sites' pages (Origin) and names that were rebound to this address (Host)."""
    host = connection.headers.get("host", "")
    origin = connection.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise ApiError(403, "Requests from other sites' pages are refused.", code="foreign_origin")
    if settings.api_key is None and not is_loopback(urlsplit(f"//{host}").hostname or ""):
        raise ApiError(
            403, "Call this server by its loopback address or name.", code="foreign_host"
        )
