"""Text to passages: spans of a token budget, cut at headings, paragraphs and sentences. Pure.

It knows no tokenizer and no file type; tokens are counted by the function that is passed in.
A passage is a span of the text, never a rewritten copy, and every character that is not white
space lies in at least one passage. Read `split` first, then `sentences`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from retrieval.records import Text

CountTokens = Callable[[list[str]], list[int]]

_PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*\n\s*")
_LINE_BREAK = re.compile(r"\n[^\S\n]*")
_LIST_ITEM = re.compile(r"(?:[-*+•·|>#]|\(?\w{1,3}[.)])\s|[-*+•·|]$|\|")
# A sentence ends at its mark, with the quotes and brackets that close after it.
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[」』”）]*\s*")  # noqa: RUF001
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|cf|approx|No|Nos|Fig|Eq|Vol|pp|p|Inc|"
    r"Ltd|Co|Corp|Dept|U\.S|bzw|z\.B|ca)|\b[A-Z])\.\s+$"
)
_WRAPPED_LINE_CHARACTERS = 50


@dataclass(frozen=True, slots=True)
class Span:
    """Where a passage lies in the text, and what it stands under."""

    start: int
    end: int
    page: int | None
    heading: str | None
    tokens: int


def split(
    text: Text, *, count_tokens: CountTokens, max_tokens: int = 120, overlap_tokens: int = 20
) -> list[Span]:
    """Cut a text into passages of at most `max_tokens`, neighbours sharing `overlap_tokens`.

    A passage never crosses a heading, and ends at the end of a sentence unless one sentence
    alone passes the budget. The overlap is whole sentences, so it may be less than asked for.
    """
    if max_tokens < 1 or not 0 <= overlap_tokens < max_tokens:
        raise ValueError(f"need 0 <= overlap ({overlap_tokens}) < budget ({max_tokens}) in tokens")
    spans: list[Span] = []
    for start, end, heading in _sections(text):
        pieces = list(sentences(text.text, start, end))
        counted = list(_within(text.text, pieces, count_tokens, max_tokens))
        for first, last, tokens in _pack(counted, max_tokens, overlap_tokens):
            page = _at(text.pages, first)
            spans.append(Span(start=first, end=last, page=page, heading=heading, tokens=tokens))
    return spans


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the sentences of `text[start:end]` as (start, end), without the space between them.

    Paragraphs, list items, table rows and short lines end a sentence too; a line that was
    merely wrapped does not.
    """
    end = len(text) if end is None else end
    for first, last in _between(text, start, end, _PARAGRAPH_BREAK):
        line_start = first
        for match in [*_LINE_BREAK.finditer(text, first, last), None]:
            line_end = match.start() if match else last
            if match and _is_wrapped(text, line_start, match, last):
                continue
            yield from _sentences_of_line(text, line_start, line_end)
            line_start = match.end() if match else last


def _sentences_of_line(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    first = start
    for match in _SENTENCE_END.finditer(text, start, end):
        after = text[match.end() : match.end() + 1]
        if after.islower() or _ABBREVIATION.search(text, first, match.end()):
            continue
        yield from _trimmed(text, first, match.end())
        first = match.end()
    yield from _trimmed(text, first, end)


def _is_wrapped(text: str, line_start: int, line_break: re.Match[str], end: int) -> bool:
    """Whether the sentence goes on after this line break."""
    line = text[max(line_start, text.rfind("\n", 0, line_break.start()) + 1) : line_break.start()]
    if _LIST_ITEM.match(text, line_break.end(), end) or line.rstrip().endswith((":", "|")):
        return False
    return (
        text[line_break.end() : line_break.end() + 1].islower()
        or len(line) >= _WRAPPED_LINE_CHARACTERS
    )


def _sections(text: Text) -> list[tuple[int, int, str | None]]:
    """(start, end, heading) of each section; a heading without text of its own joins the next."""
    borders = [(at, heading) for at, heading in text.headings if at < len(text.text)]
    if not borders or borders[0][0] > 0:
        borders.insert(0, (0, None))  # type: ignore[arg-type]
    ends = [at for at, _ in borders[1:]] + [len(text.text)]
    sections: list[tuple[int, int, str | None]] = []
    start: int | None = None
    for (at, heading), end in zip(borders, ends, strict=True):
        start = at if start is None else start
        body = text.text[at:end].strip()
        bare = not body or (heading is not None and len(body) <= len(heading) + 8)
        if bare and end < len(text.text):
            continue
        sections.append((start, end, heading))
        start = None
    return sections


def _within(
    text: str, pieces: Sequence[tuple[int, int]], count_tokens: CountTokens, max_tokens: int
) -> Iterator[tuple[int, int, int]]:
    """(start, end, tokens) of each piece; one that passes the budget is cut at words."""
    counts = count_tokens([text[start:end] for start, end in pieces]) if pieces else []
    for (start, end), tokens in zip(pieces, counts, strict=True):
        if tokens <= max_tokens:
            yield start, end, tokens
            continue
        words = [match.span() for match in re.finditer(r"\S+", text[start:end])]
        if len(words) > 1:
            shifted = [(start + first, start + last) for first, last in words]
            yield from _pack(list(_within(text, shifted, count_tokens, max_tokens)), max_tokens, 0)
        elif end - start > 1:
            half = (start + end) // 2
            halves = [(start, half), (half, end)]
            yield from _within(text, halves, count_tokens, max_tokens)
        else:
            yield start, end, tokens  # one character, whatever it costs


def _pack(
    pieces: Sequence[tuple[int, int, int]], max_tokens: int, overlap_tokens: int
) -> Iterator[tuple[int, int, int]]:
    """Join neighbouring pieces up to the budget; the next one starts with the last ones' tail."""
    held: list[tuple[int, int, int]] = []
    tokens = 0
    for piece in pieces:
        if held and tokens + piece[2] > max_tokens:
            yield held[0][0], held[-1][1], tokens
            held = _tail(held, min(overlap_tokens, max_tokens - piece[2]))
            tokens = sum(count for _, _, count in held)
        held.append(piece)
        tokens += piece[2]
    if held:
        yield held[0][0], held[-1][1], tokens


def _tail(held: list[tuple[int, int, int]], budget: int) -> list[tuple[int, int, int]]:
    first = len(held)
    while first > 1 and held[first - 1][2] <= budget:
        first -= 1
        budget -= held[first][2]
    return held[first:]


def _between(text: str, start: int, end: int, gap: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    first = start
    for match in gap.finditer(text, start, end):
        yield first, match.start()
        first = match.end()
    yield first, end


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    bare = piece.strip()
    if bare:
        first = start + piece.index(bare)
        yield first, first + len(bare)


def _at(marks: Sequence[tuple[int, int]], offset: int) -> int | None:
    index = bisect_right(marks, offset, key=lambda mark: mark[0])
    return marks[index - 1][1] if index else None
