"""A client that leaves before it was sent anything: what is done for it is given up.

Once an answer streams, the framework notices by itself. It knows no answers and no turns: whoever
works cleans up behind itself when it is cancelled. Read `unless_left` first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request

from server.errors import ApiError

T = TypeVar("T")


async def unless_left(request: Request[Any, Any, Any], work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled, and a 400 raised, when the client hangs up.

    The body of the request has been read by then.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError(400, "The request ended early.", code="client_disconnected")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
