"""What becomes of a model's draft before a user reads it: guarded, then mended. Pure.

A stream and an evaluation's whole text go through the same `Served`, so what a verdict measures
as served is what is served: whatever is done to an answer belongs into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.grounds import Grounds
from retrieval.records import Hit
from server.cite import Change, Citation
from server.formulas import NO_FORMULAS, Formulas
from server.guard import Guard, guard_of
from server.prompt import Message
from server.repair import Mends, Policy, mend

NO_GROUNDS = Grounds()


class Served:
    """Feed it the pieces of a draft; it returns what a user may read.

    `mended` is None where the text stands as it is written. `citations` and `changes` are
    complete after `end`.
    """

    def __init__(self, guard: Guard, mended: Mends | None) -> None:
        self._guard = guard
        self._mended = mended

    def add(self, text: str) -> str:
        safe = self._guard.add(text)
        return self._mended.add(safe) if self._mended else safe

    def end(self, *, cut: bool = False) -> str:
        """What is left when the model has stopped, or was `cut` off at its limit of tokens."""
        safe = self._guard.end()
        return self._mended.add(safe) + self._mended.end(cut=cut) if self._mended else safe

    def whole(self, draft: str, *, cut: bool = False) -> str:
        """What a user may read of a whole draft."""
        return self.add(draft) + self.end(cut=cut)

    @property
    def citations(self) -> tuple[Citation, ...]:
        return tuple(self._mended.citations) if self._mended else ()

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(self._mended.changes) if self._mended else ()


def as_served(
    draft: str,
    shown: Sequence[Hit],
    *,
    policy: Policy = "off",
    grounds: Grounds = NO_GROUNDS,
    message: str = "",
    before: Sequence[Message] = (),
    formulas: Formulas = NO_FORMULAS,
    cites: bool = True,
    any_link: bool = False,
    cut: bool = False,
) -> str:
    """The text that a user gets where the model wrote `draft` from the hits shown to it.

    `before` is what was said before the user's `message`. An answer that is not to be cited stands
    as it is written; a structured one may hold `any_link`. `cut` says that the draft reached its
    limit of tokens.
    """
    asked = [*before, {"role": "user", "content": message}]
    served = Served(
        guard_of(asked, [hit.passage.text for hit in shown], any_link=any_link),
        mend(policy, shown, grounds, message=message, formulas=formulas) if cites else None,
    )
    return served.whole(draft, cut=cut)
