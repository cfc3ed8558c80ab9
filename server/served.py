"""What becomes of a model's draft before a user reads it, for a whole text at once. Pure.

The same `mend` that works on a streaming answer works here, so that what a verdict measures
as served is what is served: whatever is done to an answer belongs into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.grounds import Grounds
from retrieval.records import Hit
from server.formulas import NO_FORMULAS, Formulas
from server.repair import Policy, mend

NO_GROUNDS = Grounds()


def as_served(
    draft: str,
    shown: Sequence[Hit],
    *,
    policy: Policy = "off",
    grounds: Grounds = NO_GROUNDS,
    message: str = "",
    formulas: Formulas = NO_FORMULAS,
) -> str:
    """The text that a user gets where the model wrote `draft` from the hits shown to it."""
    mended = mend(policy, shown, grounds, message=message, formulas=formulas)
    return mended.add(draft) + mended.end()
