from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.records import Text
from retrieval.split import sentences, split


def count_words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


alphabet = st.sampled_from(list("ab. \n\n!?-|Cé。1) "))
texts = st.text(alphabet=alphabet, max_size=300)


@given(texts, st.integers(1, 12), st.integers(0, 5), st.lists(st.integers(0, 300), max_size=4))
def test_every_character_is_covered_and_every_span_is_within_budget(
    text: str, budget: int, overlap: int, marks: list[int]
) -> None:
    headings = tuple((at, f"h{at}") for at in sorted(set(marks)))
    pages = tuple((at, number) for number, at in enumerate(sorted({0, *marks}), start=1))
    spans = split(
        Text(text, pages=pages, headings=headings),
        count_tokens=count_words,
        max_tokens=budget,
        overlap_tokens=min(overlap, budget - 1),
    )
    covered: set[int] = set()
    for span in spans:
        passage = text[span.start : span.end]
        assert passage.strip() == passage != ""
        assert span.tokens <= budget
        assert span.page == max(number for start, number in pages if start <= span.start)
        covered.update(range(span.start, span.end))
    assert {at for at, letter in enumerate(text) if not letter.isspace()} <= covered
    assert [span.start for span in spans] == sorted(span.start for span in spans)


@given(texts)
def test_sentences_cover_the_text_without_overlapping(text: str) -> None:
    found = list(sentences(text))
    assert "".join("".join(text[start:end].split()) for start, end in found) == "".join(
        text.split()
    )


def said(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


def test_abbreviations_do_not_end_a_sentence() -> None:
    assert said("Ask Dr. Who, e.g. at No. 3. Then go!") == [
        "Ask Dr. Who, e.g. at No. 3.",
        "Then go!",
    ]


def test_a_wrapped_line_goes_on_and_a_list_item_does_not() -> None:
    wrapped = "This line was broken by a mail program at its width\nand goes on here. End."
    assert said(wrapped) == [wrapped[:-5], "End."]
    assert said("We sell:\n- bags\n- racks") == ["We sell:", "- bags", "- racks"]


def test_a_passage_never_crosses_a_heading() -> None:
    text = Text("One\n\nfirst body\n\nTwo\n\nsecond body", headings=((0, "One"), (17, "Two")))
    spans = split(text, count_tokens=count_words, max_tokens=50, overlap_tokens=10)
    assert [text.text[span.start : span.end] for span in spans] == [
        "One\n\nfirst body",
        "Two\n\nsecond body",
    ]
    assert [span.heading for span in spans] == ["One", "Two"]


def test_a_heading_without_a_body_joins_the_next_section() -> None:
    text = Text("Title\n\nPart\n\nwords of the part", headings=((0, "Title"), (7, "Part")))
    (span,) = split(text, count_tokens=count_words, max_tokens=50, overlap_tokens=0)
    assert (span.start, span.heading) == (0, "Part")


def test_neighbours_share_whole_sentences_up_to_the_overlap() -> None:
    text = Text("A b c. D e. F g h. I j.")
    spans = split(text, count_tokens=count_words, max_tokens=5, overlap_tokens=2)
    found = [text.text[span.start : span.end] for span in spans]
    assert found == ["A b c. D e.", "D e. F g h.", "I j."]


def test_a_word_longer_than_the_budget_is_cut_and_nothing_is_lost() -> None:
    word = "x" * 1000
    spans = split(
        Text(word),
        count_tokens=lambda texts: list(map(len, texts)),
        max_tokens=64,
        overlap_tokens=0,
    )
    assert "".join(word[span.start : span.end] for span in spans) == word


def test_an_empty_text_has_no_passages() -> None:
    assert split(Text(" \n "), count_tokens=count_words) == []


def test_an_overlap_as_large_as_the_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        split(Text("a"), count_tokens=count_words, max_tokens=10, overlap_tokens=10)
