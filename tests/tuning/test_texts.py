"""Past texts become pairs: read by line, asked for, and kept only where the request fits."""

from __future__ import annotations

import json

import pytest

from tuning.errors import ExamplesError
from tuning.examples import read_examples
from tuning.texts import (
    INSTRUCTION,
    SHOWN_TOKENS,
    HouseText,
    clean,
    pair_up,
    read_texts,
    requests_for,
    to_jsonl,
)

PROSE = b"""# Returns

Returns are taken for 45 days,
dear friend.

Bring the receipt along.
## Shipping
Shipping takes three days.


"""


def test_prose_is_split_at_blank_lines_and_headings_are_topics() -> None:
    returns, shipping = (("topic", "Returns"),), (("topic", "Shipping"),)
    assert read_texts(PROSE, name="letters.md") == [
        HouseText("Returns are taken for 45 days,\ndear friend.", 3, returns),
        HouseText("Bring the receipt along.", 6, returns),
        HouseText("Shipping takes three days.", 8, shipping),
    ]


def test_jsonl_carries_its_groups() -> None:
    line = {"text": " Fine. ", "topic": "mood", "author": "Ann", "group": ""}
    data = "\ufeff" + "\n" + json.dumps(line) + "\n"
    assert read_texts(data.encode(), name="a.JSONL") == [
        HouseText("Fine.", 2, (("topic", "mood"),))
    ]


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (b'{"text": "a"}\n{"text": 3}\n[1]\n{', "a.jsonl", ["line 2", "line 3", "line 4"]),
        (b'{"text": " "}', "a.jsonl", ["line 1", "empty"]),
        (b'{"text": "\\ud83d"}', "a.jsonl", ["line 1", "half a character"]),
        (b"[" * 99_999, "a.jsonl", ["line 1", "nested"]),
        (b"fine\n\xff", "a.txt", ["line 2", "UTF-8"]),
        (b"\n \n", "a.txt", ["no texts"]),
        (b"%PDF", "a.pdf", [".pdf", ".jsonl, .txt or .md"]),
    ],
)
def test_faulty_files_are_refused_by_line(data: bytes, name: str, said: list[str]) -> None:
    with pytest.raises(ExamplesError) as refused:
        read_texts(data, name=name)
    assert all(words in str(refused.value) for words in said), str(refused.value)


def test_the_base_is_asked_alike_for_every_text() -> None:
    (first, second) = requests_for([HouseText("One.", 1), HouseText("Two. " * 1000, 2)])
    assert first[0]["content"] == INSTRUCTION and first[:-1] == second[:-1]
    assert first[-1]["content"].startswith("Text: One.\n\n")
    assert 2000 < len(second[-1]["content"]) < 2100, "a long text is cut"


@pytest.mark.parametrize("letter", ["说", "ש", "🙂", "7"])
def test_a_text_of_a_dense_script_is_cut_to_what_its_bytes_leave_room_for(letter: str) -> None:
    empty, dense = requests_for([HouseText("", 1), HouseText(letter * 5000, 2)])
    longer = dense[-1]["content"].encode(), empty[-1]["content"].encode()
    assert SHOWN_TOKENS - 4 < len(longer[0]) - len(longer[1]) <= SHOWN_TOKENS


@pytest.mark.parametrize(
    ("written", "request_"),
    [
        ("How long?", "How long?"),
        ('\n\n"How long?"\nAnd more', "How long?"),
        ("Question: How long?", "How long?"),
        ("Here is a question that this text answers: How long?", "How long?"),
        ("Here is a question:\n\n“How long?”", "How long?"),
        ("**Request:** How long?", "How long?"),
        (" \n ", ""),
    ],
)
def test_announcements_and_quotes_are_taken_off(written: str, request_: str) -> None:
    assert clean(written) == request_


TEXTS = [
    HouseText("Returns are taken for 45 days, dear friend. Bring the receipt along.", 1),
    HouseText("Shipping takes three days, dear friend, and parcels leave on Monday.", 3),
    HouseText("The lantern burns for nine hours, dear friend, on one battery.", 5),
    HouseText("Our bakery opens at seven, dear friend, with fresh bread.", 7),
    HouseText("The tent keeps off heavy rain, dear friend, and weighs little.", 9),
]
GOOD = [
    "How long can I make returns, and do I need a receipt?",
    "When do parcels leave, and how long is shipping?",
    "For how many hours does the lantern burn on a battery?",
    "When does the bakery open? Is the bread fresh?",
    "Does the tent keep off rain?",
]


def test_good_requests_are_paired_and_come_out_as_examples() -> None:
    kept, dropped = pair_up(TEXTS, GOOD)
    assert dropped == [] and [pair.request for pair in kept] == GOOD
    lines = to_jsonl(kept * 2)
    assert json.loads(lines.splitlines()[0])["request_by"] == "base"
    examples = read_examples(lines.encode())
    assert (examples[0].question, examples[0].reply) == (GOOD[0], TEXTS[0].text)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ("", "no request"),
        ("...", "no request|too few words"),
        (TEXTS[0].text, "repeats the text"),
        ("Do you still have the red kettle, friend?", "repeats the example"),
        ("Returns are taken for 45 days, dear friend?", "repeats the text"),
        ("What is the meaning of life in general, really?", "shares too few words"),
        ("Dear friend, shipping parcels on Monday?", "finds other texts first"),
        (f"{GOOD[1]}", "shares too few words|finds other"),
        ("returns " * 61, "61 words"),
    ],
)
def test_bad_requests_are_dropped_with_their_line_and_reason(request_: str, why: str) -> None:
    many = TEXTS + [
        HouseText(f"Shipping parcels on Monday, dear friend {n}.", n) for n in range(20, 24)
    ]
    asked = [request_, *GOOD[1:], *(f"Is shipping on Monday, number {n}?" for n in range(4))]
    kept, dropped = pair_up(many, asked)
    reasons = dict(dropped)
    assert 1 in reasons and any(part in reasons[1] for part in why.split("|")), reasons
    assert all(pair.text.line != 1 for pair in kept)


def test_two_texts_with_one_request_are_not_both_kept() -> None:
    twins = [*TEXTS, HouseText("Does a tent keep off rain? It weighs little, dear friend.", 11)]
    kept, dropped = pair_up(twins, [*GOOD, GOOD[4].upper()])
    assert [pair.text.line for pair in kept] == [1, 3, 5, 7, 9]
    assert dropped[0][0] == 11


def test_texts_without_spaces_and_from_right_to_left_are_paired() -> None:
    texts = [
        HouseText("退货期限为四十五天请携带收据。", 1),
        HouseText("תקופת ההחזרה היא ארבעים יום מיום הקנייה", 2),
    ]
    kept, dropped = pair_up(texts, ["退货期限是多少天", "מהי תקופת ההחזרה?"])
    assert len(kept) == 2, dropped


def test_texts_without_any_word_are_dropped_and_uneven_lists_refused() -> None:
    kept, dropped = pair_up([HouseText("👍", 1)], ["What do you think of it?"])
    assert kept == [] and dropped[0][0] == 1
    assert pair_up([], []) == ([], [])
    with pytest.raises(ValueError, match="1 requests cannot be paired with 0 texts"):
        pair_up([], ["a"])
