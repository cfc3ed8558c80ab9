"""Adapters on disk and in memory: a plain PEFT folder plus a card that says what it fits.

The card is the promise "train as you serve": it names the base model's fingerprint and the
digest of the prompt format. An adapter whose card does not fit is refused, naming both sides.

Knows no training data and no requests. Read `AdapterSet` first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from tuning.errors import AdapterError
from tuning.generator import Generator
from tuning.records import VoiceConfig

CARD = "card.json"
MOST_LOADED = 8


@dataclass(frozen=True, slots=True)
class Card:
    """What an adapter is: its voice, its base, its prompt format, its data and its figures.

    `task` is a `tuning.task.Task` as JSON; empty for a voice older than tasks, which replies
    from documents.
    """

    voice: str
    base: str
    base_fingerprint: str
    prompt_digest: str
    data_digest: str
    config: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        (folder / CARD).write_text(json.dumps(asdict(self), indent=2, sort_keys=True))

    @classmethod
    def load(cls, folder: Path) -> Card:
        try:
            return cls(**json.loads((folder / CARD).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise AdapterError(f"adapter {folder.name} has no readable card: {error}") from error

    def check(self, *, base_fingerprint: str, prompt_digest: str) -> None:
        """Raise AdapterError unless the adapter fits this base and this prompt format."""
        if self.base_fingerprint != base_fingerprint:
            raise AdapterError(
                f"voice {self.voice!r} was trained on base {self.base} ({self.base_fingerprint}), "
                f"but the loaded generator is {base_fingerprint}: train it again"
            )
        if self.prompt_digest != prompt_digest:
            raise AdapterError(
                f"voice {self.voice!r} was trained with prompt format {self.prompt_digest}, "
                f"but this server builds {prompt_digest}: train it again"
            )


def new_adapter(generator: Generator, config: VoiceConfig) -> Any:
    """The generator's model with a fresh LoRA adapter on every linear layer, ready to train.

    Adapter weights are float32 over a body in the generator's dtype (rsLoRA scaling,
    Kalajdzievski 2023). At the start the adapter changes nothing: its B matrices are zero.
    """
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        use_rslora=True,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with _quiet():
        model = get_peft_model(generator.model, lora)
    # By name: the path of a machine would give the same adapter another digest elsewhere.
    model.peft_config["default"].base_model_name_or_path = generator.name
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            setattr(module, "cast_input_dtype_enabled", False)  # noqa: B010  # autocast does it, without a copy
    return model


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter alone; PEFT would otherwise ask the hub whether the vocabulary grew."""
    model.save_pretrained(folder, save_embedding_layers=False)


def adapter_digest(folder: Path) -> str:
    """The name of an adapter: sha256 of its weights and configuration, 16 hex digits."""
    digest = hashlib.sha256()
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        digest.update((folder / file).read_bytes())
    return digest.hexdigest()[:16]


def place_adapter(aside: Path, place: Path) -> None:
    """Move a complete adapter folder to the place that its digest names; twice is as once."""
    try:
        whole = adapter_digest(place) == place.name
    except OSError:
        whole = False
    if not whole:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(aside, part)
        fsync_folder(part)
        shutil.rmtree(place, ignore_errors=True)
        part.rename(place)
        fsync_folder(place.parent)
    shutil.rmtree(aside)


class AdapterSet:
    """The adapters of one generator, loaded when first used. Owned by one thread.

    Names are adapter digests, so a retrained voice can never answer from its older version's
    weights. At most `MOST_LOADED` stay in memory; the one unused for longest goes first.
    """

    def __init__(self, generator: Generator, *, folder: Path, prompt_digest: str) -> None:
        self._generator = generator
        self._folder = folder
        self._prompt_digest = prompt_digest
        self._model: Any = None  # a PeftModel once an adapter was loaded
        self._loaded: list[str] = []  # the one used last stands last
        self._selected: str | None = None

    def select(self, digest: str | None) -> None:
        """Make the generator's model speak with this adapter, or with the base's own voice.

        Raises:
            AdapterError: not on disk, damaged, or made for another base or prompt format.
        """
        if digest == self._selected:
            return
        if digest is None:
            self._model.base_model.disable_adapter_layers()
        else:
            self._load(digest)
            self._model.base_model.enable_adapter_layers()
            self._model.set_adapter(digest)
            self._loaded.remove(digest)
            self._loaded.append(digest)
        self._selected = digest

    def _load(self, digest: str) -> None:
        if digest in self._loaded:
            return
        folder = self._folder / digest
        if not folder.is_dir():
            raise AdapterError(f"adapter {digest} is not on disk: train the voice again")
        Card.load(folder).check(
            base_fingerprint=self._generator.fingerprint, prompt_digest=self._prompt_digest
        )
        try:
            whole = adapter_digest(folder) == digest
        except OSError as error:
            raise AdapterError(f"adapter {digest} is incomplete: {error}") from error
        if not whole:
            raise AdapterError(f"adapter {digest} is damaged: its content has another hash")
        with _quiet():
            if self._model is None:
                self._model = PeftModel.from_pretrained(
                    self._generator.model, folder, adapter_name=digest, autocast_adapter_dtype=False
                )
            else:
                self._model.load_adapter(folder, adapter_name=digest, autocast_adapter_dtype=False)
        # PEFT has put the adapter into the dtype of each layer. A cast of the whole model would
        # round the rotary frequencies to bfloat16, and with them every position.
        self._model.eval()
        self._loaded.append(digest)
        self._selected = digest  # loading the first one selects it
        if len(self._loaded) > MOST_LOADED:
            self._model.delete_adapter(self._loaded.pop(0))


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def fsync_folder(folder: Path) -> None:
    """Flush a folder's files and then its entries to the disk."""
    for path in [*(p for p in folder.rglob("*") if p.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
