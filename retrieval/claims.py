"""What a sentence says that can be checked: its content words, figures with units, names. Pure.

English in its word lists; figures and names need none. Read `states_something` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from retrieval.split import sentences

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")  # noqa: RUF001
_FIGURE = re.compile(r"\d+(?:[.,:]\d+)*")
_CLAUSE_END = re.compile(r"[,;:](?=\s)|\s[-–—]+\s|—|\b(?:and|but|so|though|while)\b")  # noqa: RUF001
_AUXILIARY = (
    r"(?:is|are|am|was|were|do|does|did|can|could|will|would|shall|should|may|might|must|has|have)"
    r"(?:n['’]t)?"  # noqa: RUF001
)
_PRONOUN = r"(?:i|you|we|it|they|he|she|that|this|there)"
_ASKS = re.compile(
    rf"\W*(?:(?:hi|hello|hey|please|also|or|then|because) )*"
    rf"(?:(?:what|how|when|where|which|who|whose|whom|why)\b|{_AUXILIARY} )",
    re.IGNORECASE,
)
# What one has heard, supposes or asks about is not thereby so.
_SUPPOSES = re.compile(
    r"\b(?:think|thought|believed?|assum(?:e|ed|ing)|suppose|guess|hop(?:e|ed|ing)|hear|heard|told"
    r"|said|says|read|understand|understood|wonder(?:ed|ing)?|know|knew|ask(?:ed|ing)?|whether|if"
    r"|confirm|check|sure|maybe|perhaps)\b",
    re.IGNORECASE,
)
# Behind a statement these make it the question: "It is free, isn't it?", "please confirm".
_IN_DOUBT = re.compile(
    rf"\W*(?:or )?{_AUXILIARY} {_PRONOUN}(?: not)?\W*$"
    r"|\b(?:confirm|true|right|correct|sure|so|agree)\b",
    re.IGNORECASE,
)
_TELLING_QUESTION = re.compile(
    r"\b(?:did you know|do you know that|have you heard(?: that)?|did (?:i|we) mention"
    rf"|have (?:i|we) mentioned|(?:is|was)n['’]t it \w+ that)\b"  # noqa: RUF001
    rf"|\w,\s+(?:right|correct|you know|{_AUXILIARY} {_PRONOUN})\s*\?\s*$",
    re.IGNORECASE,
)
_CITATION = re.compile(r"\[\d+\]")
_LIST_NUMBER = re.compile(r"^\s*\(?\d{1,3}[.)](?:\s|$)")
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_NUMBER_WORDS = {
    **{word: value for value, word in enumerate(_SMALL)},
    **dict(zip(_TENS, range(20, 100, 10), strict=True)),
    "hundred": 100,
    "thousand": 1000,
}
_DIGITS = "|".join(_SMALL[1:10])
_BELOW_100 = rf"(?:(?:{'|'.join(_TENS)})(?:(?:-|\s(?!\w+-))(?:{_DIGITS}))?|{'|'.join(_SMALL)})\b"
_BELOW_1000 = rf"(?:(?:{_BELOW_100}|a)\shundred(?:(?:\sand)?\s{_BELOW_100})?|{_BELOW_100})"
# "two hundred and five" is 205, "forty two-day trips" are 40 and 2, and "two million" is 2 with a
# unit, as "2 million" is.
_SPELT = re.compile(
    rf"\b(?:(?:{_BELOW_1000}|a)\sthousand(?:(?:\sand)?\s{_BELOW_1000})?|{_BELOW_1000})\b",
    re.IGNORECASE,
)
_EMPTY_WORDS = frozenset(
    "a about above after again all also am an and any are as at be because been before being "
    "below between both but by can could did do does doing down during each few for from further "
    "had has have having he hello her here hi him his how i if in into is it its just let like me "
    "more most my no nor not of off ok okay on once one only or other our out over own please so "
    "some sorry sure such thank thanks than that the their them then there these they this those "
    "through to too under until up very was we were what when where which while who why will "
    "with would yes you your yours ask happy help glad welcome know".split()
)
# One name for each unit, however it is written.
_UNITS = {
    form: unit
    for unit, forms in {
        "second": "s sec secs second seconds",
        "minute": "min mins minute minutes",
        "hour": "h hr hrs hour hours",
        "day": "day days",
        "week": "week weeks",
        "month": "month months",
        "year": "year years",
        "%": "% percent percentage per-cent",
        "dollar": "$ dollar dollars usd",
        "cent": "¢ cent cents",
        "euro": "€ euro euros eur",
        "pound": "£ pounds gbp",
        "mm": "mm millimetre millimetres millimeter millimeters",
        "cm": "cm centimetre centimetres centimeter centimeters",
        "m": "m metre metres meter meters",
        "km": "km kilometre kilometres kilometer kilometers",
        "mile": "mile miles",
        "g": "g gram grams gramme grammes",
        "kg": "kg kilo kilos kilogram kilograms",
        "litre": "l litre litres liter liters",
        "degree": "° degree degrees",
        "million": "million millions",
        "billion": "billion billions",
        "thousand": "thousand thousands",
    }.items()
    for form in forms.split()
}
_MONTHS = (
    "january february march april may june july august september october november december".split()
)
_UNITS.update({month: month for month in _MONTHS})
_UNIT_BEFORE = re.compile(r"(?:([$€£])|\b(" + "|".join(_MONTHS) + r"))\s?$", re.IGNORECASE)
# Between a figure and its unit: "10 working days" are days.
_KIND_OF_UNIT = r"(?:(?:working|business|calendar|full|whole|consecutive)[\s-])?"
_UNIT_AFTER = re.compile(rf"\s?(?:([%°¢])|-?{_KIND_OF_UNIT}([^\W\d_]+))", re.IGNORECASE)
_RATE = re.compile(
    r"\s?[%°¢]?(?:-?\s?[^\W\d_]+)??(?:\s?/\s?|\s+(?:an?|per|each|every)\s+)"
    r"(seconds?(?!\s+[a-z])|minutes?|hours?|days?|weeks?|months?|years?)\b",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b")
_NOT = re.compile(r"\b(?:not|never|cannot|nobody|nothing)\b|n['’]t\b", re.IGNORECASE)  # noqa: RUF001
# Not the answer "No, ...", nor "No. 3", "no more than" and the like.
_NO = re.compile(
    r"\bno\b(?!\s*[\d,.;:!?]|\s+(?:more|less|\w+er)\s+than\b"
    r"|\s+(?:doubt|matter|problem|wonder|worries)\b)",
    re.IGNORECASE,
)
_WITHOUT = re.compile(r"\bwithout\b(?:\s+(?:an?|any|the)\b)?", re.IGNORECASE)
_LACKED = re.compile(r"(?:\s+[\w'’-]+){1,3}")  # noqa: RUF001
_FREE = re.compile(r"\bfree\b", re.IGNORECASE)
_CHARGE = re.compile(r"\b(?:charges?|costs?|fees?|payments?|surcharges?)\b", re.IGNORECASE)
_NAME = re.compile(
    r"(?<![.!?…:\"“(] )(?<!^)(?<!\n)(?<![\w'’])"  # noqa: RUF001
    r"[A-Z][^\W\d_]+(?:[ -](?:[A-Z][^\W\d_]+))*"
)
_NAME_OPENING = re.compile(r"(?:^|(?<=[.!?…:] ))[A-Z][^\W\d_]+(?:[ -](?:[A-Z][^\W\d_]+))+")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure in its one form, its unit, and the time that it is for ("" where none is known)."""

    figure: str
    unit: str
    rate: str = ""  # as of $35 an hour

    def fits(self, other: Quantity) -> bool:
        """Whether both are the same, as far as both say."""
        return (
            self.figure == other.figure
            and (not self.unit or not other.unit or self.unit == other.unit)
            and (not self.rate or not other.rate or self.rate == other.rate)
        )


