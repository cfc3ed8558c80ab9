"""A verdict's questions made ready: what the search finds, and the prompt of every arm.

A plan is made once and frozen into the run folder; a verdict that goes on after a restart asks
what it has asked before. It knows the documents, but no worker and no figures.

Read `Asker.plan` first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from retrieval.claims import figures
from retrieval.grounds import HITS, Grounds
from retrieval.library import Library
from retrieval.records import Hit
from retrieval.versions import BASE
from server.arms import ask, by_house, choose_shots, house_formulas, open_arms
from server.disarm import disarmed
from server.evaluate import expected_found
from server.followup import standalone
from server.gate_prompts import STYLE_TEXTS, TEXT_TOKENS
from server.gold import GOLD_POOL
from server.measures import JSON_TOKENS, STYLELESS
from server.plan import House, Plan, prompt_id
from server.prompt import CountTokens, Message
from server.questions import Question
from server.repair import Policy
from server.showing import evidence, highlights, readable, seen
from server.small_talk import is_small_talk
from server.verdict import Asked, Form
from tuning.errors import PromptTooLong
from tuning.records import Prompt, Row
from tuning.task_measures import Embed, routing_baseline

ROUTED_ROWS = 2000  # most rows that the plain router learns from: seconds, not minutes
ANYWHERE = 50  # passages in which an answer is looked for, by the question and by the answer
WEAK = 0.25  # cosine similarity: a best hit below it has nothing to do with the question


@dataclass(frozen=True, slots=True)
class Asker:
    """How questions are made ready: as the chat endpoint would answer them."""

    library: Library
    stores: tuple[str, ...]  # none: no document is searched
    hits: int
    budget: int  # tokens of passages in a prompt
    count_tokens: CountTokens
    encode: Callable[[Sequence[Message]], list[int]]  # raises PromptTooLong
    policy: Policy = "off"
    abstain_below: float | None = None  # the stores say
    grammar_of: Callable[[Mapping[str, Any]], str | None] = lambda task: None  # of a voice's task
    tuned: bool = False  # whether a tuned search serves the stores: it is an arm of its own
    embed: Embed | None = None  # for the plain router of labels

    def plan(
        self,
        questions: Sequence[Question],
        house: House,
        *,
        max_tokens: int,
        progress: Callable[[int, int], None],
        seed: int = 0,
    ) -> tuple[Plan, list[Prompt]]:
        """The plan, and the prompts in the order in which they shall be written.

        For a voice that uses no documents none are searched, in any arm.
        """
        asker = self if house.uses_documents else replace(self, stores=(), tuned=False)
        return asker._plan(questions, house, max_tokens, progress, seed)

    def _plan(
        self,
        questions: Sequence[Question],
        house: House,
        max_tokens: int,
        progress: Callable[[int, int], None],
        seed: int,
    ) -> tuple[Plan, list[Prompt]]:
        form = Form.of(house.task)
        if form.kind == "json":
            max_tokens = max(max_tokens, JSON_TOKENS)
        shots = choose_shots(house.rows, seed=seed)
        arms = open_arms(
            few_shot=bool(shots),
            search=bool(self.stores),
            voice=house.adapter is not None,
            tuned=self.tuned,
        )
        grammar = self.grammar_of(house.task) if house.task else None
        prompts: list[Prompt] = []
        asked: list[Asked] = []
        tokens: dict[str, int] = {}
        unanswered: list[str] = []
        skipped = {"changed": 0, "long": 0}
        for number, question in enumerate(questions):
            progress(number, len(questions))
            found = {tuned: self.find(question, tuned=tuned) for tuned in {False, self.tuned}}
            if question.only and not all(found.values()):
                skipped["changed"] += 1
                continue
            grounds = {tuned: self.grounds(question, hits) for tuned, hits in found.items()}
            made, shown = [], dict.fromkeys(found, 0)
            for arm in arms:
                hits = found[arm.tuned][: self.hits]
                prompt = ask(
                    arm,
                    question.conversation,
                    [evidence(hit) for hit in hits],
                    shots=shots,
                    budget=self.budget,
                    count_tokens=self.count_tokens,
                    highlights=highlights(grounds[arm.tuned]),
                )
                shown[arm.tuned] = max(shown[arm.tuned], prompt.shown)
                who = house.adapter if arm.voice else None
                id_, held = prompt_id(arm, question), grammar if arm.voice else None
                made.append(Prompt(id_, prompt.messages, who, max_tokens, grammar=held))
            try:
                tokens |= {prompt.id: len(self.encode(prompt.messages)) for prompt in made}
            except PromptTooLong:
                skipped["long"] += 1
                continue
            prompts += made
            ready = {
                tuned: Asked(question, seen(hits[: shown[tuned]], grounds[tuned]), grounds[tuned])
                for tuned, hits in found.items()
            }
            asked.append(replace(ready[False], tuned=ready.get(True)))
            near = found[self.tuned][: self.hits]
            if self.stores and question.answerable and not self.answered(question, near):
                unanswered.append(question.id)
        replies, known, style = _style(house, seed)
        plan = Plan(
            arms=tuple(arms),
            asked=tuple(asked),
            prompt_tokens=tokens,
            house_replies=replies,
            base_texts=known,
            gate_replies=tuple(
                row.reply
                for row in house.rows
                if row.split == "gate"
                and row.kind in ("gold", "gold+distractors", "chat")
                and row.copy_of is None
                and by_house(row)
            ),
            policy=self.policy,
            formulas=house_formulas(house.rows),
            form=form,
            routed=self._routed(house, [item.question for item in asked], seed)
            if form.kind == "label"
            else {},
            unanswered=tuple(unanswered),
            notes=tuple(_notes(self.stores, house, shots, skipped)),
        )
        return plan, style + prompts

    def _routed(self, house: House, questions: Sequence[Question], seed: int) -> dict[str, str]:
        """What embeddings with logistic regression say of the questions, from the same rows."""
        rows = [row for row in house.rows if row.split == "train" and by_house(row)]
        if self.embed is None or not rows:
            return {}
        if len(rows) > ROUTED_ROWS:
            rows = random.Random(seed).sample(rows, ROUTED_ROWS)
        labels = routing_baseline(
            [row.question for row in rows],
            [row.reply for row in rows],
            [question.text for question in questions],
            self.embed,
        )
        return {question.id: label for question, label in zip(questions, labels, strict=True)}

    def find(self, question: Question, *, tuned: bool) -> list[Hit]:
        """The hits that serve for a question; of a withheld one, those it may show.

        Not `tuned`: by the base's search, also where a tuned one serves.
        """
        if not self.stores or is_small_talk(question.text):
            return []
        k = max(self.hits, HITS)
        query = standalone(question.conversation)
        version = BASE if self.tuned and not tuned else None
        if question.only is None:
            hits = self.library.search(self.stores, query, k=k, version=version)
        else:
            pool = self.library.search(self.stores, query, k=k + GOLD_POOL, version=version)
            shown = disarmed(pool, question=question.text)
            hits = [hit for hit in shown if _as_frozen(hit) in question.only][:k]
        return list(readable(hits, question=question.text))

    def grounds(self, question: Question, hits: Sequence[Hit]) -> Grounds:
        """What the hits of a question offer."""
        if not self.stores:
            return Grounds(tuple(hits))
        query = standalone(question.conversation)
        return self.library.calibrations.judge(
            query, hits, self.stores, threshold=self.abstain_below
        )

    def answered(self, question: Question, hits: Sequence[Hit]) -> bool:
        """Whether the documents can answer a question at all.

        Where it is known what the answer holds, each part must occur in some passage near the
        question or near the answer's words; where not, the best hit must be close.
        """
        if not question.checkable:
            return any(hit.dense >= WEAK for hit in hits)
        words = " ".join([*question.expected, *question.figures, question.reply or ""])
        near = [
            *self.library.search(self.stores, question.text, k=ANYWHERE),
            *self.library.search(self.stores, words, k=ANYWHERE, dense=False),
        ]
        texts = [_as_frozen(hit) for hit in near]
        held = set().union(*map(figures, texts))
        return set(question.figures) <= held and all(
            any(expected_found(text, [fact]) for text in texts) for fact in question.expected
        )


def _style(house: House, seed: int) -> tuple[tuple[str, ...], tuple[str, ...], list[Prompt]]:
    """Train replies, the base's texts to the same questions, and prompts for those it lacks.

    None for labels and JSON, which have no style.
    """
    if Form.of(house.task).kind in STYLELESS:
        return (), (), []
    train = {
        index: row
        for index, row in enumerate(house.rows)
        if row.split == "train" and row.kind != "withheld" and by_house(row)
    }
    known = {index: text for index, text in house.base_texts if index in train}
    others = [index for index in train if index not in known]
    random.Random(seed).shuffle(others)
    chosen = [*known, *others][:STYLE_TEXTS]
    return (
        tuple(train[index].reply for index in chosen),
        tuple(known[index] for index in chosen if index in known),
        [
            Prompt(f"style:{index}", train[index].messages, None, TEXT_TOKENS)
            for index in chosen
            if index not in known
        ],
    )


def _notes(
    stores: Sequence[str], house: House, shots: Sequence[Message], skipped: dict[str, int]
) -> list[str]:
    notes = []
    if not house.uses_documents:
        notes.append("The voice uses no documents: the arms with search are left out.")
    elif not stores:
        notes.append("The store holds no documents: the arms with search are left out.")
    if house.adapter and not shots:
        notes.append(
            "The rows that the voice was trained on are gone: no few-shot prompt, no style."
        )
    if skipped["changed"]:
        notes.append(
            f"{skipped['changed']} questions with withheld documents are left out: the passages "
            "beside them have changed since the training."
        )
    if skipped["long"]:
        notes.append(f"{skipped['long']} questions are too long for the context and left out.")
    return notes


def unseen(questions: Sequence[Question], rows: Sequence[Row]) -> list[Question]:
    """The questions that the voice has not been trained on."""
    learnt = {_normal(row.question) for row in rows if row.split != "gate"}
    return [question for question in questions if _normal(question.text) not in learnt]


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _as_frozen(hit: Hit) -> str:
    """A passage as training rows hold it."""
    heading, text = hit.passage.heading, hit.passage.text
    return f"{heading}\n{text}" if heading else text
