"""Preferences to training rows: the prompt as it will be served, and both replies to it.

The rows are those of the preferred replies (`rows.py`): the same search, the same prompts, the
same kinds of evidence, and no row where no document holds the figures that the preferred reply
states. Values are not varied and no documents withheld, but in the gate's own rows: the two
replies were compared as they stand, on what they stand on.

It knows no worker and no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from server.rows import RowMaker
from tuning.records import Example, Row, Split


def preference_rows(
    maker: RowMaker,
    examples: Sequence[Example],
    splits: Mapping[str, Split],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Row], Counter[str]]:
    """The rows with their rejected replies, and how many there are of each kind."""
    as_compared = replace(maker, shares=replace(maker.shares, varied=0.0, none=0.0, drills=0.0))
    rows, kinds = as_compared.rows(examples, splits, progress=progress)
    rejected = {(example.line, example.reply): example.rejected for example in examples}
    return [replace(row, rejected=rejected.get((row.line, row.reply))) for row in rows], kinds
