"""The app under uvicorn: one way to run it for every use, and in words why it did not start.

`houseword serve` and the commands' own server both come through `Runner`. It knows no resource.
"""

from __future__ import annotations

import logging
import socket

import uvicorn
from litestar.types import Message, Receive, Scope, Send

from retrieval.errors import HousewordRetrievalError
from server.errors import ServerError
from server.settings import Settings
from tuning.errors import TuningError
from tuning.imports import quick_imports
from tuning.source import find_source

logger = logging.getLogger(__name__)

GRACE_SECONDS = 10
# What a user can mend: told in one line, without a traceback.
_MENDABLE = (ServerError, HousewordRetrievalError, TuningError, OSError)


class StartError(ServerError, RuntimeError):
    """The server could not be started; the message says why."""


class Runner:
    """The app of `settings` on an open socket; `run` blocks, `stop` ends it.

    Raises `StartError` where the generator's name means nothing, before anything is imported.
    """

    def __init__(self, settings: Settings) -> None:
        try:
            find_source(settings.generator)
        except TuningError as error:
            raise StartError(f"the server cannot start: {error}") from error
        with quick_imports():
            from server.app import create_app

        self._app = create_app(settings)
        self._failure: BaseException | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._call,
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    @property
    def started(self) -> bool:
        return self._server.started

    def run(self, listener: socket.socket) -> None:
        """Serve until SIGINT, SIGTERM or `stop`; raises `StartError` where it cannot start."""
        try:
            self._server.run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn repeats the signal once everything is closed
            pass
        except SystemExit:  # its way of saying that the app did not start
            if self._failure is None:
                raise
        if isinstance(self._failure, ServerError):
            raise self._failure
        if self._failure is not None:
            raise StartError(f"the server cannot start: {self._failure}") from self._failure

    def stop(self) -> None:
        self._server.should_exit = True

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                message["message"] = ""  # Litestar's traceback: `run` tells the reason
            await send(message)

        try:
            await self._app(scope, receive, tell)
        except BaseException as error:
            self._failure = _innermost(error)
            if not isinstance(self._failure, _MENDABLE):
                logger.exception("the server failed")
            raise


def listen(host: str, port: int) -> socket.socket:
    """A bound TCP socket, before any model is loaded; port 0 is any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delay (40 ms an answer) off only where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {host}:{port} ({error.strerror}): end the program that holds it, "
            "or set HOUSEWORD_PORT to another port"
        ) from error
    return listener


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
