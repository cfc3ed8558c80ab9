"""Adapters on disk and in memory: a plain PEFT folder plus a card that says what it fits.

The card is the promise "train as you serve": it names the base model's fingerprint and the
digest of the prompt format. An adapter whose card or weights do not fit is refused, naming both
sides, and so is one that changes nothing. A full fine-tune (`full.py`) is an adapter like others.

Knows no training data and no requests. Read `AdapterSet` first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file

from tuning.errors import AdapterError
from tuning.fit import full_misfit, heard, linear_shapes, misfit
from tuning.full import WEIGHTS, WeightSwitch, load_full, new_full, save_full
from tuning.generator import Generator
from tuning.records import AdapterKind, VoiceConfig
from tuning.run import fsync_folder

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
    adapter: AdapterKind = "lora"
    parent: str | None = None  # the digest of the version that the training started from

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
                f"but the loaded generator is {base_fingerprint}, of other weights, tokenizer or "
                "chat template: train it again"
            )
        if self.prompt_digest != prompt_digest:
            raise AdapterError(
                f"voice {self.voice!r} was trained with prompt format {self.prompt_digest}, "
                f"but this server builds {prompt_digest}: train it again"
            )


def new_adapter(generator: Generator, config: VoiceConfig, parent: Path | None = None) -> Any:
    """The generator's model with a LoRA adapter on every linear layer, ready to train.

    Adapter weights are float32 over a body in the generator's dtype (rsLoRA scaling,
    Kalajdzievski 2023). A fresh adapter changes nothing at the start: its B matrices are zero.
    With the folder of a `parent` the training goes on from that version. Where `config` asks for
    a full fine-tune there is no adapter: all of the model's weights are trained.
    """
    if config.adapter == "full":
        return new_full(generator, parent)
    model: Any
    with _quiet():
        if parent is None:
            model = get_peft_model(generator.model, _lora(config))
        else:
            model = PeftModel.from_pretrained(generator.model, parent, is_trainable=True)
    # By name: the path of a machine would give the same adapter another digest elsewhere.
    model.peft_config["default"].base_model_name_or_path = generator.name
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            setattr(module, "cast_input_dtype_enabled", False)  # noqa: B010  # autocast does it, without a copy
    return model


def _lora(config: VoiceConfig) -> LoraConfig:
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        use_rslora=True,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def check_parent(
    parent: Path, config: VoiceConfig, *, base_fingerprint: str, prompt_digest: str
) -> VoiceConfig:
    """The settings of a training that goes on from a version: rank and alpha are the parent's.

    Raises:
        AdapterError: the parent is not on disk or damaged, is of another base, prompt format or
            kind.
    """
    card = _whole(parent)
    card.check(base_fingerprint=base_fingerprint, prompt_digest=prompt_digest)
    if card.adapter != config.adapter:
        raise AdapterError(
            f"version {parent.name} is a {card.adapter!r} adapter and cannot be trained on as "
            f'{config.adapter!r}: ask for "adapter": "{card.adapter}", or start from the base'
        )
    if card.adapter == "full":
        return config
    lora = json.loads((parent / "adapter_config.json").read_text())
    return replace(config, rank=lora["r"], alpha=lora["lora_alpha"])


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter alone; PEFT would otherwise ask the hub whether the vocabulary grew."""
    if isinstance(model, PeftModel):
        model.save_pretrained(str(folder), save_embedding_layers=False)
    else:
        save_full(model, folder)


def load_adapter(model: Any, folder: Path) -> None:
    """Put what `save_adapter` has written back into a model of `new_adapter`."""
    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
    else:
        load_full(model, folder)


