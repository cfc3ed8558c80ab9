"""How a sentence-transformers folder turns text into a vector, read from its JSON files.

Everything that changes the vectors is here or in the weights, so the fingerprint is made here
too. No model is loaded, and nothing in a folder is run: a folder that asks for code of its own
is refused before loading.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import EmbedderError

# Files that change no vector: descriptions and what training left behind.
_NOT_PART = {"data_config.json", "trainer_state.json", "training_args.json", "card.json"}
_PART_SUFFIXES = {".json", ".txt", ".model", ".safetensors"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What stands between the transformer and the unit row. `max_tokens` 0: as the model says."""

    pooling: str
    max_tokens: int
    query_prefix: str
    passage_prefix: str


def read_recipe(folder: Path) -> Recipe:
    """Read the recipe; `EmbedderError` if the folder holds a step that is not known here."""
    config = _read_json(folder / "config.json")
    if not config:
        raise EmbedderError(f"{folder} holds no model (there is no readable config.json in it)")
    if "auto_map" in config or "auto_map" in _read_json(folder / "tokenizer_config.json"):
        raise EmbedderError(f"the model in {folder} wants to run code of its own: refused")
    if not list(folder.glob("*.safetensors")):
        raise EmbedderError(f"{folder} has no weights in safetensors format; pickles are not read")
    pooling = "mean"
    for module in _read_json(folder / "modules.json") or []:
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        where = folder / str(module.get("path", ""))
        if not str(module.get("type", "")).startswith("sentence_transformers."):
            raise EmbedderError(f"the model in {folder} wants to run code of its own: refused")
        if kind == "Pooling":
            pooling = _pooling(_read_json(where / "config.json"), folder)
        elif kind == "Transformer" and where.resolve() != folder.resolve():
            raise EmbedderError(f"the transformer of {folder} must lie in the folder itself")
        elif kind not in ("Transformer", "Normalize"):
            raise EmbedderError(f"the model in {folder} has a {kind} step, which is not supported")
    prompts = _read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    return Recipe(
        pooling=pooling,
        max_tokens=int(_read_json(folder / "sentence_bert_config.json").get("max_seq_length") or 0),
        query_prefix=str(prompts.get("query") or ""),
        passage_prefix=str(prompts.get("document") or prompts.get("passage") or ""),
    )


def fingerprint_of(folder: Path, *, numeric_mode: str) -> str:
    """Name the space of the vectors: 32 hexadecimal digits of everything that shapes them.

    Weights, tokenizer, modules, pooling, normalisation, prefixes, window and numeric mode. Two
    folders with the same files have the same fingerprint; vectors are only ever compared under
    one.
    """
    whole = hashlib.sha256(f"houseword-1\n{numeric_mode}\n".encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _PART_SUFFIXES and path.name not in _NOT_PART:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{path.relative_to(folder).as_posix()}\n{digest}\n".encode())
    return whole.hexdigest()[:32]


def _pooling(config: Any, folder: Path) -> str:
    chosen = [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in config.items()
        if key.startswith("pooling_mode_") and value is True
    ] or [str(config.get("pooling_mode", "mean"))]
    if chosen not in (["mean"], ["cls"]):
        raise EmbedderError(f"the pooling {chosen} of {folder} is not supported: mean or cls")
    return chosen[0]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EmbedderError(f"cannot read {path}: {error}") from error
