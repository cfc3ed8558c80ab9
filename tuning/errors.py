"""What can go wrong with generators, adapters and training data.

TuningError
├── GeneratorError(ValueError)      a generator that cannot be loaded or used
│   ├── NoChatTemplate              the model has no chat template
│   └── UnsafeModel                 remote code or pickled weights
├── AdapterError(ValueError)        an adapter that does not fit its base or its prompt format
├── PromptTooLong(ValueError)       more tokens than the context holds
├── SchemaError(ValueError)         a JSON schema that no answer can be held to
├── StyleError(ValueError)          texts that no style can be learnt from
├── ExamplesError(ValueError)       training data with line numbers and reasons
├── Diverged(ArithmeticError)       a training whose loss is no longer a number
└── RunError(RuntimeError)          a run folder that cannot be used
"""

from __future__ import annotations


class TuningError(Exception):
    """Base of every error that this package raises on purpose."""


class GeneratorError(TuningError, ValueError):
    """A generator cannot be loaded; the message says why and what to try."""


class NoChatTemplate(GeneratorError):
    """The model's tokenizer has no chat template, so prompts cannot be built for it."""


class UnsafeModel(GeneratorError):
    """The model asks for its own code or for pickled weights; neither is ever run."""


class AdapterError(TuningError, ValueError):
    """An adapter was made for another base model or another prompt format."""


class PromptTooLong(TuningError, ValueError):
    """The prompt and the requested answer do not fit into the context."""


class SchemaError(TuningError, ValueError):
    """A JSON schema is too large, not supported, or met by no text; the message says which."""


class Diverged(TuningError, ArithmeticError):
    """The loss is no longer a number; the message says what to lower."""


class RunError(TuningError, RuntimeError):
    """A run folder is incomplete or was not written by this program."""


class StyleError(TuningError, ValueError):
    """A side of a style comparison holds no text; the message says which."""


class ExamplesError(TuningError, ValueError):
    """Training data with faults.

    `problems` holds (line number from 1, reason) pairs, first line first. The message gives the
    reasons of the first `REASONS`, the numbers of the next `NUMBERS` and the count of all.
    """

    REASONS, NUMBERS = 5, 20

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        self.problems = problems
        shown = "; ".join(f"line {n}: {why}" if n else why for n, why in problems[: self.REASONS])
        if more := problems[self.REASONS :]:
            numbers = ", ".join(str(n) for n, _ in more[: self.NUMBERS])
            shown += f"; and {len(more)} more, in lines {numbers}"
            shown += ", …" if len(more) > self.NUMBERS else ""
        super().__init__(shown)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; torch says so in a RuntimeError's words."""
    if isinstance(error, MemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in words or "can't allocate memory" in words
    )
