"""The figures that a text states, each with the unit or thing that it counts.

"Returns are open for 45 days" states day: 45; "$6.50" states $: 6.5. By it two texts can be seen
to contradict each other: they give the same unit different figures. Knows no examples and no
documents. English number words up to twenty are read, figures in any language.
"""

from __future__ import annotations

import re

_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
    if word != "one"  # an article or a pronoun as often as a number
}
_FIGURE = r"\d+(?:[.,:]\d+)*"
_STATED = re.compile(
    rf"(?P<sign>[$€£¥]|\b(?:USD|EUR|GBP|CHF)\s)?\s?"
    rf"(?<![\w.,:/#-])(?P<figure>{_FIGURE}|\b(?:{'|'.join(_NUMBERS)})\b)"
    rf"(?:\s?(?:-|–|to)\s?(?P<high>{_FIGURE}))?"  # noqa: RUF001
    r"(?:\s?(?P<after>[%€£°])|[\s-]{0,2}(?P<words>[^\W\d_]+(?:[\s-][^\W\d_]+){0,2}))?",
    re.IGNORECASE,
)
# The things that support replies count; a word that is none of them would be a guess.
_UNITS = {
    "second": "sec secs second seconds",
    "minute": "min mins minute minutes",
    "hour": "h hr hrs hour hours stunde stunden",
    "day": "d day days tag tage tagen",
    "week": "week weeks woche wochen",
    "month": "month months mth mths monat monate monaten",
    "year": "yr yrs year years jahr jahre jahren",
    "g": "g gram grams gramme grammes gramm",
    "kg": "kg kgs kilo kilos kilogram kilograms",
    "mm": "mm millimetre millimetres millimeter millimeters",
    "cm": "cm centimetre centimetres centimeter centimeters",
    "m": "m metre metres meter meters",
    "km": "km kilometre kilometres kilometer kilometers",
    "litre": "l liter liters litre litres",
    "ml": "ml millilitre millilitres",
    "lb": "lb lbs pound pounds",
    "lumen": "lm lumen lumens",
    "watt": "w watt watts",
    "volt": "v volt volts",
    "mah": "mah",
    "gb": "gb gigabyte gigabytes",
    "mb": "mb megabyte megabytes",
    "%": "percent prozent",
    "$": "dollar dollars usd",
    "€": "euro euros eur",
    "£": "gbp",
    "chf": "chf franc francs franken",
}
_TIME = frozenset("second minute hour day week month year".split())
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_BETWEEN = frozenset("working business calendar full whole consecutive more full-time".split())


def stated(text: str) -> dict[str, set[str]]:
    """Return {unit: figures} for the figures of a text that count something known.

    A range is one figure, "3-5". Figures are written as `1200`, `6.5`, `45`.
    """
    found: dict[str, set[str]] = {}
    for match in _STATED.finditer(text):
        unit = _unit(match)
        if unit is None:
            continue
        figure = _plain(match["figure"])
        if match["high"]:
            figure = f"{figure}-{_plain(match['high'])}"
        found.setdefault(unit, set()).add(figure)
    return found


def conflicts(one: dict[str, set[str]], other: dict[str, set[str]]) -> list[tuple[str, str, str]]:
    """(unit, figure, other figure) wherever both state exactly one figure of a unit, not the same.

    Texts that state several figures of one unit are not judged: which belongs to which is a guess.
    Nor are those that name a time in several units, "6 weeks and 3 days".
    """
    shared = one.keys() & other.keys()
    if any(len(values.keys() & _TIME) > 1 for values in (one, other)):
        shared -= _TIME
    return [
        (unit, a, b)
        for unit in sorted(shared)
        if len(one[unit]) == len(other[unit]) == 1
        for a, b in zip(one[unit], other[unit], strict=True)
        if a != b and not _overlap(a, b)
    ]


def _unit(match: re.Match[str]) -> str | None:
    if match["sign"]:
        sign = match["sign"].strip().casefold()
        return _UNIT_OF.get(sign, sign)
    if match["after"]:
        return match["after"]
    for word in re.split(r"[\s-]+", (match["words"] or "").casefold()):
        if word in _UNIT_OF:
            return _UNIT_OF[word]
        if word not in _BETWEEN:
            return None
    return None


def _plain(figure: str) -> str:
    figure = _NUMBERS.get(figure.casefold(), figure)
    figure = re.sub(r",(?=\d{3}(?!\d))", "", figure)
    figure = re.sub(r":00$", "", figure)
    if re.fullmatch(r"\d+\.\d+", figure):
        figure = figure.rstrip("0").rstrip(".")
    return re.sub(r"^0+(?=\d)", "", figure)


def _overlap(one: str, other: str) -> bool:
    """Whether a figure is an end of a range, or lies in it: "3-5" and "5" agree."""
    try:
        (low, high), (low2, high2) = (
            (float(ends[0]), float(ends[-1])) for ends in (one.split("-"), other.split("-"))
        )
    except ValueError:
        return False
    return (low != high and low <= low2 <= high2 <= high) or (
        low2 != high2 and low2 <= low <= high <= high2
    )
