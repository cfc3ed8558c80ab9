"""What may follow in an answer, token by token: by a JSON schema, or by a list of texts.

llguidance compiles a grammar once and tells, before every token, which tokens can follow, so
that what ends by itself always parses. It knows no requests and no voices.

Read `Grammars.of_schema` first, then `Constraint`.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer

from tuning.errors import SchemaError
from tuning.generator import Generator
from tuning.schema import check_schema

KEPT = 64  # compiled grammars
# Between the parts of JSON: at most a line break and an indent. Without a bound, a weak model
# writes spaces until its tokens are used up.
_JSON: Any = {"whitespace_flexible": True, "whitespace_pattern": r"\n? {0,12}"}
_LIMITS = LLParserLimits(
    step_lexer_fuel=100_000, max_lexer_states=50_000, max_grammar_size=100_000, verbose_errors=False
)


class Grammars:
    """The grammars of one generator, compiled once each; safe to use from any thread."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def of_schema(self, schema: Mapping[str, Any]) -> str:
        """The grammar of the JSON texts that a schema describes, compiled.

        Raises:
            SchemaError: too large, not supported, or met by no text; in words.
        """
        check_schema(schema)
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_JSON)
        self._start(grammar)
        return grammar

    def of_texts(self, texts: Sequence[str]) -> str:
        """The grammar of an answer that is one of `texts`, compiled; raises `SchemaError`."""
        choices = " | ".join(json.dumps(text) for text in texts)
        grammar = LLMatcher.grammar_from_lark(f"start: {choices}")
        self._start(grammar)
        return grammar

    def constraint(self, grammar: str) -> Constraint:
        """A fresh start of a grammar, for one answer; raises `SchemaError`."""
        return Constraint(self._start(grammar).deep_copy())

    def _start(self, grammar: str) -> LLMatcher:
        with self._lock:
            if grammar in self._compiled:
                self._compiled.move_to_end(grammar)
                return self._compiled[grammar]
            if self._tokenizer is None:
                self._tokenizer = _tokenizer(self._generator)
            tokenizer = self._tokenizer
        # Outside of the lock: a costly schema must not keep others from starting.
        matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)
        # The first mask shows what the grammar alone does not: that nothing can follow.
        if matcher.is_error() or not any(matcher.deep_copy().compute_bitmask()):
            raise SchemaError(f"the schema cannot be used: {_why(matcher)}")
        with self._lock:
            self._compiled[grammar] = matcher
            if len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
            return matcher


class Constraint:
    """One answer's way through a grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def restrict(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (vocabulary,) with minus infinity wherever a token cannot follow.

        Raises:
            SchemaError: the grammar is too costly to follow here.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            raise SchemaError(f"the schema cannot be followed: {_why(self._matcher)}")
        allowed = np.zeros(logits.shape[-1], dtype=bool)
        known = np.unpackbits(bits, bitorder="little")[: len(allowed)]
        allowed[: len(known)] = known
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), float("-inf"))

    def accept(self, token: int) -> None:
        """Go on behind a token that was allowed."""
        self._matcher.consume_token(token)

    @property
    def done(self) -> bool:
        """Whether the text is complete and nothing but its end can follow."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()


def _tokenizer(generator: Generator) -> LLTokenizer:
    tokenizer = generator.template.tokenizer
    rows = generator.model.get_output_embeddings().weight.shape[0]
    end = generator.template.end_ids[-1]
    ends = [end, *sorted(generator.stop_ids - {end})]
    try:
        return from_tokenizer(tokenizer, n_vocab=max(rows, len(tokenizer)), eos_token=ends)
    except ValueError as error:
        raise SchemaError(f"this generator cannot be held to a schema: {error}") from error


def _why(matcher: LLMatcher) -> str:
    told = " ".join(matcher.get_error().split())
    return "no text can meet it" if not told or "NoExtension" in told else told[:300]
