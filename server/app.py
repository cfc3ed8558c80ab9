"""`create_app(settings)`: the routes, the lifespan and what every answer carries.

It knows no resource; each has its own file in `routes/`. Read `services.open_services` for
what stands behind them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.types import Message, Scope

from server import errors
from server.auth import guard, owner_of
from server.docs import DocsPage
from server.ids import new_id
from server.opening import open_services
from server.routes import (
    chains,
    chat,
    data,
    embeddings,
    evaluations,
    feedback,
    files,
    fine_tuning,
    health,
    models,
    responses,
    search_models,
    store_files,
    stores,
    turns,
    voices,
)
from server.schedule import Schedule
from server.services import Services
from server.settings import Settings

logger = logging.getLogger(__name__)

API_BODY_BYTES = 16_000_000  # every body but an upload; 2048 texts to embed fit


def create_app(settings: Settings) -> Litestar:
    """The whole server as an ASGI application; nothing is opened before its lifespan starts."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        services = await asyncio.to_thread(open_services, settings)
        app.state.services = services
        schedule = Schedule(services)
        schedule.start()
        try:
            yield
        finally:
            await asyncio.to_thread(schedule.stop)
            await asyncio.to_thread(services.close)

    api = Router(
        path="/v1",
        route_handlers=[
            files.router,
            stores.router,
            store_files.router,
            search_models.router,
            models.router,
            embeddings.router,
            chat.router,
            responses.router,
            chains.router,
            turns.router,
            fine_tuning.router,
            voices.router,
            evaluations.router,
            feedback.router,
            data.router,
        ],
    )
    return Litestar(
        route_handlers=[api, health.healthz],
        lifespan=[lifespan],
        state=State({"settings": settings}),
        dependencies={
            "services": Provide(_services, sync_to_thread=False),
            "owner": Provide(_owner, sync_to_thread=False),
        },
        guards=[guard],
        exception_handlers={Exception: errors.answer},
        before_send=[_add_headers],
        request_max_body_size=API_BODY_BYTES,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Houseword",
            version="1",
            description="Answers from your documents, in your own voice.",
            path="/docs",
            render_plugins=[DocsPage()],
            use_handler_docstrings=True,
        ),
    )


def _services(state: State) -> Services:
    services: Services = state.services
    return services


def _owner(request: Request[Any, Any, Any]) -> str:
    return owner_of(request)


async def _add_headers(message: Message, scope: Scope) -> None:
    if message["type"] == "http.response.start":
        message["headers"] = [
            *message["headers"],
            (b"x-request-id", new_id("req").encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
