from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from retrieval.embed import Embedder, _Turn
from retrieval.errors import EmbedderError
from retrieval.recipe import fingerprint_of, read_recipe


def test_rows_are_unit_rows_in_the_order_of_the_texts(embedder: Embedder) -> None:
    texts = ["bag", "warranty of the rack is " * 5, "lamp price", "bag"]
    rows = embedder.embed(texts)
    assert rows.shape == (4, embedder.dimension) and rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.allclose(rows[0], rows[3], atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dimension)


def test_a_batch_equals_one_text_at_a_time(embedder: Embedder) -> None:
    texts = [f"{'store ' * (number % 7)}price {number}" for number in range(40)]
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert np.allclose(embedder.embed(texts), alone, atol=1e-5)


def test_rows_equal_those_of_sentence_transformers(
    embedder: Embedder, embedder_folder: Path
) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    reference = sentence_transformers.SentenceTransformer(str(embedder_folder), device="cpu")
    texts = ["the price of a lamp", "refund", "shipping days " * 12]
    rows = reference.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert np.allclose(embedder.embed(texts), rows, atol=1e-4)


def test_nothing_of_a_long_text_is_cut_off(embedder: Embedder) -> None:
    long = "bag " * 200
    owners, rows = embedder.embed_windows(["lamp", long])
    assert owners.tolist() == [0] + [1] * (len(rows) - 1) and len(rows) > 4
    assert embedder.embed([long]).shape == (1, embedder.dimension)
    exact = "bag " * embedder.max_tokens
    assert len(embedder.embed_windows([exact])[0]) == 1


def test_special_tokens_in_a_text_are_text(embedder: Embedder) -> None:
    assert embedder.count_tokens(["[SEP]"]) == [5]
    assert not np.allclose(embedder.embed(["bag [SEP]"]), embedder.embed(["bag"]), atol=1e-4)


def test_progress_counts_texts_up_to_all(embedder: Embedder) -> None:
    seen: list[tuple[int, int]] = []
    embedder.embed(["bag"] * 40, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(16, 40), (32, 40), (40, 40)]


def test_a_query_goes_before_passages_that_wait() -> None:
    turn, order, waiting = _Turn(), [], threading.Semaphore(0)

    def take(name: str, first: bool) -> None:
        waiting.release()
        with turn.take(first=first):
            order.append(name)

    with turn.take(first=False):
        threads = [threading.Thread(target=take, args=("passages", False)) for _ in range(3)]
        threads.append(threading.Thread(target=take, args=("query", True)))
        for thread in threads:
            thread.start()
            waiting.acquire()
        while turn._waiting[True] == 0:
            pass
    for thread in threads:
        thread.join()
    assert order == ["query", "passages", "passages", "passages"]


def test_passages_get_a_turn_under_a_storm_of_queries() -> None:
    # Strict priority starved ingestion for as long as somebody kept searching.
    turn, done = _Turn(), threading.Event()

    def ask() -> None:
        while not done.is_set():
            with turn.take(first=True):
                pass

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        with turn.take(first=False):
            pass
    done.set()
    for thread in threads:
        thread.join()


def test_the_fingerprint_names_everything_that_shapes_a_vector(
    embedder_folder: Path, other_embedder_folder: Path, tmp_path: Path
) -> None:
    base = fingerprint_of(embedder_folder, numeric_mode="fp32")
    copy = shutil.copytree(embedder_folder, tmp_path / "copy")
    (copy / "README.md").write_text("a description changes nothing")
    assert fingerprint_of(copy, numeric_mode="fp32") == base
    assert fingerprint_of(copy, numeric_mode="bf16") != base
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    assert fingerprint_of(copy, numeric_mode="fp32") != base
    assert fingerprint_of(other_embedder_folder, numeric_mode="fp32") != base


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.py"}}, "code of its own"),
        ("modules.json", [{"type": "os.system", "path": ""}], "code of its own"),
        ("modules.json", [{"type": "sentence_transformers.models.CNN"}], "CNN step"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "mean or cls"),
        ("modules.json", None, "cannot read"),
    ],
)
def test_a_folder_that_wants_more_than_a_known_recipe_is_refused(
    embedder_folder: Path, tmp_path: Path, file: str, content: object, words: str
) -> None:
    copy = shutil.copytree(embedder_folder, tmp_path / "copy")
    (copy / file).write_text("{" if content is None else json.dumps(content))
    with pytest.raises(EmbedderError, match=words):
        read_recipe(copy)


def test_pickled_weights_are_refused(embedder_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(embedder_folder, tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(EmbedderError, match="safetensors"):
        Embedder(copy)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match="no model"):
        Embedder(tmp_path)
