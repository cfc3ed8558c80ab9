"""A verifier reads what a reader has found once more, with a language model's understanding.

The reader (`read.py`) is small, to look at every hit of a question, and takes many a near miss
for an answer. The verifier is the default generator, whose tokens may look at each other in both
directions here, with a LoRA adapter that was trained as the reader's was. It costs ten times as
much, so it reads the best hits only. Read `Verifier.read` first;
`data/verifier/README.md` tells how it was made.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from retrieval.embed import choose_device
from retrieval.errors import ReaderError
from retrieval.read import (
    NOWHERE,
    OUTSIDE,
    OVERLAP_TOKENS,
    QUESTION_TOKENS,
    Span,
    head_of,
    quietly,
    span_scores,
)

BUILT_IN = Path(__file__).resolve().parent.parent / "data" / "verifier"
PASSAGE_TOKENS = 256  # of a window; a longer passage is read in several
BEGIN, BREAK = "<|im_start|>", "<|im_end|>"  # the first stands for "no answer", too


@dataclass(frozen=True, slots=True)
class _Window:
    """Tokens of a question and of a part of the `owner`-th passage.

    `places` is (tokens, 2), the characters of the passage that each token stands for.
    """

    owner: int
    ids: list[int]
    places: NDArray[np.int64]


class Verifier:
    """Where in passages a question is answered, if at all; for English. Safe from any thread.

    `base` is the folder of the default generator as safetensors. Raises `ReaderError` where it
    or the built-in adapter is missing or damaged.
    """

    name = "built-in verifier"

    def __init__(
        self,
        base: Path,
        device: str = "auto",
        *,
        numeric_mode: str = "auto",
        adapter: Path = BUILT_IN,
    ) -> None:
        from transformers import AutoTokenizer

        self._device, mode = choose_device(device, numeric_mode, "verifier")
        dtype = torch.bfloat16 if mode == "bf16" else torch.float32
        self._model = _load(base, adapter).to(self._device, dtype).eval()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
        self._begin, self._break = self._tokenizer(BEGIN + BREAK)["input_ids"]
        self._turn = threading.Lock()  # a fast tokenizer must not be used by two threads

    def read(
        self, question: str, passages: Sequence[tuple[str | None, str]], spans: Sequence[list[Span]]
    ) -> list[list[float]] | None:
        """Return for every span of every passage how likely the answer lies in it.

        As `retrieval.read.Reader.read`: logits of an answer inside the span less that of none.
        """
        scores = [[NOWHERE] * len(own) for own in spans]
        windows = list(self._windows(question, passages))
        if not windows:
            return scores
        longest = max(len(window.ids) for window in windows)
        ids = torch.zeros(len(windows), longest, dtype=torch.long)
        real = torch.zeros(len(windows), longest, dtype=torch.bool)
        for row, window in enumerate(windows):
            ids[row, : len(window.ids)] = torch.tensor(window.ids)
            real[row, : len(window.ids)] = True
        seen = real[:, None, None, :].expand(-1, 1, longest, longest)  # by every token, not causal
        with torch.inference_mode():
            found = self._model(
                input_ids=ids.to(self._device),
                attention_mask=seen.to(self._device),
                use_cache=False,
            )
        begins, ends = (
            logits.float().cpu().numpy() for logits in (found.start_logits, found.end_logits)
        )
        for row, window in enumerate(windows):
            length, own = len(window.ids), spans[window.owner]
            better = span_scores(begins[row, :length], ends[row, :length], window.places, own)
            pairs = zip(scores[window.owner], better, strict=True)
            scores[window.owner] = [max(pair) for pair in pairs]
        return scores

    def _windows(
        self, question: str, passages: Sequence[tuple[str | None, str]]
    ) -> Iterator[_Window]:
        if not passages:
            return
        texts = [head_of(heading) + text for heading, text in passages]
        with self._turn:
            # A control token is text in a text.
            options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
            asked = self._tokenizer(question, **options)["input_ids"][-QUESTION_TOKENS:]
            encoded = self._tokenizer(texts, return_offsets_mapping=True, **options)
        before = [self._begin, *asked, self._break]
        for owner, (heading, text) in enumerate(passages):
            tokens, offsets = encoded["input_ids"][owner], encoded["offset_mapping"][owner]
            head = len(head_of(heading))
            own = [_trimmed(place, head, text) for place in offsets]
            for first in range(
                0, max(len(tokens) - OVERLAP_TOKENS, 1), PASSAGE_TOKENS - OVERLAP_TOKENS
            ):
                part = slice(first, first + PASSAGE_TOKENS)
                nothing = [(OUTSIDE, OUTSIDE)]
                places = nothing * len(before) + own[part] + nothing
                yield _Window(owner, [*before, *tokens[part], self._break], np.array(places))


def _trimmed(place: Span, head: int, text: str) -> Span:
    """A token's characters in the passage, without the space that it may begin with."""
    start, end = place[0] - head, place[1] - head
    while 0 <= start < end and text[start].isspace():
        start += 1
    return (start, end) if 0 <= start < end else (OUTSIDE, OUTSIDE)


def question_answerer(base: Path, layers: int) -> Any:
    """So many of a language model's first layers with two outputs that have learned nothing yet."""
    from transformers import AutoModel, AutoModelForQuestionAnswering

    body = quietly(AutoModel, base, num_hidden_layers=layers)
    with torch.device("meta"):  # nothing is drawn that is thrown away
        whole: Any = AutoModelForQuestionAnswering.from_config(body.config)
    whole.transformer, whole.qa_outputs = body, torch.nn.Linear(body.config.hidden_size, 2)
    return whole


def _load(base: Path, adapter: Path) -> Any:
    """The layers that the adapter was trained on, with it merged into them."""
    from peft import PeftConfig, PeftModel

    try:
        config: Any = PeftConfig.from_pretrained(str(adapter))
        whole = question_answerer(base, len(config.layers_to_transform))
        with warnings.catch_warnings():
            # Peft asks transformers for an attribute by its old name.
            warnings.filterwarnings("ignore", category=FutureWarning)
            model: Any = PeftModel.from_pretrained(whole, str(adapter), low_cpu_mem_usage=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ReaderError(f"the verifier in {adapter} does not fit {base}: {error}") from error
    return model.merge_and_unload()
