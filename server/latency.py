"""How long a request takes, as a user sees it: search, first token, last token.

Through the serving engine, so that what else is asked meanwhile counts, too. Knows no arms and
no figures. Read `time_request` first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from server.engine import Engine, Overloaded
from server.prompt import Message
from server.verdict import Latency
from tuning.generate import Sampling

PATIENCE_SECONDS = 1.0  # between two tries while the queue is full


def time_request(
    engine: Engine,
    messages: Sequence[Message],
    *,
    adapter: str | None,
    max_tokens: int,
    search: Callable[[], Any] | None = None,
) -> Latency:
    """Stream one answer from a thread of one's own; `search` is what is looked up before it."""
    began = time.perf_counter()
    if search is not None:
        search()
    searched = time.perf_counter() - began
    ids = engine.encode(messages)
    first, total = asyncio.run(_stream(engine, ids, adapter, Sampling(max_tokens=max_tokens)))
    return Latency(searched + first, searched + total)


async def _stream(
    engine: Engine, ids: list[int], adapter: str | None, sampling: Sampling
) -> tuple[float, float]:
    while True:
        began = time.perf_counter()
        try:
            ticket = engine.submit(ids, adapter=adapter, sampling=sampling)
        except Overloaded:
            await asyncio.sleep(PATIENCE_SECONDS)
            continue
        first = None
        async for _ in ticket:
            first = first or time.perf_counter() - began
        total = time.perf_counter() - began
        return first or total, total
