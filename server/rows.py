"""Examples to training rows: each prompt is built as it will be served, with real passages.

For every example the documents are searched as for a user's question, by the words of the message
before it too where it leans on that, and shown are the hits as a user's prompt shows them: none
that repeats another, no orders to whoever answers. The gold passages are those that hold the
figures of the reply; the other hits are the distractors, as in life. A reply whose figures no
passage holds would teach the voice to invent, so it is left out.

What a prompt says of the evidence is always right in a row to learn from: it points at a sentence
where the reply answers, and says that there is none where it declines. So a voice learns to
trust it, as the server does, which declines without a draft where the evidence is weak. Where a
reply needs no passage and none is found, most prompts say neither: a voice that has seen many
helpful replies behind "none" would answer unanswerable questions alike, and one that has seen
none would turn every request away. The gate's rows are as they are served, mistakes and all.

Where few replies hold facts, reading drills from the documents are added (`drills.py`). Of the
rows with gold, some show nothing else, in some the values are changed (`vary.py`), and beside
some the same question stands a second time with its documents withheld, answered by a decline:
a plain one, or in a voice of another language than English one of the house's own, if any.

A voice that uses no documents (its requests hold the facts) gets bare rows, as it is served.
It knows no worker and no model. Read `RowMaker.rows` first.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from retrieval.claims import figures
from retrieval.grounds import HITS
from retrieval.library import Library
from retrieval.records import Hit
from server.decline import Declines
from server.disarm import without_orders
from server.drills import drills
from server.followup import standalone
from server.gold import GOLD_POOL, gold_for, with_gold
from server.prompt import CountTokens, Evidence, build
from server.showing import evidence, highlights, readable
from server.small_talk import is_small_talk
from server.varied import example_with_other_values
from server.vary import house_names
from tuning.examples import question_key
from tuning.outliers import main_language
from tuning.records import Example, Row, Split

Told = Literal["answer", "none"]  # what a prompt says of its evidence; else what is found

_STEP = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)  # the number of a step is no fact


@dataclass(frozen=True, slots=True)
class RowShares:
    """How the rows are mixed; each a share from 0 to 1."""

    gold_only: float = 0.2  # of the rows with gold: no distractors
    none: float = 0.2  # of the rows with documents: the gold is withheld
    varied: float = 0.5  # of the rows with gold: other values
    untold: float = 0.65  # of the rows that need no passage and find none: that is not told
    drills: float = 0.5  # of the rows: what is filled up with drills where replies hold few facts
    replay: float = 0.2  # of all rows: the base's own answers


@dataclass(frozen=True, slots=True)
class _Golden:
    """A question whose answer the documents hold, and which of them do."""

    example: Example
    split: Split
    documents: set[str]


@dataclass(slots=True)
class _Making:
    """The rows of one voice while they are made; `own` are the house's own names."""

    own: set[str]
    english: bool  # as far as can be seen
    random_: random.Random
    rows: list[Row] = field(default_factory=list)
    golden: list[_Golden] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RowMaker:
    """How rows are made for one voice: the stores searched and the shape of its prompts."""

    library: Library
    stores: Sequence[str]
    hits: int
    budget: int  # tokens of passages in a prompt
    count_tokens: CountTokens
    seed: int = 0
    shares: RowShares = field(default_factory=RowShares)
    uses_documents: bool = True  # False: as if there were no stores
    abstain_below: float | None = None  # the stores say

    def rows(
        self,
        examples: Sequence[Example],
        splits: Mapping[str, Split],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[list[Row], Counter[str]]:
        """The rows, and how many there are of each kind; `unsupported` ones were left out."""
        random_ = random.Random(self.seed)
        replies = [example.reply for example in examples]
        english = main_language(replies) in (None, "English")
        making = _Making(house_names(replies), english, random_)
        kinds: Counter[str] = Counter()
        for number, example in enumerate(examples):
            if progress is not None:
                progress(number, len(examples))
            split = splits[question_key(example)]
            kind, shown, gold = self._evidence(example, split, random_)
            kinds[kind] += 1
            if kind != "unsupported":
                self._add(making, example, shown, gold, split=split, kind=kind)
        grounded = sum(bool(row.passages) and row.kind != "chat" for row in making.rows)
        wanted = round(self.shares.drills * len(making.rows)) - grounded
        if self._searches and wanted > 0:
            kinds["drill"] = self._drill(making, wanted)
        withheld = self._withheld(making)
        if withheld:
            kinds["withheld"] = len(withheld)
        return making.rows + withheld, kinds

    @property
    def _searches(self) -> bool:
        return self.uses_documents and bool(self.stores)

    @property
    def _judged(self) -> int:
        """How many hits a question has when it is served: more than the prompt shows."""
        return max(self.hits, HITS)

    def replay(self, rows: Sequence[Row]) -> int:
        """How many of the base's own answers belong beside these rows."""
        train = sum(row.split == "train" for row in rows)
        return round(train * self.shares.replay / max(1 - self.shares.replay, 0.1))

    def _add(
        self,
        making: _Making,
        example: Example,
        shown: Sequence[Hit],
        gold: Sequence[Hit],
        *,
        split: Split,
        kind: str,
    ) -> None:
        passages, best = self._shown(example, shown, told=_told(kind, split))
        if gold:
            documents = {hit.passage.document_id for hit in gold}
            making.golden.append(_Golden(example, split, documents))
            if split != "gate" and making.random_.random() < self.shares.varied:
                texts = [*passages, *best]
                example, texts = example_with_other_values(
                    example, texts, making.own, making.random_
                )
                passages, best = texts[: len(passages)], texts[len(passages) :]
        needless = kind == "chat" and split != "gate" and not best
        untold = needless and making.random_.random() < self.shares.untold
        told = None if untold else best
        making.rows.append(self._row(example, passages, told, split=split, kind=kind))

    def _shown(
        self, example: Example, hits: Sequence[Hit], *, told: Told | None
    ) -> tuple[list[Evidence], list[Evidence]]:
        """What the prompt shows of the hits found, and the sentences of all that it points at."""
        hits = readable(hits, question=example.question)
        if not hits:
            return [], []
        shown = [evidence(hit) for hit in hits[: self.hits]]
        if told == "none":
            return shown, []
        below = 0.0 if told == "answer" else self.abstain_below
        grounds = self.library.calibrations.judge(
            standalone(example.messages), hits, self.stores, threshold=below
        )
        return shown, list(highlights(grounds))

    def _drill(self, making: _Making, wanted: int) -> int:
        """Add up to `wanted` reading drills; returns how many the documents gave."""
        random_ = making.random_
        declines = Declines([row for row in making.rows if row.split == "train"])
        drawn = [
            (document.name, passage, drill)
            for store in self.stores
            for document in self.library.documents(store)
            for passage in self.library.passages(store, document.id)
            for drill in drills(without_orders(passage.text), passage.heading, random_)
        ]
        random_.shuffle(drawn)
        added = 0
        for name, passage, drill in drawn:
            if added >= wanted:
                break
            pool = self.library.search(self.stores, drill.question, k=GOLD_POOL)
            gold = [hit for hit in pool if hit.passage.id == passage.id]
            if not gold:  # a question that does not find its own passage is no good one
                continue
            reply = declines.ended(drill.statement, random_)
            message = {"role": "user", "content": drill.question}
            example = Example(messages=(message,), reply=reply, group=f"drill:{name}")
            alone = random_.random() < self.shares.gold_only
            shown = (
                gold if alone else with_gold(pool[: self._judged], gold, random_, shown=self.hits)
            )
            kind = "gold" if alone else "gold+distractors"
            self._add(making, example, shown, gold, split=_split_of(name), kind=kind)
            added += 1
        return added

    def _row(
        self,
        example: Example,
        passages: Sequence[Evidence],
        best: Sequence[Evidence] | None,
        *,
        split: Split,
        kind: str,
    ) -> Row:
        prompt = build(
            example.messages,
            passages,
            budget=self.budget,
            count_tokens=self.count_tokens,
            highlights=best,
        )
        shown = [_text(item) for item in passages[: prompt.shown]]
        beyond = [
            _text(item)
            for item in best or ()
            if not any(item.text in " ".join(text.split()) for text in shown)
        ]
        return Row(
            messages=prompt.messages,
            reply=example.reply,
            split=split,
            kind=kind,
            group=example.group,
            line=example.line,
            passages=(*shown, *beyond),
            question=example.question,
        )

    def _withheld(self, making: _Making) -> list[Row]:
        """Questions with gold once more without it: every one of the gate, a share of the rest."""
        random_ = making.random_
        train = [row for row in making.rows if row.split == "train"]
        declines, own = Declines(train), [row.reply for row in train if row.kind == "none"]
        if not making.golden or not (making.english or own):
            return []
        with_documents = [row for row in making.rows if row.split != "gate" and row.passages]
        nones = sum(row.kind == "none" for row in with_documents)
        others = len(with_documents) - nones
        wanted = round(others * self.shares.none / max(1 - self.shares.none, 0.1)) - nones
        chosen = [golden for golden in making.golden if golden.split != "gate"]
        random_.shuffle(chosen)
        gate = [golden for golden in making.golden if golden.split == "gate"]
        rows = []
        for golden in [*chosen[: max(0, wanted)], *gate]:
            example = golden.example
            stated = figures(example.reply) - figures(example.question)
            hits = [
                hit
                for hit in self._found(example, k=self.hits + GOLD_POOL)
                if hit.passage.document_id not in golden.documents
                and not stated & figures(hit.passage.text)
            ]
            reply = declines.draw(random_) if making.english else random_.choice(own)
            declined = replace(example, reply=reply, declines=True)
            told = _told("withheld", golden.split)
            shown = self._shown(declined, hits[: self._judged], told=told)
            rows.append(self._row(declined, *shown, split=golden.split, kind="withheld"))
        return rows

    def _evidence(
        self, example: Example, split: Split, random_: random.Random
    ) -> tuple[str, list[Hit], list[Hit]]:
        """The kind of a row, the hits that it shows, and the gold, whether the search found it.

        A row to learn from shows its gold; one of the gate shows what is found.
        """
        if not self._searches or is_small_talk(example.question):
            return "chat", [], []
        served = self._found(example, k=self._judged)
        if example.declines:
            return "none", served, []
        stated = figures(_STEP.sub("", example.reply))
        gold = self._gold(example, stated) if stated else []
        if not gold:  # what the user has named needs no passage
            stated -= figures("\n".join(message["content"] for message in example.messages))
            if not stated:
                return "chat", served, []
            gold = self._gold(example, stated)
        if not gold:
            return "unsupported", [], []
        if split == "gate":
            return "gold+distractors", served, gold
        if random_.random() < self.shares.gold_only:
            return "gold", gold, gold
        return "gold+distractors", with_gold(served, gold, random_, shown=self.hits), gold

    def _found(self, example: Example, *, k: int) -> list[Hit]:
        """What the search finds for an example, best first, as it finds it for a user."""
        return self.library.search(self.stores, standalone(example.messages), k=k)

    def _gold(self, example: Example, stated: set[str]) -> list[Hit]:
        """One or two passages that hold the reply's figures, or none."""
        query = f"{standalone(example.messages)}\n{example.reply}"
        found = self.library.search(self.stores, query, k=GOLD_POOL)
        return gold_for(stated, readable(found, question=example.question))


def _told(kind: str, split: Split) -> Told | None:
    """What a row's prompt says of its evidence, whatever would be found."""
    if split == "gate" or kind == "chat":
        return None
    return "none" if kind in ("none", "withheld") else "answer"


def _split_of(name: str) -> Split:
    """The split of a document's drills, by its name: a quarter judges, a tenth selects."""
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8
    return "gate" if share < 0.25 else "dev" if share < 0.35 else "train"


def _text(item: Evidence) -> str:
    return f"{item.heading}\n{item.text}" if item.heading else item.text
