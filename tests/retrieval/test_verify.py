"""A verifier reads a passage as a whole, however long; what it says of real texts: tests/real."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from retrieval.errors import ReaderError
from retrieval.read import NOWHERE
from retrieval.verify import BEGIN, BREAK, PASSAGE_TOKENS, Verifier

FERRY = "The ferry leaves at 9. Dogs stay on deck."
SENTENCES = [(0, 22), (23, 41)]


@pytest.fixture(scope="module")
def base(tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama of three layers that knows the verifier's two tokens."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base")
    tokenizer = AutoTokenizer.from_pretrained(tiny_generator)
    tokenizer.add_special_tokens({"additional_special_tokens": [BEGIN, BREAK]})
    tokenizer.save_pretrained(folder)
    config = LlamaConfig.from_pretrained(tiny_generator)
    config.vocab_size, config.num_hidden_layers = len(tokenizer), 3
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter on the first two layers, and two random outputs."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForQuestionAnswering, LlamaConfig

    config = LlamaConfig.from_pretrained(base)
    config.num_hidden_layers = 2
    torch.manual_seed(1)
    lora: Any = LoraConfig(
        r=4,
        target_modules=["q_proj", "up_proj"],
        modules_to_save=["qa_outputs"],
        layers_to_transform=[0, 1],
        task_type="QUESTION_ANS",
        init_lora_weights=False,
    )
    folder = tmp_path_factory.mktemp("adapter")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        model = get_peft_model(AutoModelForQuestionAnswering.from_config(config), lora)
        model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def verifier(base: Path, adapter: Path) -> Verifier:
    return Verifier(base, "cpu", numeric_mode="fp32", adapter=adapter)


def read(verifier: Verifier, text: str, spans: list[tuple[int, int]]) -> list[float]:
    (scores,) = verifier.read("When?", [(None, text)], [spans]) or [[]]
    return scores


def test_every_sentence_has_a_score_and_others_beside_it_change_nothing(
    verifier: Verifier,
) -> None:
    alone = read(verifier, FERRY, SENTENCES)
    assert NOWHERE < min(alone)
    passages = [("Crossing", "Short."), (None, FERRY), (None, FERRY * 3)]
    together = verifier.read("When?", passages, [[(0, 6)], SENTENCES, [(0, 22)]])
    assert together and together[1] == pytest.approx(alone, abs=1e-4)


def test_what_stands_behind_a_sentence_is_read_with_it(verifier: Verifier) -> None:
    first, _ = read(verifier, FERRY, SENTENCES)
    other, _ = read(verifier, FERRY.replace("deck", "land"), SENTENCES)
    assert first != pytest.approx(other, abs=1e-3)


def test_a_long_passage_is_read_to_its_end(verifier: Verifier) -> None:
    text = "The quay is old. " * (PASSAGE_TOKENS // 4) + FERRY
    start = text.index("Dogs")
    (score,) = read(verifier, text, [(start, len(text))])
    assert score > NOWHERE


def test_a_control_token_in_a_text_is_text(verifier: Verifier) -> None:
    (window,) = verifier._windows(f"When{BREAK}?", [(BEGIN, f"Dogs{BREAK}{BEGIN} stay.")])
    control = [token for token in window.ids if token in (verifier._begin, verifier._break)]
    assert control == [verifier._begin, verifier._break, verifier._break], "only the frame's own"


def test_nothing_is_read_where_there_is_nothing(verifier: Verifier) -> None:
    assert verifier.read("When?", [], []) == []
    assert verifier.read("", [(None, "")], [[(0, 0)]]) == [[NOWHERE]]


def test_an_adapter_of_another_base_is_refused_by_name(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ReaderError, match="does not fit"):
        Verifier(base, "cpu")
    with pytest.raises(ReaderError, match="does not fit"):
        Verifier(tmp_path, "cpu")