@dataclass(frozen=True, slots=True)
class Polarity:
    """Whether a sentence denies something; `lacks` are the words behind "no" and "without".

    What is free lacks a charge. With a "not" nothing is lacked: that may deny the lack itself.
    """

    negated: bool
    lacks: frozenset[str] = frozenset()

    def agrees(self, other: Polarity) -> bool:
        """Whether both deny or neither does, or both lack the same: no receipt, without one."""
        return self.negated == other.negated or bool(self.lacks & other.lacks)


def split_claims(text: str) -> list[tuple[int, int]]:
    """Return the sentences of an answer as (start, end) into it."""
    return list(sentences(text))


def clauses(sentence: str) -> list[str]:
    """Return the parts of a sentence that commas, dashes, "and" and the like set off."""
    return [part for part in _CLAUSE_END.split(sentence) if part.strip()]


def states_something(sentence: str) -> bool:
    """Whether a sentence can be true or false: it has words or figures, and asks nothing.

    "Did you know that it is free?" and "It is free, right?" ask nothing.
    """
    if sentence.rstrip().endswith("?") and not _TELLING_QUESTION.search(sentence):
        return False
    return bool(content_words(sentence) or figures(sentence))


def told(message: str) -> str:
    """Return what a message states, without its questions and what they propose, by lines.

    Of "I have order 4411, is the fee $5?" the order is told, and the fee only asked about.
    """
    stated = (_stated(message[start:end]) for start, end in split_claims(message))
    return "\n".join(filter(None, stated))