def adapter_digest(folder: Path) -> str:
    """The name of an adapter: sha256 of its weights and configuration, 16 hex digits."""
    full = (folder / WEIGHTS).is_file()
    digest = hashlib.sha256()
    for file in (WEIGHTS,) if full else ("adapter_model.safetensors", "adapter_config.json"):
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
    weights. At most `MOST_LOADED` stay in memory; the one unused for longest goes first. Of full
    fine-tunes one is kept at most (`full.py`).

    An adapter without an effect is refused, unless it is to be judged (`idle_allowed`): what
    changes nothing serves nobody, but the gate must be able to say so.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        folder: Path,
        prompt_digest: str,
        idle_allowed: bool = False,
    ) -> None:
        self._generator = generator
        self._folder = folder
        self._prompt_digest = prompt_digest
        self._idle_allowed = idle_allowed
        self._shapes = linear_shapes(generator.model)
        self._full = WeightSwitch(generator)
        self._model: Any = None  # a PeftModel once an adapter was loaded
        self._loaded: list[str] = []  # LoRA adapters; the one used last stands last
        self._selected: str | None = None
        self._base_logits: torch.Tensor | None = None

    def select(self, digest: str | None) -> None:
        """Make the generator's model speak with this adapter, or with the base's own voice.

        Raises:
            AdapterError: not on disk, damaged, made for another base or prompt format, or
                without any effect.
        """
        if digest == self._selected:
            return
        if digest is not None and digest != self._full.digest and digest not in self._loaded:
            self._load(digest)
        self._speak(digest)

    def _speak(self, digest: str | None) -> None:
        """Switch between what is in memory."""
        full = digest if digest is not None and digest == self._full.digest else None
        self._full.use(full)
        if self._model is not None:
            if digest is None or full is not None:
                self._model.base_model.disable_adapter_layers()
            else:
                self._model.base_model.enable_adapter_layers()
                self._model.set_adapter(digest)
                self._loaded.remove(digest)
                self._loaded.append(digest)
        self._selected = digest

    def _load(self, digest: str) -> None:
        folder = self._folder / digest
        card = _whole(folder)
        card.check(base_fingerprint=self._generator.fingerprint, prompt_digest=self._prompt_digest)
        if card.adapter == "full":
            why = full_misfit(folder / WEIGHTS, self._full.base)
        else:
            why = misfit(folder / "adapter_model.safetensors", self._shapes)
        if why is not None:
            raise self._refused(card, digest, f"does not fit the loaded base: {why}")
        self._speak(None)
        if self._base_logits is None:
            self._base_logits = heard(self._generator)
        if card.adapter == "full":
            self._full.load(digest, folder)
        else:
            self._load_lora(digest, folder)
        self._speak(digest)
        logits = heard(self._generator)
        silent = not self._idle_allowed and torch.equal(logits, self._base_logits)
        if silent or not logits.isfinite().all():
            self._speak(None)
            self._unload(digest)
            fault = "changes nothing: its logits are the base's" if silent else "gives no numbers"
            raise self._refused(card, digest, fault)
        if len(self._loaded) > MOST_LOADED:
            self._unload(self._loaded[0])

    def _load_lora(self, digest: str, folder: Path) -> None:
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

    def _unload(self, digest: str) -> None:
        if digest == self._full.digest:
            self._full.drop()
            return
        self._loaded.remove(digest)
        with _quiet():  # PEFT says which one it makes active instead; `_speak` decides that
            self._model.delete_adapter(digest)

    def _refused(self, card: Card, digest: str, fault: str) -> AdapterError:
        return AdapterError(
            f"adapter {digest} of voice {card.voice!r}, trained on base {card.base} "
            f"({card.base_fingerprint}; the loaded generator is {self._generator.fingerprint}), "
            f"{fault}. Train the voice again"
        )


def _whole(folder: Path) -> Card:
    """The card of an adapter whose files are all there and unchanged; raises AdapterError."""
    if not folder.is_dir():
        raise AdapterError(f"adapter {folder.name} is not on disk: train the voice again")
    card = Card.load(folder)
    try:
        whole = adapter_digest(folder) == folder.name
    except OSError as error:
        raise AdapterError(f"adapter {folder.name} is incomplete: {error}") from error
    if not whole:
        raise AdapterError(f"adapter {folder.name} is damaged: its content has another hash")
    return card


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
