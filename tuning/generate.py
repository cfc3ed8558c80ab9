"""Prompts in, tokens out: one answer as an iterator of its pieces of text.

The caller owns the model and decides how many answers are interleaved: each `Answer` keeps its
own key-value cache, so stepping several of them in turn never mixes them.

Knows no requests, no voices and no documents. Read `answer` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tuning.errors import PromptTooLong
from tuning.generator import Generator
from tuning.grammar import Constraint


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 takes the most likely one.

    `grammar`, made by `tuning.grammar.Grammars`, is what the answer must consist of.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    grammar: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer: new text, the number of tokens so far, and why it ended, if so."""

    text: str
    tokens: int
    finish_reason: str | None = None  # stop or length


def answer(
    generator: Generator,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    *,
    context_tokens: int,
    constraint: Constraint | None = None,
) -> Iterator[Piece]:
    """Write an answer to a prompt, one token a step; the last piece has a finish reason.

    It is written with the adapter that is selected at each step: the caller may switch between
    steps as long as it switches back before the next one. Under a `constraint` only tokens that
    can follow are chosen, and the answer stops where it is complete.

    Raises:
        PromptTooLong: the prompt leaves no room for an answer in `context_tokens`.
        SchemaError: the constraint is too costly to follow.
    """
    room = context_tokens - len(prompt_ids)
    if room < 1:
        raise PromptTooLong(
            f"the prompt has {len(prompt_ids)} tokens; the context holds {context_tokens}"
        )
    limit = min(sampling.max_tokens, room)
    choose = _Chooser(sampling, generator.device)
    written = Written(generator, sampling.stop)
    ids = torch.tensor([list(prompt_ids)], device=generator.device)  # (1, T)
    cache = None
    for count in range(1, limit + 1):
        with torch.inference_mode():
            out = generator.model(
                input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
        cache = out.past_key_values
        logits = out.logits[0, -1]  # (vocabulary,)
        token = choose(logits if constraint is None else constraint.restrict(logits))
        if token in generator.stop_ids:
            yield Piece(written.rest(), count, "stop")
            return
        text = written.add(token)
        if constraint is not None:
            constraint.accept(token)
            if constraint.done:
                yield Piece(text + written.rest(), count, "stop")
                return
        if written.stopped:
            yield Piece(text, count, "stop")
            return
        if count == limit:
            yield Piece(text + written.rest(), count, "length")
            return
        yield Piece(text, count)
        ids = torch.tensor([[token]], device=generator.device)


class Written:
    """Tokens to text as they come: no half characters, nothing past a stop string."""

    def __init__(self, generator: Generator, stop: Sequence[str]) -> None:
        self._decode = generator.template.decode
        self._stop = stop
        self._ids: list[int] = []
        self._sent = 0
        self.stopped = False

    def add(self, token: int) -> str:
        """The text that this token completes, as far as it is safe to send."""
        self._ids.append(token)
        text = self._decode(self._ids)
        found = [at for stop in self._stop if (at := text.find(stop, self._sent)) >= 0]
        if found:
            self.stopped = True
            return self._send(text, min(found))
        if text.endswith("\ufffd"):  # the middle of a character of several bytes
            return ""
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        return self._send(text, len(text) - held)

    def rest(self) -> str:
        """What was held back, but for half a character."""
        text = self._decode(self._ids).rstrip("\ufffd")
        return self._send(text, len(text))

    def _send(self, text: str, end: int) -> str:
        piece = text[self._sent : end]
        self._sent = max(self._sent, end)
        return piece


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of a stop string."""
    return next((n for n in range(len(stop) - 1, 0, -1) if text.endswith(stop[:n])), 0)


class _Chooser:
    """Logits to a token: penalties, temperature, nucleus (Holtzman et al. 2020), a seeded draw."""

    def __init__(self, sampling: Sampling, device: torch.device) -> None:
        self.sampling = sampling
        self.counts: dict[int, int] = {}
        self.random = torch.Generator(device=device)
        if sampling.seed is None:
            self.random.seed()
        else:
            self.random.manual_seed(sampling.seed)

    def __call__(self, logits: torch.Tensor) -> int:
        s = self.sampling
        logits = logits.float()
        if self.counts and (s.frequency_penalty or s.presence_penalty):
            seen = torch.tensor(list(self.counts), device=logits.device)
            times = torch.tensor(list(self.counts.values()), device=logits.device)
            penalty = s.frequency_penalty * times + s.presence_penalty
            logits = logits.index_add(0, seen, -penalty)
        if s.temperature <= 0:
            token = int(logits.argmax())
        else:
            probs, order = torch.softmax(logits / s.temperature, -1).sort(descending=True)
            probs[probs.cumsum(-1) - probs > s.top_p] = 0
            token = int(order[torch.multinomial(probs, 1, generator=self.random)])
        self.counts[token] = self.counts.get(token, 0) + 1
        return token
