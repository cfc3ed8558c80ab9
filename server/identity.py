"""What answered, named by its content: in every answer, whichever endpoint tells it."""

from __future__ import annotations

from server.answer import Prepared
from server.services import Services


def identity(services: Services, prepared: Prepared) -> dict[str, str | None]:
    """The adapter, base, embedder and prompt format that an answer comes from."""
    return {
        "adapter": prepared.adapter,
        "base": services.engine.generator.fingerprint,
        "embedder": services.embedder.fingerprint,
        "prompt": services.engine.prompt_digest,
    }
