"""Examples to training rows: each prompt is built as it will be served, with real passages.

For every example the documents are searched as for a user's question. The gold passages are
those that hold the figures of the reply; the other hits are the distractors, as in life. A
reply whose figures no passage holds would teach the voice to invent, so it is left out.

It knows no worker and no model.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from retrieval.attribute import figures
from retrieval.library import Library
from retrieval.records import Hit
from server.answer import evidence, is_small_talk
from server.prompt import CountTokens, build
from tuning.examples import question_key
from tuning.records import Example, Row, Split

GOLD_ONLY = 0.2  # share of the rows with gold that show nothing else
GOLD_POOL = 10  # how many hits are looked through for the gold
GOLD_COVER = 0.6  # share of a reply's figures that the gold must hold


@dataclass(frozen=True, slots=True)
class RowMaker:
    """How rows are made for one voice: the stores searched and the shape of its prompts."""

    library: Library
    stores: Sequence[str]
    hits: int
    budget: int  # tokens of passages in a prompt
    count_tokens: CountTokens
    seed: int = 0

    def rows(
        self,
        examples: Sequence[Example],
        splits: Mapping[str, Split],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[list[Row], Counter[str]]:
        """The rows, and how many there are of each kind; `unsupported` ones were left out."""
        random_ = random.Random(self.seed)
        made: list[Row] = []
        kinds: Counter[str] = Counter()
        for number, example in enumerate(examples):
            if progress is not None:
                progress(number, len(examples))
            kind, shown = self._evidence(example, random_)
            kinds[kind] += 1
            if kind == "unsupported":
                continue
            prompt = build(
                example.messages,
                [evidence(hit) for hit in shown],
                budget=self.budget,
                count_tokens=self.count_tokens,
            )
            made.append(
                Row(
                    messages=prompt.messages,
                    reply=example.reply,
                    split=splits[question_key(example)],
                    kind=kind,
                    group=example.group,
                    line=example.line,
                )
            )
        return made, kinds

    def _evidence(self, example: Example, random_: random.Random) -> tuple[str, list[Hit]]:
        if not self.stores or is_small_talk(example.question):
            return "chat", []
        served = self.library.search(self.stores, example.question, k=self.hits)
        if example.declines:
            return "none", served
        stated = figures(example.reply)
        if not stated:
            return "chat", served
        gold = self._gold(example, stated)
        if not gold:
            return "unsupported", []
        if random_.random() < GOLD_ONLY:
            return "gold", gold
        return "gold+distractors", _with_gold(served, gold, random_)

    def _gold(self, example: Example, stated: set[str]) -> list[Hit]:
        """One or two passages that hold the reply's figures, or none."""
        pool = self.library.search(self.stores, f"{example.question}\n{example.reply}", k=GOLD_POOL)
        gold: list[Hit] = []
        missing = set(stated)
        for _ in range(2):
            best = max(pool, key=lambda hit: len(missing & figures(hit.passage.text)), default=None)
            if best is None or not missing & figures(best.passage.text):
                break
            gold.append(best)
            missing -= figures(best.passage.text)
        return gold if len(missing) <= (1 - GOLD_COVER) * len(stated) else []


def _with_gold(served: list[Hit], gold: list[Hit], random_: random.Random) -> list[Hit]:
    """The hits as served, with the gold put among the first where the search missed it."""
    ids = [hit.passage.id for hit in served]
    missed = [hit for hit in gold if hit.passage.id not in ids[:2]]
    missed_ids = {hit.passage.id for hit in missed}
    hits = [hit for hit in served if hit.passage.id not in missed_ids]
    for hit in missed:
        hits.insert(random_.randint(0, min(1, len(hits))), hit)
    return hits