def without_citations(text: str) -> str:
    """The text without markers such as [1], and without the number of a list item."""
    return _LIST_NUMBER.sub("", _CITATION.sub(" ", text))


def content_words(text: str) -> set[str]:
    """Return the words that carry meaning, without their commonest endings."""
    words = (match.group().casefold() for match in _WORD.finditer(text))
    return {_stem(word) for word in words if word not in _EMPTY_WORDS and word not in _NUMBER_WORDS}


def figures(text: str) -> set[str]:
    """Return the numbers in one form: "1,200" is 1200, "10:00" is 10, "forty-five" is 45."""
    return {figure for figure, _, _ in _figures(text)}


def quantities(text: str) -> frozenset[Quantity]:
    """Return every figure with the unit that stands before or behind it."""
    return frozenset(
        Quantity(figure, _unit(text, start, end), _rate(text, end))
        for figure, start, end in _figures(text)
    )


def names(text: str) -> set[frozenset[str]]:
    """Return the names of a sentence, each as its content words.

    A name is a run of capitalised words; a single one that opens a sentence is none.
    """
    runs = [*_NAME.finditer(text), *_NAME_OPENING.finditer(text)]
    return {frozenset(words) for run in runs if (words := content_words(run.group()))}


def is_negated(text: str) -> bool:
    """Whether a sentence says that something is not so, or is not there."""
    return denials(text) > 0


def denials(text: str) -> int:
    """Count the words that deny: "not", "never", "no" and the like."""
    return len(_NOT.findall(text)) + len(_NO.findall(text))


def polarity(text: str) -> Polarity:
    """Return whether a sentence denies, and what it says is not there or not asked for."""
    if _NOT.search(text):
        return Polarity(True)
    lacked = (
        _LACKED.match(text, match.end())
        for pattern in (_NO, _WITHOUT)
        for match in pattern.finditer(text)
    )
    lacks = " ".join(words.group() for words in lacked if words)
    if _FREE.search(text) or _CHARGE.search(lacks):
        lacks += " charge"
    return Polarity(is_negated(text), frozenset(content_words(lacks)))


def _stated(sentence: str) -> str:
    """A sentence up to where it begins to ask; "" where it is a question as a whole."""
    parts = clauses(sentence)
    said = list(takewhile(lambda part: not (_ASKS.match(part) or _SUPPOSES.search(part)), parts))
    asked = parts[len(said) :]
    if asked:
        return "" if _IN_DOUBT.search(asked[0]) else ",".join(said)
    return "" if sentence.rstrip().endswith("?") else sentence


def _figures(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield every figure, in digits or in words, as (its one form, start, end)."""
    for match in _FIGURE.finditer(text):
        yield _plain(match.group()), match.start(), match.end()
    for match in _SPELT.finditer(text):
        # "one" alone is an article or a pronoun as often as a number.
        if match.group().casefold() != "one":
            yield str(_value(match.group())), match.start(), match.end()


def _value(spelt: str) -> int:
    """The number that the words of `_SPELT` mean."""
    whole = part = 0
    for word in re.split(r"[-\s]", spelt.casefold()):
        value = {"a": 1, "and": 0, **_NUMBER_WORDS}[word]
        if value == 1000:
            whole, part = part * value, 0
        else:
            part = part * value if value == 100 else part + value
    return whole + part


def _unit(text: str, start: int, end: int) -> str:
    if before := _UNIT_BEFORE.search(text, max(0, start - 12), start):
        return _UNITS[before.group().strip().casefold()]
    if ordinal := _ORDINAL.match(text, end):
        end = ordinal.end()
    after = _UNIT_AFTER.match(text, end)
    return _UNITS.get((after.group(1) or after.group(2)).casefold(), "") if after else ""


def _rate(text: str, end: int) -> str:
    rate = _RATE.match(text, end)
    return _UNITS.get(rate.group(1).casefold(), "") if rate else ""


def _plain(figure: str) -> str:
    figure = re.sub(r",(?=\d{3}(?!\d))", "", figure)
    figure = re.sub(r":00$", "", figure)
    if re.fullmatch(r"\d+\.\d+", figure):
        figure = figure.rstrip("0").rstrip(".")
    return figure.lstrip("0") or "0"


def _stem(word: str) -> str:
    word = re.sub(r"['’]s$", "", word)  # noqa: RUF001
    for ending in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word
