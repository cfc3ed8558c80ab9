"""Content words and figures, in any script."""

from __future__ import annotations

from tuning.words import content_words, figures


def test_words_are_long_enough_casefolded_and_cut_to_their_stem() -> None:
    assert content_words("The Returns were returned, 45 of us") == ["retur", "were", "retur"]


def test_scripts_without_spaces_are_read_by_pairs() -> None:
    assert content_words("退货运费") == ["退货", "货运", "运费"]
    assert set(content_words("退货要多少钱")) & set(content_words("可以退货"))


def test_right_to_left_words_are_words() -> None:
    assert content_words("תקופת ההחזרה היא") == ["תקופת", "ההחזר"]


def test_thousands_are_one_figure_however_written() -> None:
    assert figures("$1,200 or 1200, at 10:30, 2.5 kg") == ["1200", "1200", "10:30", "2.5"]


def test_a_text_without_letters_has_no_words() -> None:
    assert content_words("👍 12!") == [] and figures("👍") == []
