"""What becomes of a model's draft before a user reads it, for a whole text at once. Pure.

The same `Citer` that works on a streaming answer works here, so that what a verdict measures
as served is what is served: whatever is done to an answer belongs into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.records import Hit
from server.cite import Citer


def as_served(draft: str, shown: Sequence[Hit]) -> str:
    """The text that a user gets where the model wrote `draft` from the hits shown to it."""
    citer = Citer(shown)
    return citer.add(draft) + citer.end()
