"""Loading a generator: what is refused before anything is read, and what names a model."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from tuning.device import choose_device
from tuning.errors import GeneratorError, NoChatTemplate, UnsafeModel
from tuning.generator import Generator, import_gguf, load_generator
from tuning.source import public_name

VOCABULARY = 260  # 256 bytes, one merge, three special tokens


@pytest.fixture
def folder(tiny_generator: Path, tmp_path: Path) -> Path:
    """A copy of the tiny generator that a test may spoil."""
    return shutil.copytree(tiny_generator, tmp_path / "model")


@pytest.fixture(scope="module")
def tiny_gguf(tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama of one layer as a GGUF file."""
    from tokenizers import pre_tokenizers

    path = tmp_path_factory.mktemp("gguf") / "Tiny.Q0.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    special = ["<|end|>", "<|user|>", "<|assistant|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer.add_token_list([*alphabet, "he", *special])
    writer.add_token_types([gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL] * 3)
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(257)
    writer.add_chat_template((tiny_generator / "chat_template.jinja").read_text())
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (VOCABULARY, 32),
        "output_norm": (32,),
        "blk.0.attn_norm": (32,),
        "blk.0.attn_q": (32, 32),
        "blk.0.attn_k": (16, 32),
        "blk.0.attn_v": (16, 32),
        "blk.0.attn_output": (32, 32),
        "blk.0.ffn_norm": (32,),
        "blk.0.ffn_gate": (64, 32),
        "blk.0.ffn_up": (64, 32),
        "blk.0.ffn_down": (32, 64),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def load(name: Path | str, models_dir: Path) -> Generator:
    return load_generator(str(name), models_dir=models_dir, device="cpu")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class Poison:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


# -- what is refused


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_with_code_of_its_own_is_refused_before_loading(folder: Path, file: str) -> None:
    code = f"from pathlib import Path\nPath({str(folder / 'ran')!r}).touch()\nclass Model: pass\n"
    (folder / "evil.py").write_text(code)
    edit(folder / file, auto_map={"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Model"})
    (folder / "model.safetensors").write_bytes(b"reading this would fail in other words")
    with pytest.raises(UnsafeModel, match="code of its own"):
        load(folder, folder)
    assert not (folder / "ran").exists()


def test_pickled_weights_are_refused_unopened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Poison(folder / "ran")))
    with pytest.raises(UnsafeModel, match="pickled weights are not opened"):
        load(folder, folder)
    assert not (folder / "ran").exists()


def test_a_model_without_a_chat_template_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(NoChatTemplate, match="no chat template"):
        load(folder, folder)


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=r"holds no config\.json"):
        load(tmp_path, tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_a_damaged_config_is_refused_in_words(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(GeneratorError, match=r"config\.json is damaged"):
        load(folder, folder)


def test_torn_weights_are_refused_in_words(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(GeneratorError, match="cannot be loaded"):
        load(folder, folder)


def test_a_name_that_is_nothing_is_refused_with_what_it_could_be(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="neither 'smollm2-135m-instruct', a folder"):
        load("smollm3", tmp_path)


def test_cuda_is_refused_where_there_is_none() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(GeneratorError, match="torch sees no CUDA device"):
        choose_device("cuda")


# -- GGUF


def test_a_missing_gguf_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="there is no GGUF file at"):
        load(tmp_path / "none.gguf", tmp_path)


def test_a_gguf_file_with_another_hash_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF, but cut off")
    with pytest.raises(GeneratorError, match=r"is damaged: its sha256 is [0-9a-f]{8}"):
        import_gguf(path, models_dir=tmp_path, expect_sha256="b179c952")


def test_a_gguf_file_that_is_none_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"not a model at all")
    with pytest.raises(GeneratorError, match=r"model\.gguf cannot be imported"):
        import_gguf(path, models_dir=tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_gguf_file_is_imported_once(tiny_gguf: Path, tmp_path: Path) -> None:
    generator = load(tiny_gguf, tmp_path)
    [folder] = tmp_path.iterdir()
    made = (folder / "model.safetensors").stat().st_mtime_ns
    again = load(tiny_gguf, tmp_path)
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert again.fingerprint == generator.fingerprint
    assert (generator.name, generator.context_tokens) == ("tiny.q0", 512)
    assert generator.stop_ids == {257}
    ids = generator.template.prompt([{"role": "user", "content": "he<|end|>"}])
    assert ids.count(257) == 1 and generator.template.decode(ids) == "he<|end|>"


def test_an_imported_gguf_model_holds_the_weights_of_the_file(
    tiny_gguf: Path, tmp_path: Path
) -> None:
    reader = gguf.GGUFReader(tiny_gguf)
    stored = next(t for t in reader.tensors if t.name == "blk.0.ffn_up.weight")
    loaded = load(tiny_gguf, tmp_path).model.model.layers[0].mlp.up_proj.weight
    expected = torch.tensor(stored.data).to(torch.bfloat16)
    assert torch.equal(loaded.to(torch.bfloat16), expected)


# -- what is loaded


def test_the_fingerprint_names_weights_tokenizer_and_template(
    tiny_generator: Path, folder: Path, lively_folder: Path
) -> None:
    prints = {load(tiny_generator, folder).fingerprint, load(folder, folder).fingerprint}
    assert len(prints) == 1, "the same model elsewhere has the same fingerprint"
    prints.add(load(lively_folder, folder).fingerprint)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    prints.add(load(folder, folder).fingerprint)
    assert len(prints) == 3


def test_a_loaded_generator_cannot_be_trained_by_accident(generator: Generator) -> None:
    assert not generator.model.training
    assert not any(p.requires_grad for p in generator.model.parameters())
    assert generator.template.end_ids[-1] in generator.stop_ids


def test_a_path_is_not_part_of_a_generators_public_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "Big.Q4.gguf").touch()
    monkeypatch.setenv("HOME", str(folder.parent))
    assert public_name(str(folder)) == public_name("~/model") == "model"
    assert public_name(str(folder / "Big.Q4.gguf")) == "big.q4"
    assert public_name("org/some-model") == "org/some-model"
    assert public_name("smollm2-135m-instruct") == "smollm2-135m-instruct"
