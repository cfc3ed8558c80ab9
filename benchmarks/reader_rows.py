"""Rows of made-up tables, as a CSV file is read, and questions that they answer or do not. Pure.

Nobody asks Wikipedia for a row of a price list, so a reader that knows nothing else takes "list
price: $147" for no answer to "What does it list at?". Every value here is drawn by chance, names
and nouns from those that are passed in. Read `Rows.pair` first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ANSWERED, WITHOUT_COLUMN = 0.5, 0.25  # the rest: a row of something else

_MONTHS = (
    "January February March April May June July August September October November December".split()
)
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_VARIANTS = (
    "blue green black small large steel wooden leather cotton children's folding heavy light red "
    "travel white oak silver wool short long glass plastic brass"
).split()
_MATERIALS = "oak steel cotton leather aluminium wool glass linen brass".split()
_PLACES = (
    "hall,room 4,library,garden,north wing,studio,main stage,lobby,room 12,courtyard,gallery"
).split(",")
_EVENTS = "talk workshop concert tour course class lecture meeting market film reading".split()
_JOBS = "repair replacement cleaning inspection fitting painting delivery polishing".split()
_ROLES = (
    "manager accountant cook nurse driver secretary technician teacher director receptionist"
).split()


@dataclass(frozen=True, slots=True)
class Column:
    """What a column may be called, what may stand in it, and how it is asked for."""

    labels: tuple[str, ...]
    value: Callable[[Rows], str]
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Makes rows from nouns (a lamp) and names (Weimar)."""

    nouns: Sequence[str]
    names: Sequence[str]
    chance: random.Random

    def pair(self) -> tuple[str, str, int, int]:
        """Return a question, a row, and where its answer stands in it: 0 and 0 for nowhere."""
        kind = self.chance.choice(list(_TABLES))
        named, entity = self._entity(kind)
        columns = _TABLES[kind]
        most = min(len(columns) - 1, 5)
        shown = self.chance.sample(columns, self.chance.randint(min(3, most), most))
        asked = shown[0]
        draw = self.chance.random()
        if draw >= ANSWERED + WITHOUT_COLUMN:
            named = self._other(kind, named, entity)
        elif draw >= ANSWERED:
            shown = shown[1:]
        text, start, end = self._row(named, shown, asked)
        if draw >= ANSWERED:
            start = end = 0
        question = self.chance.choice(_COLUMNS[asked].questions).format(entity)
        return question[0].upper() + question[1:], text, start, end

    def _row(
        self, named: list[tuple[str, str]], shown: Sequence[str], asked: str
    ) -> tuple[str, int, int]:
        """The row's text, and where the value of the column that is asked for stands."""
        own = [(name, self.chance.choice(_COLUMNS[name].labels)) for name in shown]
        cells = [("", label, value) for label, value in named]
        cells += [(name, label, _COLUMNS[name].value(self)) for name, label in own]
        self.chance.shuffle(cells)
        separator = self.chance.choice(("; ", "; ", "; ", "\n", ", "))
        text, start, end = "", 0, 0
        for name, label, value in cells:
            text += f"{separator if text else ''}{label}: "
            if name == asked:
                start, end = len(text), len(text) + len(value)
            text += value
        return text, start, end

    def _entity(self, kind: str) -> tuple[list[tuple[str, str]], str]:
        """The cells that say what a row is about, and how a question names it."""
        choose = self.chance.choice
        noun, name, variant = choose(self.nouns), choose(self.names), choose(_VARIANTS)
        if kind == "product":
            if self.chance.random() < 0.5:
                return [("product", f"{name} {noun}"), ("variant", variant)], choose(
                    (
                        f"the {variant} {name} {noun}",
                        f"the {name} {noun} in {variant}",
                        f"the {variant} version of the {name} {noun}",
                    )
                )
            return [("item", f"{variant} {noun}")], f"a {variant} {noun}"
        if kind == "event":
            event, month = choose(_EVENTS), choose(_MONTHS)
            if self.chance.random() < 0.5:
                return [("event", f"{event.capitalize()}: the {noun}")], choose(
                    (f"the {event} about the {noun}", f"the {event} on the {noun}")
                )
            return [("event", f"{noun.capitalize()} {event}"), ("month", month)], choose(
                (f"the {noun} {event} in {month}", f"the {month} {noun} {event}")
            )
        if kind == "job":
            job = choose(_JOBS)
            label = choose(("service", "job", "work"))
            return [(label, f"{noun} {job}")], choose(
                (f"the {job} of a {noun}", f"a {noun} {job}", f"{job} of my {noun}")
            )
        role, person = choose(_ROLES), _person(self)
        return [("name", person), ("role", role)], choose((person, f"the {role}"))

    def _other(self, kind: str, named: list[tuple[str, str]], entity: str) -> list[tuple[str, str]]:
        """Cells of another row; where two say what it is about, often one of them is the same."""
        while True:
            other, _ = self._entity(kind)
            if len(other) == len(named) == 2 and self.chance.random() < 0.6:
                kept = self.chance.randrange(2)
                other[kept] = named[kept]
            told = [_is_told(value, entity) for _, value in other]
            if not (any(told) if kind == "person" else all(told)):
                return other


def _is_told(value: str, entity: str) -> bool:
    """Whether a question's entity has all the words of a cell."""
    return set(value.lower().replace(":", "").split()) <= {"the", *entity.lower().split()}


