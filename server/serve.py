"""Runs the server in this process until it is interrupted: one uvicorn, one process."""

from __future__ import annotations

import logging

import uvicorn

from server.app import create_app
from server.errors import AlreadyRunning
from server.lock import find_server
from server.settings import Settings, configure_logging

logger = logging.getLogger(__name__)

GRACE_SECONDS = 10


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; raises `AlreadyRunning` before anything is opened."""
    configure_logging(settings)
    if holder := find_server(settings.data_dir):
        raise AlreadyRunning(
            f"{settings.data_dir} is served already by pid {holder.pid} at {holder.url}: "
            "use that one, stop it, or set HOUSEWORD_DATA_DIR to another folder"
        )
    logger.info("serving %s at %s", settings.data_dir, settings.url)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
