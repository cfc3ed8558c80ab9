"""What the reader learns from: every answer stays where it is, and a near miss holds none."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reader import fit
from benchmarks.reader_contrasts import contrasts
from benchmarks.reader_dress import dress, ordered, reworded, synonyms_of
from benchmarks.reader_network import Network
from benchmarks.reader_pairs import HELD_OUT, Pair, make_pairs, read
from benchmarks.reader_rows import Rows
from retrieval.embed import Embedder
from retrieval.read import Reader

ANSWERS = ("nine", "two brothers")


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    """Articles of two paragraphs, each with two answers and a question that has none."""
    articles = []
    for number in range(HELD_OUT + 4):
        ferry = (
            f"Ferry {number} leaves the east quay at nine every morning, in summer and in winter "
            f"alike, whatever the weather may be on the sound. Ferry {number} belongs to two "
            "brothers, who bought it from the town when the bridge was closed for repair."
        )
        inn = f"The inn at quay {number} has eleven rooms. Its cook came from the capital."
        asked = [
            (f"When does ferry {number} leave?", "nine"),
            (f"Who owns ferry {number}?", "two brothers"),
            (f"What does a ticket for ferry {number} cost?", None),
        ]
        qas = [
            {
                "question": question,
                "answers": [{"text": answer, "answer_start": ferry.index(answer)}] * bool(answer),
                "is_impossible": not answer,
            }
            for question, answer in asked
            for answer in [answer or ""]
        ]
        paragraphs = [{"context": ferry, "qas": qas}, {"context": inn, "qas": []}]
        articles.append({"title": f"Ferry_{number}", "paragraphs": paragraphs})
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": articles}))
    return path


def test_pairs_hold_their_answers_and_misses_hold_none(squad: Path, tiny_embedder: Path) -> None:
    train, held = make_pairs([read(squad)], 1.0, Embedder(tiny_embedder, "cpu"), seed=0)
    rows = [pair for pair in train if not pair.title]
    train = [pair for pair in train if pair.title]
    assert {pair.kind for pair in rows} <= {"answer", "row"}
    assert {pair.title for pair in train} == {f"Ferry {n}" for n in range(4)}
    assert {pair.title for pair in held} == {f"Ferry {n}" for n in range(4, 4 + HELD_OUT)}
    for pair in [*train, *held]:
        said = pair.passage[pair.start : pair.end]
        assert (said in ANSWERS) == (pair.kind == "answer"), pair
        if pair.kind in ("near", "found"):
            answer = ANSWERS["own" in pair.question]
            assert answer not in pair.passage
    kinds = [pair.kind for pair in train]
    assert kinds.count("answer") == kinds.count("near") == 8
    assert kinds.count("asked") >= 8, "a question without an answer counts twice"
    assert "found" in kinds
    far = [pair for pair in train if pair.kind == "far"]
    assert far and all(pair.title[-1] not in pair.question for pair in far)


def test_a_collection_is_groups_of_texts_without_a_title(squad: Path, tiny_embedder: Path) -> None:
    articles = read(squad, collected=True)
    assert [len(article.paragraphs) for article in articles] == [8, 8, 4]
    assert {article.title for article in articles} == {""}
    train, held = make_pairs([articles * 3], 1.0, Embedder(tiny_embedder, "cpu"), seed=0)
    assert train and held and all(":" not in pair.passage[:8] for pair in held)


def test_rows_hold_the_answer_where_they_are_said_to() -> None:
    rows = Rows(["lamp", "chair", "tent"], ["Weimar", "Cassay", "Salla"], random.Random(0))
    pairs = [rows.pair() for _ in range(1000)]
    answered = [pair for pair in pairs if pair[3]]
    assert 430 < len(answered) < 570
    for _, row, start, end in answered:
        assert row[:start].endswith(": ") and row[end : end + 1] in (";", ",", "\n", ""), row
    prices = [row for question, row, _, end in pairs if "charge for" in question and end]
    assert prices and all(any(sign in row for sign in "$€£") for row in prices)
    missed = [(q, row) for q, row, _, end in pairs if "weigh" in q and not end]
    assert any("weight: " not in row for _, row in missed), "the column is not there"
    assert any("weight: " in row for _, row in missed), "the row is of something else"


def test_a_question_is_asked_as_people_ask(tmp_path: Path) -> None:
    seen = {ordered("What is the fare to Ness?", random.Random(seed)) for seed in range(200)}
    assert {"Find the fare to Ness.", "the fare to Ness", "The fare to Ness?"} <= seen
    assert "Can you tell me what is the fare to Ness?" in seen
    assert all("ness" not in ordered("Ness is how far?", random.Random(s)) for s in range(50))
    licence = "  1 This is the licence\n"
    (tmp_path / "data.noun").write_text(
        f"{licence}00000001 10 n 02 fare 0 transportation_charge 0 000 | a price\n"
        "00000002 10 n 03 cost 0 price 0 obsoletum 0 001 @ 00000001 n 0000 | what is paid\n"
    )
    (tmp_path / "index.noun").write_text(
        f"{licence}cost n 1 1 @ 1 0 00000002\nfare n 9 0 9 0 00000001\nprice n 1 0 1 0 00000002\n"
    )
    for name in ("data.verb", "index.verb", "data.adj", "index.adj"):
        (tmp_path / name).write_text(licence)
    synonyms = synonyms_of(tmp_path, {"price": 9, "cost": 5, "obsoletum": 1})
    assert synonyms == {"cost": ["price"], "price": ["cost"]}, "rare and uncertain words stay"
    assert reworded("the cost of it", random.Random(0), synonyms) == "the price of it"
    assert reworded("the fare to it", random.Random(0), synonyms) == "the fare to it"


def test_a_dressed_pair_keeps_its_answer() -> None:
    passage = "The ferry leaves at nine. It takes an hour. Two brothers run it all year."
    pair = Pair("Who runs it?", passage, 44, 56, "answer", "Ferry")
    assert passage[44:56] == "Two brothers"
    seen = {dress(pair, random.Random(seed), {}) for seed in range(400)}
    assert {p.passage[p.start : p.end] for p in seen} == {"Two brothers"}
    assert any(p.passage.startswith("Ferry: - The ferry leaves") for p in seen)
    assert any(p.question == "The ferry leaves at nine. Who runs it?" for p in seen)
    assert all("Two brothers" not in p.question for p in seen), "no introduction tells the answer"
    none = Pair("What does it cost?", passage, 0, 0, "asked", "Ferry")
    assert {(p.start, p.end) for p in (dress(none, random.Random(s), {}) for s in range(50))} == {
        (0, 0)
    }


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_a_short_training_makes_what_the_server_reads(
    squad: Path, tiny_embedder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, held = make_pairs([read(squad)], 1.0, Embedder(tiny_embedder, "cpu"), seed=0)
    how: Any = {"dressed": lambda pair: pair, "minutes": 0.03}
    result = fit(Network.reader(), train, held, out=tmp_path / "first", **how)
    assert result["steps"] >= 1 and set(result["auc"]) == {"near", "asked"}
    fit(Network.reader(tmp_path / "first"), train, held, out=tmp_path, **how)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 32
    assert str(tmp_path.home()) not in (tmp_path / "adapter_config.json").read_text()
    monkeypatch.setattr("retrieval.read.BUILT_IN", tmp_path)
    reader = Reader(device="cpu")
    assert len((reader.read("Who owns it?", [(None, "Two brothers.")], [[(0, 13)]]) or [])[0]) == 1


def test_contrasts_are_answers_and_near_misses_of_one_house(tmp_path: Path) -> None:
    mill = {
        "org": "Mill",
        "title": "Tours",
        "passage": "A tour takes 40 minutes and costs $4. Groups pay $4 as well, for 40 people.",
        "open": [["How long is a look round?", "40"], ["What do groups pay?", "$4"]],
        "closed": [["Do groups pay, too?", "Groups pay $4 as well"]],
        "near": ["How long is a tour in the dark?"],
        "near_closed": ["Is there a tour for the deaf?"],
    }
    shop = {**mill, "title": "Shop", "passage": "The shop sells flour by the sack, at noon only."}
    shop |= {"open": [], "closed": [], "near": [], "near_closed": []}
    inn = {**shop, "org": "Inn", "passage": "The inn sells flour for 40 people at $4."}
    path = tmp_path / "contrasts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (mill, shop, inn)))
    pairs = contrasts(path)
    answers = {pair.question: pair for pair in pairs if pair.kind == "answer"}
    assert [pair.passage[pair.start : pair.end] for pair in answers.values()] == [
        "40",
        "$4",
        "Groups pay $4 as well",
    ]
    groups = mill["passage"].index("Groups")  # the answer that stands beside the question's words
    assert answers["What do groups pay?"].start > groups - 5
    near = [pair for pair in pairs if pair.kind == "near"]
    assert near and {pair.passage for pair in near} == {shop["passage"]}, "only of the same house"
    assert sum(pair.kind == "asked" for pair in pairs) == 2
    open_ = contrasts(path, closed=False)
    assert {pair.question for pair in pairs} - {pair.question for pair in open_} == {
        "Do groups pay, too?",
        "Is there a tour for the deaf?",
    }
