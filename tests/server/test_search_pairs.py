"""Search pairs as they come, their split, and the questions that documents hold themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval.database import Database
from retrieval.records import EmbeddedText
from server.found_questions import find_questions
from server.migrations import MIGRATIONS
from server.search_gate import MEASURES, GateQuestion, Measured, decide
from server.search_pairs import check_documents, merge_same, read_pairs
from server.search_split import SearchSplits, assign, groups_of
from tuning.errors import ExamplesError


def lines(*values: dict) -> bytes:
    more = [{"question": f"filler {n}", "document": "a.md"} for n in range(8)]
    return "\n".join(json.dumps(value) for value in [*values, *more]).encode()


@pytest.mark.parametrize(
    ("value", "field", "found"),
    [
        ({"question": "q", "passage": "p"}, "texts", ("p",)),
        ({"query": "q", "positives": ["p", "r", "p"]}, "texts", ("p", "r")),
        ({"anchor": "q", "positive": "p"}, "texts", ("p",)),
        ({"question": "q", "document": "a.md"}, "names", ("a.md",)),
        ({"question": "q", "documents": ["a.md", "b.md"]}, "names", ("a.md", "b.md")),
        ({"question": "q", "filename": "a.md", "id": 7}, "names", ("a.md",)),
        ({"question": "q", "document_ids": ["file-1"]}, "ids", ("file-1",)),
        ({"question": "q", "file_id": "file-1"}, "ids", ("file-1",)),
    ],
)
def test_each_spelling_is_read(value: dict, field: str, found: tuple[str, ...]) -> None:
    pair = read_pairs(lines(value))[0]
    assert pair.question == "q" and getattr(pair, field) == found and pair.line == 1


def test_a_byte_order_mark_and_blank_lines_change_nothing() -> None:
    content = b"\xef\xbb\xbf" + lines({"question": "q", "passage": "p"}) + b"\n\n"
    assert read_pairs(content)[0].question == "q"


def test_the_same_question_with_other_answers_has_several() -> None:
    pairs, repeated, differing = merge_same(
        read_pairs(
            lines(
                {"question": "Where is it?", "passage": "here"},
                {"question": "where is it", "passage": "here"},
                {"question": "Where is it?!", "passage": "there", "topic": "places"},
            )
        )
    )
    assert len(pairs) == 9 and (repeated, differing) == (1, 1)
    assert pairs[0].texts == ("here", "there") and pairs[0].topic == "places"


def test_unknown_documents_are_told_by_line() -> None:
    pairs = read_pairs(lines({"question": "q", "document": "gone.md", "document_id": "file-9"}))
    with pytest.raises(ExamplesError) as refused:
        check_documents(pairs, names={"a.md"}, ids={"file-1"})
    assert [number for number, _ in refused.value.problems] == [1, 1]
    check_documents(pairs[1:], names={"a.md"}, ids=())


def test_questions_that_share_a_document_stay_together() -> None:
    keys = [(f"document:{n // 3}", f"question:{n}") for n in range(60)]
    groups = groups_of(keys)
    assert groups == [f"document:{n // 3}" for n in range(60)]
    splits = assign(groups, known={})
    held = {s: sum(splits[g] == s for g in groups) for s in ("train", "dev", "gate")}
    assert held["gate"] == 24 and 8 <= held["dev"] <= 12, held
    chained = [(f"document:{n}", f"document:{n + 1}", f"question:{n}") for n in range(0, 40, 2)]
    assert len(set(groups_of(chained))) == 20
    linked = [(f"document:{n}", f"document:{n + 1}", f"question:{n}") for n in range(40)]
    assert groups_of(linked) == [f"document:{n}" for n in range(40)]
    one = [("document:manual", f"question:{n}") for n in range(40)]
    assert groups_of(one) == [f"question:{n}" for n in range(40)]


def test_a_split_is_for_ever(tmp_path: Path) -> None:
    database = Database(tmp_path / "houseword.db")
    database.migrate("server", MIGRATIONS)
    rows = SearchSplits(database)
    first = assign([f"g{n}" for n in range(50)], known={})
    rows.keep("vs", first)
    rows.keep("vs", dict.fromkeys(first, "train"))
    assert rows.known("vs") == first and rows.known("other") == {}
    second = assign([f"g{n}" for n in range(200)], known=rows.known("vs"))
    assert {group: second[group] for group in first} == first
    assert 0.15 < sum(split == "gate" for split in second.values()) / 200 < 0.25
    database.close()


def passage(id_: int, text: str, heading: str | None = None) -> EmbeddedText:
    context, _, body = text.partition("\n")
    return EmbeddedText(id_, f"d{id_ // 10}", f"{id_ // 10}.md", heading, context, body)


def test_headings_and_asked_lines_are_questions_and_are_hidden_from_their_passages() -> None:
    heading = "How long do returns take?"
    found = find_questions(
        [
            passage(10, f"faq - {heading}\nThey are taken for thirty whole days.", heading),
            passage(11, f"faq - {heading}\nBring the receipt and the bag.", heading),
            passage(20, "lamps\nQ: Is the lamp green?\nIt is green and blue and red.\nIs it? No."),
            passage(30, "Overview\nThis is about many other things here.", "Overview"),
        ]
    )
    assert [(f.question, f.passage.id) for f in found] == [
        (heading, 10),
        ("Is the lamp green?", 20),
    ]
    assert all(f.question not in f.masked for f in found)
    assert "thirty whole days" in found[0].masked and "faq" in found[0].masked


def test_a_heading_that_stands_in_two_documents_is_ambiguous() -> None:
    heading = "What it costs today"
    twice = [
        passage(n, f"prices - {heading}\nIt costs some {n} coins a day.", heading) for n in (1, 21)
    ]
    assert find_questions(twice) == []


def values(ndcg: list[float], **others: list[float]) -> dict[str, list[float]]:
    return {name: others.get(name, ndcg) for name in MEASURES}


BASE = [0.0, 1.0] * 20


@pytest.mark.parametrize(
    ("candidate", "promoted", "said"),
    [
        (values([0.5, 1.0] * 20), True, "nDCG@10 0.500 -> 0.750"),
        (values(BASE), False, "not shown to be better"),
        (values([0.0, 0.9] * 20), False, "not shown to be better"),
        (values([0.5, 1.0] * 20, **{"hit@1": [0.0, 0.5] * 20}), False, "hit@1 0.500 -> 0.250"),
        (values([1.0, *BASE[1:]]), False, "not shown to be better"),
    ],
)
def test_the_gate_passes_what_is_better_and_worse_in_nothing(candidate, promoted, said) -> None:
    decision = decide(Measured(candidate, values(BASE), values(BASE)))
    assert decision.promoted is promoted and said in decision.reasons[0]
    assert [row["name"] for row in decision.table] == list(MEASURES)


def test_the_gate_wants_twenty_questions() -> None:
    few = Measured(values([1.0] * 19), values([0.0] * 19), values([0.0] * 19))
    decision = decide(few)
    assert not decision.promoted and "19 held-out questions of at least 20" in decision.reasons[0]
    none = Measured(values([]), values([]), values([]))
    assert "no held-out question" in decide(none).reasons[0]


def test_a_question_is_judged_by_passages_or_else_by_documents() -> None:
    assert GateQuestion("q", (7, 8), ()).judged() == {"7": 1.0, "8": 1.0}
    assert GateQuestion("q", (), ("d1",)).judged() == {"d1": 1.0}


def test_what_has_unlearned_other_stores_questions_is_refused() -> None:
    gained = Measured(values([1.0] * 30), values([0.0] * 30), values([0.0] * 30))
    assert decide(gained).promoted
    for ours, promoted in ((0.5, False), (0.79, True), (0.9, True)):
        decision = decide(replace(gained, elsewhere=([ours] * 30, [0.8] * 30)))
        assert decision.promoted is promoted
        assert decision.table[-1]["name"] == "nDCG@10 elsewhere"
        assert ("unlearned" in " ".join(decision.reasons)) is not promoted
