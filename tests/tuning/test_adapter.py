"""Adapters: refused where they do not fit, and swapped without leaving a trace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tuning.adapter import MOST_LOADED, AdapterSet, Card, adapter_digest, new_adapter
from tuning.errors import AdapterError
from tuning.generator import Generator, load_generator
from tuning.records import VoiceConfig

PROMPT_DIGEST = "a-prompt-format"
MakeAdapter = Callable[..., str]


@pytest.fixture(scope="module")
def folder(
    make_adapter: MakeAdapter, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A folder of adapters, one more than may be loaded, and their digests."""
    place = tmp_path_factory.mktemp("adapters")
    return place, [make_adapter(place, seed=seed) for seed in range(MOST_LOADED + 1)]


@pytest.fixture
def adapters(generator: Generator, folder: tuple[Path, list[str]]) -> AdapterSet:
    return AdapterSet(generator, folder=folder[0], prompt_digest=PROMPT_DIGEST)


@torch.inference_mode()
def logits(generator: Generator) -> torch.Tensor:
    ids = generator.template.prompt([{"role": "user", "content": "What does a bag cost?"}])
    return generator.model(torch.tensor([ids])).logits.clone()  # (1, T, vocabulary)


def loaded(generator: Generator) -> set[str]:
    """The adapters whose weights are in the model."""
    return set(generator.model.model.layers[0].mlp.up_proj.lora_A)


def test_an_untrained_adapter_changes_nothing(generator: Generator) -> None:
    before = logits(generator)
    new_adapter(generator, VoiceConfig())
    assert torch.equal(logits(generator), before)


def test_selecting_switches_between_voices_and_back(
    generator: Generator, adapters: AdapterSet, folder: tuple[Path, list[str]]
) -> None:
    first, second, *_ = folder[1]
    heard: dict[str | None, torch.Tensor] = {}
    for digest in (None, first, second):
        adapters.select(digest)
        heard[digest] = logits(generator)
    assert not torch.equal(heard[first], heard[second])
    assert not torch.equal(heard[first], heard[None])
    for digest in (first, None, second, None, first, first):
        adapters.select(digest)
        assert torch.equal(logits(generator), heard[digest])


def test_loading_an_adapter_leaves_the_base_as_it_was_in_bfloat16(
    lively_folder: Path, folder: tuple[Path, list[str]], tmp_path: Path
) -> None:
    # A cast of the whole model once rounded the rotary frequencies along with the adapter.
    generator = load_generator(str(lively_folder), models_dir=tmp_path, device="cpu")
    if generator.dtype != torch.bfloat16:
        pytest.skip("this processor runs float32")
    before = logits(generator)
    adapters = AdapterSet(generator, folder=folder[0], prompt_digest=PROMPT_DIGEST)
    for digest in folder[1][:2]:
        adapters.select(digest)
    adapters.select(None)
    assert torch.equal(logits(generator), before)


def test_the_adapter_unused_for_longest_makes_room(
    generator: Generator, adapters: AdapterSet, folder: tuple[Path, list[str]]
) -> None:
    *first, last = folder[1]
    heard = {}
    for digest in first:
        adapters.select(digest)
        heard[digest] = logits(generator)
    assert loaded(generator) == set(first)
    adapters.select(first[0])  # now the second is the one unused for longest
    adapters.select(last)
    assert loaded(generator) == {*first, last} - {first[1]}
    for digest in (first[1], first[0]):
        adapters.select(digest)
        assert torch.equal(logits(generator), heard[digest])
    assert len(loaded(generator)) == MOST_LOADED


