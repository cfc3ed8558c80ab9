"""The page at /docs, which describes the API from its own OpenAPI; nothing comes from a CDN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, Router, get
from litestar.openapi.plugins import OpenAPIRenderPlugin

_WEB = Path(__file__).parent / "web"


class DocsPage(OpenAPIRenderPlugin):
    """Serves web/docs.html with its script and style; the JSON is at /docs/openapi.json."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return (_WEB / "docs.html").read_bytes()

    def receive_router(self, router: Router) -> None:
        """Add the page's own files next to it."""
        router.register(docs_script)
        router.register(docs_style)


def _asset(name: str, media_type: str) -> Response[bytes]:
    return Response((_WEB / name).read_bytes(), media_type=media_type)


@get("/docs.js", include_in_schema=False, sync_to_thread=True)
def docs_script() -> Response[bytes]:
    return _asset("docs.js", "text/javascript")


@get("/docs.css", include_in_schema=False, sync_to_thread=True)
def docs_style() -> Response[bytes]:
    return _asset("docs.css", MediaType.CSS)
