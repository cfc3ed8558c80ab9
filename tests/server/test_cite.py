"""Citations made by code: however the text arrives, the answer is the same."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retrieval.records import Hit, Passage
from server.cite import Citer, without_markers


def hit(number: int, text: str) -> Hit:
    passage = Passage(
        id=number,
        document_id=f"file-{number}",
        store_id="vs",
        index=0,
        start=0,
        end=len(text),
        text=text,
        page=None,
        heading=None,
        tokens=9,
    )
    return Hit(
        passage=passage,
        document_name="returns.md",
        attributes={},
        score=1.0,
        dense=1.0,
        lexical=1.0,
        generation="g",
    )


RETURNS = hit(1, "Returns are taken for 45 days after the purchase of a tent.")
LABELS = hit(2, "A return label costs 7 dollars within the country.")
# What decides where a sentence ends, and what looks like a marker.
BITS = [
    *("Returns are taken for 45 days", "A label costs 7 dollars", "tents", "A", "b", "12", "1"),
    *(" ", "  ", "\n", "\n\n", "\n- ", "\n1. ", ". ", ".", "! ", "?", ":", "-", "*", "(", ")", '"'),
    *("[", "]", "[1]", " [2]", "[12", "[[1]", "1]", "[1234]", "。", "」", "é", "e.g. ", "Dr. "),
]
ANSWER = st.lists(st.sampled_from(BITS), max_size=14).map("".join)


def cite(pieces: list[str], *, hits: tuple[Hit, ...] = (RETURNS, LABELS)) -> tuple[str, list[Hit]]:
    citer = Citer(hits)
    out = "".join([citer.add(piece) for piece in pieces])
    return out + citer.end(), [cited.hit for cited in citer.citations]


def test_each_marker_names_the_characters_of_the_document_that_say_so() -> None:
    text = "We make tents. Returns are taken for 45 days. A label costs 7 dollars. We sew."
    later = hit(3, text)
    later = replace(later, passage=replace(later.passage, start=100, end=100 + len(text)))
    citer = Citer([later])
    out = citer.add("A label costs 7 dollars. We like it. Returns are taken for 45 days.")
    assert (out + citer.end()).count("[1]") == 2
    (citation,) = citer.citations
    found = [text[start - 100 : end - 100].strip() for start, end in citation.spans]
    assert found == ["A label costs 7 dollars.", "Returns are taken for 45 days."]


@given(text=ANSWER, data=st.data())
@example(text="Returns are taken for 45 days whenever you want to do so\n12. A", data=None)
@example(text="Returns are taken for 45 days whenever you want to do so\n-5 b", data=None)
@example(text="Returns are taken for 45 days whenever you want to do so\n1. \nReturns", data=None)
@example(text="[[1]1]A", data=None)
def test_the_same_text_gives_the_same_answer_however_it_is_cut(
    text: str, data: st.DataObject | None
) -> None:
    whole = cite([text])
    assert cite(list(text)) == whole, "character by character"
    if data is not None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
        borders = [0, *cuts, len(text)]
        pieces = [text[a:b] for a, b in pairwise(borders)]
        assert cite(pieces) == whole


@given(text=ANSWER)
def test_but_for_markers_the_answer_is_what_the_model_wrote(text: str) -> None:
    out, _ = cite(list(text), hits=())
    assert out == re.sub(r"\s?\[\d{1,3}\]", "", text).rstrip()


def test_each_sentence_is_marked_with_the_passage_that_supports_it() -> None:
    text = "Returns are taken for 45 days. A label costs 7 dollars. Returns are taken. Bye!"
    out, cited = cite([text])
    assert out == (
        "Returns are taken for 45 days. [1] A label costs 7 dollars. [2] "
        "Returns are taken. [1] Bye!"
    )
    assert cited == [RETURNS, LABELS]


def test_markers_are_numbered_in_the_order_in_which_they_appear() -> None:
    out, cited = cite(["A label costs 7 dollars. Returns are taken for 45 days."])
    assert out == "A label costs 7 dollars. [1] Returns are taken for 45 days. [2]"
    assert cited == [LABELS, RETURNS]


def test_a_figure_that_no_passage_holds_is_not_supported() -> None:
    out, cited = cite(["Returns are taken for 90 days."])
    assert (out, cited) == ("Returns are taken for 90 days.", [])


@pytest.mark.parametrize("marker", ["[2]", " [2]", "[1][2]", " [123]"])
def test_the_models_own_markers_are_dropped(marker: str) -> None:
    out, cited = cite([f"Returns are taken for 45 days{marker}. Hello{marker}."])
    assert out == "Returns are taken for 45 days. [1] Hello."
    assert cited == [RETURNS]


def test_brackets_that_are_no_marker_stay() -> None:
    text = "See [the list], [1234], [a1] and [12"
    assert cite([text], hits=())[0] == text


def test_a_list_item_is_marked_before_the_next_one_begins() -> None:
    out, _ = cite(["Returns are taken for 45 days\n- A label costs 7 dollars\n- Hello"])
    assert out == "Returns are taken for 45 days [1]\n- A label costs 7 dollars [2]\n- Hello"


def test_text_is_sent_as_soon_as_it_comes() -> None:
    citer = Citer((RETURNS,))
    assert citer.add("Returns are") == "Returns are"
    assert citer.add(" taken for 45 days.") == " taken for 45 days."
    assert citer.add(" [") == ""
    assert citer.add("3") == ""
    assert citer.add("] Hel") == " [1] Hel"
    assert citer.add("lo ") == "lo"
    assert citer.end() == ""


def test_an_answer_without_words_is_empty() -> None:
    assert cite([]) == ("", []) == cite(["", " \n"])


def test_what_code_has_put_in_is_taken_out_again() -> None:
    citer = Citer((RETURNS,), flag=True)
    text = "Returns are taken for 45 days. A label costs 9 dollars."
    out = citer.add(text) + citer.end()
    assert "[1]" in out and "[unsupported]" in out and without_markers(out) == text