def test_an_adapter_for_another_base_is_refused_naming_both(
    generator: Generator, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    digest = make_adapter(tmp_path, seed=0, base="big", base_fingerprint="0123456789abcdef")
    adapters = AdapterSet(generator, folder=tmp_path, prompt_digest=PROMPT_DIGEST)
    with pytest.raises(AdapterError, match="trained on base big") as refused:
        adapters.select(digest)
    assert "0123456789abcdef" in str(refused.value) and generator.fingerprint in str(refused.value)


def test_an_adapter_of_another_prompt_format_is_refused_naming_both(
    generator: Generator, folder: tuple[Path, list[str]]
) -> None:
    adapters = AdapterSet(generator, folder=folder[0], prompt_digest="another-format")
    with pytest.raises(AdapterError, match=r"a-prompt-format.* another-format: train it again"):
        adapters.select(folder[1][0])


def altered(
    source: Path, target: Path, change: Callable[[str, torch.Tensor], tuple[str, torch.Tensor]]
) -> str:
    """A copy of an adapter with other weights, under its own digest."""
    shutil.copytree(source, target / "altered")
    file = target / "altered" / "adapter_model.safetensors"
    save_file(dict(change(*item) for item in load_file(file).items()), file)
    digest = adapter_digest(target / "altered")
    (target / "altered").rename(target / digest)
    return digest


@pytest.mark.parametrize(
    ("change", "words"),
    ids=["zeroed", "no numbers", "fewer inputs", "another layer", "another kind"],
    argvalues=[
        (lambda n, w: (n, w * 0 if "lora_B" in n else w), "changes nothing"),
        (lambda n, w: (n, w * float("nan")), "gives no numbers"),
        (lambda n, w: (n, w[:, :-1].clone()), "has 64 where the adapter has 63"),
        (lambda n, w: (n.replace("layers.1", "layers.7"), w), "there is no linear layer"),
        (lambda n, w: (n.replace("lora_A", "lora_C"), w), "is no LoRA weight"),
    ],
)
def test_an_adapter_that_does_nothing_or_does_not_fit_is_refused_naming_both_bases(
    generator: Generator,
    folder: tuple[Path, list[str]],
    tmp_path: Path,
    change: Callable[[str, torch.Tensor], tuple[str, torch.Tensor]],
    words: str,
) -> None:
    good = folder[1][0]
    shutil.copytree(folder[0] / good, tmp_path / good)
    bad = altered(tmp_path / good, tmp_path, change)
    before = logits(generator)
    adapters = AdapterSet(generator, folder=tmp_path, prompt_digest=PROMPT_DIGEST)
    for _ in range(2):  # as the very first one, and beside another
        with pytest.raises(AdapterError, match=words) as refused:
            adapters.select(bad)
        assert str(refused.value).count(generator.fingerprint) == 2
        adapters.select(None)
        assert torch.equal(logits(generator), before)
        adapters.select(good)
        assert not torch.equal(logits(generator), before)


def test_an_adapter_without_effect_may_be_judged(
    generator: Generator, folder: tuple[Path, list[str]], tmp_path: Path
) -> None:
    # A training that did not help leaves one; it is the gate that says so.
    source = folder[0] / folder[1][0]
    idle = altered(source, tmp_path, lambda n, w: (n, w * 0 if "lora_B" in n else w))
    before = logits(generator)
    adapters = AdapterSet(
        generator, folder=tmp_path, prompt_digest=PROMPT_DIGEST, idle_allowed=True
    )
    adapters.select(idle)
    assert torch.equal(logits(generator), before)


@pytest.mark.parametrize("what", ["weights", "tokenizer", "template"])
def test_an_adapter_is_refused_once_its_base_was_changed(
    lively_folder: Path, make_adapter: MakeAdapter, tmp_path: Path, what: str
) -> None:
    digest = make_adapter(tmp_path, seed=3)
    trained_on = Card.load(tmp_path / digest).base_fingerprint
    changed = shutil.copytree(lively_folder, tmp_path / "changed")
    tokenizer = AutoTokenizer.from_pretrained(changed)
    if what == "weights":
        weights = load_file(changed / "model.safetensors")
        weights["model.norm.weight"] *= 1.01
        save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    elif what == "tokenizer":
        tokenizer.add_tokens(["house"])
    else:
        tokenizer.chat_template += " "
    tokenizer.save_pretrained(changed)
    generator = load_generator(str(changed), models_dir=tmp_path, device="cpu")
    adapters = AdapterSet(generator, folder=tmp_path, prompt_digest=PROMPT_DIGEST)
    with pytest.raises(AdapterError, match="train it again") as refused:
        adapters.select(digest)
    assert trained_on in str(refused.value) and generator.fingerprint in str(refused.value)
    assert trained_on != generator.fingerprint


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "words"),
    ids=["weights", "config", "no weights", "no card", "torn card", "short card", "gone"],
    argvalues=[
        (lambda f: _flip(f / "adapter_model.safetensors"), "has another hash"),
        (lambda f: _flip(f / "adapter_config.json"), "has another hash"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "is incomplete"),
        (lambda f: (f / "card.json").unlink(), "no readable card"),
        (lambda f: (f / "card.json").write_text("{"), "no readable card"),
        (lambda f: (f / "card.json").write_text(json.dumps({"voice": "x"})), "no readable card"),
        (shutil.rmtree, "not on disk"),
    ],
)
def test_a_spoiled_adapter_is_refused_and_the_voice_stays(
    generator: Generator,
    folder: tuple[Path, list[str]],
    tmp_path: Path,
    spoil: Callable[[Path], object],
    words: str,
) -> None:
    good, bad, *_ = folder[1]
    for digest in (good, bad):
        shutil.copytree(folder[0] / digest, tmp_path / digest)
    spoil(tmp_path / bad)
    adapters = AdapterSet(generator, folder=tmp_path, prompt_digest=PROMPT_DIGEST)
    adapters.select(good)
    before = logits(generator)
    with pytest.raises(AdapterError, match=words):
        adapters.select(bad)
    adapters.select(good)
    assert torch.equal(logits(generator), before)


def test_a_card_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    card = Card("support", "tiny", "base", "prompt", "data", {"rank": 4}, {"steps": 3})
    card.save(tmp_path)
    assert Card.load(tmp_path) == card


def test_a_card_older_than_tasks_is_read_all_the_same(tmp_path: Path) -> None:
    card = Card("support", "tiny", "base", "prompt", "data", {})
    old = {name: value for name, value in asdict(card).items() if name != "task"}
    (tmp_path / "card.json").write_text(json.dumps(old))
    assert Card.load(tmp_path) == card