def _person(rows: Rows) -> str:
    return f"{rows.chance.choice(rows.names)} {rows.chance.choice(rows.names)}"


def _money(rows: Rows) -> str:
    amount = rows.chance.randint(2, 400)
    return rows.chance.choice(("${}", "${}", "${}.50", "€{}", "£{}")).format(amount)


def _place(rows: Rows) -> str:
    return rows.chance.choice(_PLACES)


def _time(rows: Rows) -> str:
    if rows.chance.random() < 0.5:
        return f"{rows.chance.randint(8, 20)}:{rows.chance.choice(('00', '15', '30', '45'))}"
    return f"{rows.chance.randint(1, 11)} {rows.chance.choice(('am', 'pm'))}"


def _date(rows: Rows) -> str:
    day, month = rows.chance.randint(1, 28), rows.chance.choice(_MONTHS)
    year = rows.chance.randint(2019, 2028)
    return rows.chance.choice(
        (f"{day} {month} {year}", f"{month} {day}", rows.chance.choice(_DAYS))
    )


def _duration(rows: Rows) -> str:
    amount = rows.chance.randint(2, 90)
    return rows.chance.choice(
        (f"{amount} minutes", f"{amount % 7 + 2} hours", f"{amount % 9 + 2} days")
    )


def _hours(rows: Rows) -> str:
    first, last = rows.chance.randint(8, 11), rows.chance.randint(12, 18)
    return f"{rows.chance.choice(_DAYS)} {first}:00-{last}:00"


def _code(rows: Rows) -> str:
    return f"{''.join(rows.chance.choices('ABCDEFGHKLMNPRST', k=2))}-{rows.chance.randint(10, 999)}"


_COLUMNS = {
    "price": Column(
        ("price", "list price", "cost", "unit price", "fee"),
        _money,
        (
            "How much is {}?",
            "What does {} cost?",
            "What do you charge for {}?",
            "What is the price of {}?",
            "What does {} list at?",
            "What would I pay for {}?",
            "Find the price of {}. If there are several, list all.",
            "price of {}",
            "How much do you want for {}?",
        ),
    ),
    "weight": Column(
        ("weight",),
        lambda rows: f"{rows.chance.randint(1, 90) / 10} kg",
        ("How heavy is {}?", "What does {} weigh?", "Give the weight of {}."),
    ),
    "stock": Column(
        ("stock", "in stock", "quantity"),
        lambda rows: str(rows.chance.randint(0, 300)),
        ("How many of {} are left?", "How many of {} do you have?", "What is the stock of {}?"),
    ),
    "warranty": Column(
        ("guarantee", "warranty"),
        lambda rows: rows.chance.choice(("2 years", "5 years", "1 year", "6 months", "lifetime")),
        ("How long is {} guaranteed?", "How long does the warranty on {} last?"),
    ),
    "material": Column(
        ("material",),
        lambda rows: rows.chance.choice(_MATERIALS),
        ("What is {} made of?", "Which material is used for {}?"),
    ),
    "code": Column(
        ("code", "item code", "number", "sku"),
        _code,
        ("What is the item number of {}?", "Under which code do I order {}?"),
    ),
    "maker": Column(
        ("maker", "brand", "manufacturer"),
        lambda rows: rows.chance.choice(rows.names) + rows.chance.choice((" & Sons", " Ltd", "")),
        ("Who makes {}?", "Which company produces {}?", "Who is the manufacturer of {}?"),
    ),
    "date": Column(
        ("date", "day"), _date, ("When is {}?", "On what date is {}?", "What day is {} on?")
    ),
    "time": Column(
        ("time", "start"), _time, ("What time does {} start?", "How early does {} begin?")
    ),
    "place": Column(
        ("place", "room", "location"),
        _place,
        ("Where is {}?", "Where does {} take place?", "In which room is {}?"),
    ),
    "speaker": Column(
        ("speaker", "led by", "host", "guide"),
        _person,
        ("Who gives {}?", "Who is leading {}?", "Who is down to give {}?", "Who runs {}?"),
    ),
    "seats": Column(
        ("seats", "places", "capacity"),
        lambda rows: str(rows.chance.randint(4, 200)),
        ("How many people can come to {}?", "How many seats are there at {}?"),
    ),
    "duration": Column(
        ("duration", "length"),
        _duration,
        ("How long does {} take?", "How long will {} be?", "State how long {} lasts."),
    ),
    "phone": Column(
        ("phone", "extension"),
        lambda rows: f"{rows.chance.randint(100, 999)}-{rows.chance.randint(1000, 9999)}",
        ("What is the phone number of {}?", "How do I reach {} by phone?"),
    ),
    "office": Column(
        ("office", "room"),
        _place,
        ("Where does {} sit?", "In which room can I find {}?", "Which office is {} in?"),
    ),
    "since": Column(
        ("since", "here since"),
        lambda rows: str(rows.chance.randint(1995, 2025)),
        ("Since when has {} worked here?", "How long has {} been with us?"),
    ),
    "hours": Column(
        ("hours", "office hours"),
        _hours,
        ("When is {} in?", "What are the hours of {}?", "When can I meet {}?"),
    ),
}
_TABLES = {
    "product": ("price", "weight", "stock", "warranty", "material", "code", "maker"),
    "event": ("date", "time", "place", "speaker", "seats", "price", "duration"),
    "job": ("price", "duration", "warranty", "code"),
    "person": ("phone", "office", "since", "hours"),
}
