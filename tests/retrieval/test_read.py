"""The built-in reader tells an answer from a near miss; another one is read by the same rule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from retrieval.embed import DEFAULT_EMBEDDER
from retrieval.errors import ReaderError
from retrieval.read import BUILT_IN, NOWHERE, Reader, reader_for

FERRY = "The ferry leaves the east quay at 9:00. Two brothers run the ferry. Dogs stay on deck."
SENTENCES = [(0, 39), (40, 67), (68, 86)]


@pytest.fixture(scope="module")
def built_in() -> Reader:
    return Reader(device="cpu")


@pytest.fixture(scope="module")
def own_folder(tiny_embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A question answerer with random weights."""
    from transformers import AutoTokenizer, BertConfig, BertForQuestionAnswering

    folder = tmp_path_factory.mktemp("reader")
    tokenizer = AutoTokenizer.from_pretrained(tiny_embedder)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(tiny_embedder, max_position_embeddings=512)
    BertForQuestionAnswering(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("When does the ferry leave?", 0),
        ("Who runs the ferry?", 1),
        ("Where do dogs have to stay?", 2),
        ("I am travelling with my family. Who runs the ferry?", 1),
    ],
)
def test_it_finds_the_sentence_that_answers(built_in: Reader, question: str, sentence: int) -> None:
    (scores,) = built_in.read(question, [(None, FERRY)], [SENTENCES]) or [[]]
    assert max(scores) == scores[sentence] > 0


@pytest.mark.parametrize(
    "question",
    [
        "What does a ticket for the ferry cost?",
        "How many passengers does the ferry carry?",
        "When was the ferry built?",
        "What is the capital of Mongolia?",
    ],
)
def test_what_is_only_about_the_same_is_no_answer(built_in: Reader, question: str) -> None:
    (scores,) = built_in.read(question, [(None, FERRY)], [SENTENCES]) or [[]]
    assert max(scores) < 0


@pytest.mark.parametrize(
    ("row", "answered", "missing"),
    [
        (
            "item: oar, ash; price: $84; length: 2.4 m; stock: 12",
            ("Give the ash oar's price.", "How long are the ash oars?"),
            ("Give the ash oar's colour.", "What would the pine paddle set me back?"),
        ),
        (
            "date: 4 May 2027; event: Evening walk: owls; led by: Ada Frost; place: north gate",
            ("Who takes the owl walk?", "Where do we meet for the owl walk?"),
            ("What does the owl walk cost?", "Who takes the bat walk?"),
        ),
    ],
)
def test_a_row_of_a_table_is_read(
    built_in: Reader, row: str, answered: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    for question in (*answered, *missing):
        ((score,),) = built_in.read(question, [(None, row)], [[(0, len(row))]]) or []
        assert (score > 0) == (question in answered), (question, score)


def test_a_heading_moves_no_sentence(built_in: Reader) -> None:
    passages = [(None, FERRY), ("Crossing to the island", FERRY)]
    plain, headed = built_in.read("Who runs the ferry?", passages, [SENTENCES, SENTENCES]) or []
    assert max(plain) == plain[1] and max(headed) == headed[1]


def test_strange_input_is_read_all_the_same(built_in: Reader) -> None:
    assert built_in.read("What is it?", [], []) == []
    assert built_in.read("What is it?", [(None, "")], [[]]) == [[]]
    for question in ("what " + "鳥" * 600, "What is it " + "?!" * 400, "[SEP] what [CLS] 😀?"):
        assert built_in.read(question, [("H " * 2000, FERRY)], [SENTENCES])
    assert built_in.read("What is it?", [(None, "\u202e العربية")], [[(0, 9)]])


def test_the_end_of_a_long_passage_is_read_as_its_beginning(built_in: Reader) -> None:
    filler = "The shop has a window on the harbour and a cat that sleeps there. " * 60
    answer = "Two brothers run the ferry."
    question = "the " * 500 + "Who runs the ferry?"
    for text in (f"{answer} {filler}", f"{filler}{answer}"):
        span = (text.index(answer), text.index(answer) + len(answer))
        ((score,),) = built_in.read("Who runs the ferry?", [(None, text)], [[span]]) or []
        assert score > 0
        ((score,),) = built_in.read(question, [(None, text)], [[span]]) or []
        assert score > NOWHERE


@pytest.mark.parametrize(
    "question",
    ["Is it dry?", "Do tents need to be dry?", "price of the bag", "Do bags have straps?"],
)
def test_english_is_read(built_in: Reader, question: str) -> None:
    assert built_in.read(question, [(None, FERRY)], [SENTENCES])


@pytest.mark.parametrize(
    "question",
    [
        "Wann legt die Fähre ab?",
        "Ich will mein Zelt zurückgeben, wie lange geht das?",
        "Hva koster frakt for et telt?",
        "Is de tent droog?",
        "Har I en have?",
        "Czy my mamy namiot?",
    ],
)
def test_other_languages_are_not_read(built_in: Reader, question: str) -> None:
    assert built_in.read(question, [(None, FERRY)], [SENTENCES]) is None


def test_a_damaged_adapter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in BUILT_IN.glob("adapter_*"):
        (tmp_path / file.name).write_bytes(file.read_bytes()[:5000])
    monkeypatch.setattr("retrieval.read.BUILT_IN", tmp_path)
    with pytest.raises(ReaderError, match="damaged"):
        Reader(device="cpu")


def test_the_score_is_the_best_answer_against_none(own_folder: Path) -> None:
    from transformers import AutoTokenizer, BertForQuestionAnswering

    question, text = "Wie viele Taschen?", "the green bag. the red lamp"
    reader = Reader(own_folder, "cpu", numeric_mode="fp32")
    ((first, second),) = reader.read(question, [(None, text)], [[(0, 14), (15, 27)]]) or []
    tokenizer = AutoTokenizer.from_pretrained(own_folder)
    inputs = tokenizer(question, text, return_tensors="pt")
    with torch.no_grad():
        found = BertForQuestionAnswering.from_pretrained(own_folder).eval()(**inputs)
    begins, ends = found.start_logits[0], found.end_logits[0]
    words = inputs.word_ids(0)
    own = [i for i, part in enumerate(inputs.sequence_ids(0)) if part == 1]
    halves = [[i for i in own if words[i] < 4], [i for i in own if words[i] >= 4]]
    right = [
        max(float(begins[i] + ends[j]) for i in half for j in half if i <= j)
        - float(begins[0] + ends[0])
        for half in halves
    ]
    assert [first, second] == pytest.approx(right, abs=1e-4)


def test_a_setting_names_the_reader(own_folder: Path, tmp_path: Path) -> None:
    assert reader_for("none", embedder=DEFAULT_EMBEDDER) is None
    assert reader_for("auto", embedder="another") is None
    own = reader_for(str(own_folder), embedder="another", device="cpu")
    assert own is not None and own.name == str(own_folder)
    with pytest.raises(ReaderError, match="no reader"):
        reader_for(str(tmp_path / "missing"), embedder=DEFAULT_EMBEDDER)


def test_a_control_token_in_a_text_is_text(built_in: Reader) -> None:
    def read(mark: str) -> list[float]:
        text = f"{mark} {FERRY}"
        spans = [(len(mark) + 1 + start, len(mark) + 1 + end) for start, end in SENTENCES]
        (scores,) = built_in.read(f"Who runs the {mark} ferry?", [(None, text)], [spans]) or [[]]
        return scores

    assert read("[SEP]") == pytest.approx(read("[ SEP ]"), abs=1e-3), "the same letters"
