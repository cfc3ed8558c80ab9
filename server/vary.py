"""Other values for the same form: figures, dates and names changed alike in prompt and reply.

A voice that is trained on varied values cannot learn the facts, only how they are read and said.
What occurs in the passages and in the reply is replaced everywhere by something of the same
shape; what the reply says on its own stays, and so do the house's own names. A date becomes a
date that there can be.

Pure. Read `vary` first.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Sequence

_MONTHS = (
    "January February March April May June July August September October November December"
).split()
_LONG_MONTHS = "January March May July August October December".split()  # any day is one of theirs
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
# Made up, so that no name is nearer to the truth than another.
_NAMES = (
    "Arvel Bexley Corrin Dunmore Elswick Farrow Garrick Hollis Ivory Jessop Kestrel Lorne Marlow "
    "Norden Osric Pellam Quill Rowan Selby Tarn Ulric Vesper Wexford Yarrow Zephyr Alder Bramble "
    "Cobalt Dorset Ember Fallow Gannet Harrow Juniper Larch Merrin Nettle Orchard Pewter Russet"
).split()
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"  # or a month: which comes first differs by country
_DATE = rf"(?:{_DAY}([./-]){_DAY}\1(?:\d\d)?\d\d|(?:19|20)\d\d([./-]){_DAY}\2{_DAY}|{_DAY}/{_DAY})"
_VALUE = re.compile(
    rf"(?<![\w.,]){_DATE}(?=T\d|\W|$)|(?<![\w.,])\d+(?:[.,:]\d+)*(?!\w)|\b[A-Z][a-z]{{2,}}\b"
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_AFTER_SENTENCE = re.compile(r"(?:^|[.!?:\n\"'(]\s*)$")
HOUSE_SHARE = 0.03  # a name in more of the replies than this is the house's own


def vary(
    passages: Sequence[str],
    question: str,
    reply: str,
    *,
    house_names: Collection[str] = (),
    random_: random.Random,
) -> tuple[list[str], str, str]:
    """Replace the values that reply and passages share; returns passages, question and reply."""
    shown = "\n".join(passages)
    told = {match.group() for match in _VALUE.finditer(shown)}
    # A name must stand inside a sentence somewhere: its capital is its own there.
    names = _names(shown) | _names(reply)
    shared = [
        value
        for value in dict.fromkeys(match.group() for match in _VALUE.finditer(reply))
        if value in told
        and value not in house_names
        and (value[0].isdigit() or value in _MONTHS or value in _DAYS or value in names)
    ]
    taken = told | {match.group() for match in _VALUE.finditer(f"{question}\n{reply}")}
    other: dict[str, str] = {}
    for value in shared:
        other[value] = _other(value, taken, random_)
        taken.add(other[value])

    def replaced(text: str) -> str:
        return _VALUE.sub(lambda match: other.get(match.group(), match.group()), text)

    return [replaced(passage) for passage in passages], replaced(question), replaced(reply)


def house_names(replies: Sequence[str]) -> set[str]:
    """The capitalised words that so many replies hold that they are the house's own."""
    counts = Counter(name for reply in replies for name in set(_names(reply)))
    return {name for name, count in counts.items() if count > max(2, HOUSE_SHARE * len(replies))}


def _names(text: str) -> set[str]:
    return {
        match.group()
        for match in _VALUE.finditer(text)
        if match.group()[0].isupper() and not _AFTER_SENTENCE.search(text[: match.start()][-4:])
    }


def _other(value: str, taken: Collection[str], random_: random.Random) -> str:
    """A value of the same shape that is not taken, or the value itself where all are."""
    for _ in range(50):
        other = _draw(value, random_)
        if other not in taken:
            return other
    return value


def _draw(value: str, random_: random.Random) -> str:
    for known in (_MONTHS, _DAYS):
        if value in known:
            return random_.choice(_LONG_MONTHS if known is _MONTHS else known)
    if value[0].isupper():
        return random_.choice(_NAMES)
    if (clock := re.fullmatch(r"(\d{1,2}):\d\d", value)) is not None:
        hour = random_.randint(0, 23)
        minutes = value[-2:] if value.endswith("00") else f"{random_.randint(1, 59):02}"
        return f"{hour:0{len(clock[1])}}:{minutes}"
    if re.fullmatch(_DATE, value) or _YEAR.fullmatch(value):
        return re.sub(r"\d+", lambda part: _part(part.group(), random_), value)
    whole = re.match(r"\d+", value)
    assert whole is not None
    rest = value[whole.end() :]
    if not rest and len(value) == 1:
        return str(random_.randint(2, 19))
    if len(whole[0]) == 2 and 1 <= int(whole[0]) <= 31:  # it may be a day of a month
        ends = (10, 28) if int(whole[0]) >= 10 else (1, 9)
        return f"{random_.randint(*ends):02}" + _digits(rest, random_)
    # The first digit is no zero, trailing zeros stay, and so do .99 and the like.
    kept = len(whole[0]) - len(whole[0].rstrip("0"))
    drawn = [
        str(random_.randint(0, 9)) for _ in range(len(whole[0]) - min(kept, len(whole[0]) - 1))
    ]
    drawn[0] = str(random_.randint(1, 9))
    digits = "".join(drawn) + "0" * (len(whole[0]) - len(drawn))
    return digits + _digits(rest, random_)


def _part(figure: str, random_: random.Random) -> str:
    """A day, month or year as another; what may be a month (up to 12) stays one, too."""
    if len(figure) == 4:
        return f"{figure[:2]}{random_.randint(0, 99):02}"
    ends = (1, 9) if len(figure) == 1 else (1, 12) if int(figure) <= 12 else (13, 28)
    return f"{random_.randint(*ends):0{len(figure)}}"


def _digits(rest: str, random_: random.Random) -> str:
    """Thousands are drawn anew; cents are kept, as 6.95 stays a price that ends in .95."""
    if re.fullmatch(r"[.,]\d{1,2}", rest):
        return rest
    return re.sub(r"[1-9]", lambda _: str(random_.randint(1, 9)), rest)
