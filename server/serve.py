"""Runs the server in this process until it is interrupted: one uvicorn, one process."""

from __future__ import annotations

import logging

from server.errors import AlreadyRunning
from server.lock import find_server
from server.settings import Settings, configure_logging
from server.starting import Runner, listen

logger = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; raises `AlreadyRunning` before anything is opened."""
    configure_logging(settings)
    if holder := find_server(settings.data_dir):
        raise AlreadyRunning(
            f"{settings.data_dir} is served already by pid {holder.pid} at {holder.url}: "
            "use that one, stop it, or set HOUSEWORD_DATA_DIR to another folder"
        )
    with listen(settings.host, settings.port) as listener:
        logger.info("serving %s at %s", settings.data_dir, settings.url)
        Runner(settings).run(listener)
