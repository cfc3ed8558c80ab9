"""A tiny embedder built in code, and a library over it."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.library import Library
from retrieval.parse import Parser

WORDS = "the a of is returns refund warranty shipping days bag rack lamp price store".split()


def build_embedder(folder: Path, *, seed: int = 0, window: int = 64, dimension: int = 32) -> Path:
    """Write a sentence-transformers folder: 2 layers, random weights of this seed."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces += [letter for letter in letters] + [f"##{letter}" for letter in letters]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(pieces[:5])
    torch.manual_seed(seed)
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=dimension,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=window,
        )
    ).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (folder / "1_Pooling").mkdir()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    special |= {"sep_token": "[SEP]", "mask_token": "[MASK]"}
    for name, content in {
        "modules.json": modules,
        "1_Pooling/config.json": {
            "word_embedding_dimension": dimension,
            "pooling_mode_mean_tokens": True,
        },
        "sentence_bert_config.json": {"max_seq_length": window, "do_lower_case": False},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **special},
    }.items():
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def embedder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_embedder(tmp_path_factory.mktemp("embedder"))


@pytest.fixture(scope="session")
def other_embedder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dimension, other weights: another space."""
    return build_embedder(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture(scope="session")
def wider_embedder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another dimension: 48."""
    return build_embedder(tmp_path_factory.mktemp("wider"), seed=2, dimension=48)


@pytest.fixture(scope="session")
def embedder(embedder_folder: Path) -> Embedder:
    return Embedder(embedder_folder, "cpu", numeric_mode="fp32")


@pytest.fixture(scope="session")
def parser() -> Iterator[Parser]:
    made = Parser(timeout_seconds=30)
    yield made
    made.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "houseword.db")
    yield made
    made.close()


@pytest.fixture
def library(database: Database, embedder: Embedder, parser: Parser, tmp_path: Path) -> Library:
    made = Library(database, embedder, folder=tmp_path / "generations", parser=parser)
    made.stores.create("vs", owner="local", name="docs")
    return made
