"""A reader says where in a passage a question is answered, and whether it is answered at all.

An embedder tells what a passage is about; only a model that reads question and passage together
tells "the ferry sails at 9" from "a ticket costs 4" as answers to "What does a ticket cost?". The
reader is an extractive question answerer trained on questions that have no answer (SQuAD 2.0's
task): each token may begin or end the answer, and the first token stands for "no answer". It
knows no stores. Read `Reader.read` first; `data/reader/README.md` tells how the built-in one was
made.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from retrieval.embed import DEFAULT_EMBEDDER, choose_device, default_embedder_folder
from retrieval.errors import ReaderError

BUILT_IN = Path(__file__).resolve().parent.parent / "data" / "reader"
QUESTION_TOKENS = 128  # its end: what is asked comes last
HEADING_CHARACTERS = 120
MAX_TOKENS, OVERLAP_TOKENS = 256, 64  # of a window; a longer passage is read in several
ANSWER_TOKENS = 30
NOWHERE = -20.0  # the score of a sentence without a token
OUTSIDE = -1  # the place of a token that is not the passage's

# One word that only English has, or two of those that some other languages have, too.
_ENGLISH = re.compile(
    r"\b(?:the|what|whats|how|when|where|which|who|whose|whom|why|does|did|are|can|could|would"
    r"|should|your|you|our|there|from|with|any|many|much|and|please|tell|write|price|cost|need"
    r"|they|them|because|before|about)\b|\b(?:i|it|we|you|they|he|she)['\u2019](?:m|s|re|ve|ll|d)\b",
    re.IGNORECASE,
)
_PERHAPS_ENGLISH = re.compile(r"\b(?:is|do|it|to|this|be|my|have)\b", re.IGNORECASE)

Span = tuple[int, int]  # characters of a text


class Reader:
    """A question answerer, by its folder or hub name; None is the built-in one, for English.

    A model of one's own is any `AutoModelForQuestionAnswering` that was trained on unanswerable
    questions, too. Weights are read from safetensors only and no code of a model is ever run.
    Raises `ReaderError` where there is no such model. Safe from any thread.
    """

    def __init__(
        self,
        name_or_folder: str | Path | None = None,
        device: str = "auto",
        *,
        numeric_mode: str = "auto",
    ) -> None:
        self.name = str(name_or_folder or "built-in")
        self._english_only = name_or_folder is None
        self._device, mode = choose_device(device, numeric_mode, "reader")
        model, self._tokenizer = _built_in() if name_or_folder is None else _load(self.name)
        dtype = torch.bfloat16 if mode == "bf16" else torch.float32
        self._model = model.to(self._device, dtype).eval()
        self._turn = threading.Lock()  # a fast tokenizer must not be used by two threads

    def read(
        self, question: str, passages: Sequence[tuple[str | None, str]], spans: Sequence[list[Span]]
    ) -> list[list[float]] | None:
        """Return for every span of every passage how likely the answer lies in it.

        `passages` are (heading, text) and `spans[i]` characters of the i-th text. A score is the
        logit of the best answer inside the span less that of "no answer": above 0 the reader has
        found one. None: the question is in a language that this reader has not learned.
        """
        if self._english_only and not _is_english(question):
            return None
        if not passages:
            return []
        heads = [head_of(heading) for heading, _ in passages]
        texts = [head + text for head, (_, text) in zip(heads, passages, strict=True)]
        with self._turn:
            inputs = self._tokenizer(
                [self._end(question)] * len(texts),
                texts,
                truncation="only_second",
                max_length=MAX_TOKENS,
                stride=OVERLAP_TOKENS,
                return_overflowing_tokens=True,
                padding=True,
                return_tensors="pt",
                return_offsets_mapping=True,
                split_special_tokens=True,  # "[SEP]" is text in a text
            )
        places = inputs.pop("offset_mapping").numpy()
        owners = inputs.pop("overflow_to_sample_mapping").tolist()
        with torch.inference_mode():
            found = self._model(**inputs.to(self._device))
        begins, ends = (
            logits.float().cpu().numpy() for logits in (found.start_logits, found.end_logits)
        )
        scores = [[NOWHERE] * len(own) for own in spans]
        for row, owner in enumerate(owners):
            own = places[row] - len(heads[owner])
            own[[part != 1 for part in inputs.sequence_ids(row)]] = OUTSIDE
            better = span_scores(begins[row], ends[row], own, spans[owner])
            scores[owner] = [max(pair) for pair in zip(scores[owner], better, strict=True)]
        return scores

    def _end(self, question: str) -> str:
        """The last `QUESTION_TOKENS` tokens of a question."""
        places = self._tokenizer(
            question,
            add_special_tokens=False,
            return_offsets_mapping=True,
            split_special_tokens=True,
            verbose=False,
        )["offset_mapping"]
        return question[places[-QUESTION_TOKENS:][0][0] :] if places else question


def _is_english(question: str) -> bool:
    perhaps = {word.lower() for word in _PERHAPS_ENGLISH.findall(question)}
    return bool(_ENGLISH.search(question)) or len(perhaps) > 1


def head_of(heading: str | None) -> str:
    """What stands before a passage when it is read."""
    return f"{heading[:HEADING_CHARACTERS]}: " if heading else ""


def span_scores(
    begins: NDArray[np.float32],
    ends: NDArray[np.float32],
    places: NDArray[np.int64],
    spans: Sequence[Span],
) -> list[float]:
    """The best answer within each span of a passage, against none, as a logit.

    `begins` and `ends` are (tokens,) logits, those of the first token for "no answer"; `places`
    (tokens, 2) the characters that each token stands for, `OUTSIDE` where it is not the passage's.
    """
    scores = []
    for start, end in spans:
        inside = (places[:, 0] >= max(start, 0)) & (places[:, 1] <= end)
        scores.append(_best(begins, ends, np.flatnonzero(inside)))
    return scores


def _best(begins: NDArray[np.float32], ends: NDArray[np.float32], at: NDArray[np.int64]) -> float:
    """The best answer of at most `ANSWER_TOKENS` tokens among these, against none at all."""
    if not len(at):
        return NOWHERE
    distance = at[None, :] - at[:, None]
    allowed = (distance >= 0) & (distance < ANSWER_TOKENS)
    pairs = np.where(allowed, begins[at][:, None] + ends[at][None, :], -np.inf)
    return float(pairs.max() - begins[0] - ends[0])


def _built_in() -> tuple[Any, Any]:
    """The default embedder's network with the LoRA adapter of `BUILT_IN` merged into it."""
    from peft import PeftModel
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    folder = default_embedder_folder()
    try:
        base = quietly(AutoModelForQuestionAnswering, folder, local_files_only=True)
        with warnings.catch_warnings():
            # Peft asks transformers for an attribute by its old name.
            warnings.filterwarnings("ignore", category=FutureWarning)
            model: Any = PeftModel.from_pretrained(base, str(BUILT_IN))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ReaderError(f"the built-in reader in {BUILT_IN} is damaged: {error}") from error
    return model.merge_and_unload(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _load(name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    try:
        model = quietly(AutoModelForQuestionAnswering, name)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise ReaderError(
            f"no reader {name!r}: it is no folder with a question answerer, and it could not be "
            f"downloaded ({type(error).__name__}); set HOUSEWORD_READER to a folder or a hub "
            "name, to auto or to none"
        ) from error
    if not tokenizer.is_fast:
        raise ReaderError(
            f"the reader {name!r} has no fast tokenizer, so its answers have no place"
        )
    tokenizer.padding_side = "right"  # the first token stands for "no answer"
    return model, tokenizer


def quietly(loader: Any, name: str | Path, **options: Any) -> Any:
    from transformers.utils import logging as transformers_logging

    level, bars = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_error()  # the built-in head comes with the adapter
    transformers_logging.disable_progress_bar()
    try:
        return loader.from_pretrained(
            name, trust_remote_code=False, use_safetensors=True, dtype=torch.float32, **options
        )
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def reader_for(setting: str, *, embedder: str, device: str = "auto") -> Reader | None:
    """The reader that a setting means: auto, none, a folder or a hub name.

    auto is the built-in reader beside the default embedder; another embedder was chosen for
    other languages or texts, so nothing is read there.
    """
    if setting == "none" or (setting == "auto" and embedder != DEFAULT_EMBEDDER):
        return None
    return Reader(None if setting == "auto" else setting, device)
