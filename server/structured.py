"""What an answer must consist of: by the request's schema, or by the labels or fields of the voice.

It knows no wire and no model; `tuning.grammar` compiles and holds the answer to it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from server.errors import ApiError
from tuning.errors import SchemaError

if TYPE_CHECKING:
    from server.answer import Question
    from tuning.grammar import Grammars

logger = logging.getLogger(__name__)


def structured(grammars: Grammars, task: Mapping[str, Any], question: Question) -> Question:
    """The question with what its answer must consist of, where the request or the voice says so.

    The request's schema goes before the labels or the fields on the voice's card.

    Raises:
        SchemaError: the request's schema cannot be used.
        ApiError: a stop text would cut the answer.
    """
    if question.schema is not None:
        grammar: str | None = grammars.of_schema(question.schema)
    else:
        grammar = voice_grammar(grammars, task)
    if grammar is None:
        return question
    if question.sampling.stop:
        message = "A stop text would cut a structured answer in the middle: leave stop out."
        raise ApiError(400, message, param="stop", code="unsupported_value")
    return replace(question, sampling=replace(question.sampling, grammar=grammar))


def voice_grammar(grammars: Grammars, task: Mapping[str, Any]) -> str | None:
    """What a voice of labels or JSON writes; None where its card does not tell."""
    try:
        if task["kind"] == "label" and task.get("labels"):
            return grammars.of_texts(task["labels"])
        if task["kind"] == "json" and task.get("schema"):
            return grammars.of_schema(task["schema"])
    except SchemaError as error:
        logger.warning("a voice answers unconstrained: %s", error)
    return None
