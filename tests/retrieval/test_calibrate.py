"""Weight and threshold are fitted on cases, and cases are made of a store's own documents."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval import calibrations
from retrieval.calibrate import (
    DEFAULT_LEXICAL_WEIGHT,
    ENOUGH_CASES,
    Calibration,
    Case,
    fit_weight,
    separate,
)
from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.errors import Cancelled, NotFound
from retrieval.grounds import DEFAULT_THRESHOLD, Judge
from retrieval.library import Library
from retrieval.parse import Parser
from retrieval.probes import MOST_PROBES, find_cases

WORDS = "returns refund warranty shipping days bag rack lamp price store".split()


def case(query: str, near: dict[int, float], words: dict[int, float]) -> Case:
    """A case whose right passage is 1."""
    return Case(query, near, words, frozenset({1}))


LEXICAL = case("order number", {1: 0.2, 2: 0.9, 3: 0.8}, {1: 9.0, 3: 1.0})
DENSE = case("order number", {1: 0.9, 2: 0.2, 3: 0.1}, {2: 9.0, 3: 8.0})


def test_words_weigh_more_where_they_find_what_vectors_do_not() -> None:
    assert fit_weight([LEXICAL] * 20) > DEFAULT_LEXICAL_WEIGHT


def test_words_weigh_less_where_they_mislead() -> None:
    misled = case("order number", {1: 0.5, 2: 0.45, 3: 0.4}, {2: 9.0, 3: 8.0})
    assert fit_weight([misled] * 20) < DEFAULT_LEXICAL_WEIGHT


def test_the_default_stays_where_nothing_is_surely_better() -> None:
    assert fit_weight([LEXICAL, *[DENSE] * 30]) == DEFAULT_LEXICAL_WEIGHT


def test_a_threshold_keeps_nearly_all_of_what_can_be_answered() -> None:
    right, wrong = np.linspace(0.5, 0.9, 100).tolist(), np.linspace(0.1, 0.6, 100).tolist()
    threshold, separation = separate(right, wrong)
    assert np.mean(np.asarray(right) >= threshold) >= 0.95
    assert np.mean(np.asarray(wrong) < threshold) > 0.75
    assert 0.9 < separation < 1
    assert separate([0.9] * 5, [0.1] * 5) == (0.5, 1.0)


# -- cases made of documents


def fill(library: Library, documents: int = 12) -> None:
    chance = random.Random(1)
    for number in range(documents):
        parts = [
            f"# {chance.choice(WORDS)} {chance.choice(WORDS)} {number}\n\n"
            + " ".join(" ".join(chance.choices(WORDS, k=7)).capitalize() + "." for _ in range(4))
            for _ in range(3)
        ]
        library.add(
            "vs",
            document_id=f"d{number}",
            name=f"d{number}.md",
            data="\n\n".join(parts).encode(),
        )


def cases_of(database: Database, embedder: Embedder, **more) -> list[Case]:
    return find_cases(
        database,
        "vs",
        embedder.fingerprint,
        embed=more.pop("embed", embedder.embed),
        embed_queries=lambda texts: embedder.embed(texts, queries=True),
        **more,
    )


def test_a_probe_is_not_in_the_passage_that_it_asks_for(
    library: Library, database: Database, embedder: Embedder
) -> None:
    fill(library)
    embedded: list[str] = []

    def embed(texts):
        embedded.extend(texts)
        return embedder.embed(texts)

    cases = cases_of(database, embedder, embed=embed)
    assert ENOUGH_CASES <= len(cases) <= MOST_PROBES
    headings = 0
    for made, text in zip(cases, embedded, strict=True):
        assert made.query not in text
        assert made.own & made.near.keys()
        headings += made.query.split()[-1].isdigit()
    assert 0 < headings < len(cases)


def test_probes_are_the_same_each_time_and_bounded(
    library: Library, database: Database, embedder: Embedder
) -> None:
    fill(library, 30)
    first = cases_of(database, embedder)
    assert len(first) == MOST_PROBES
    assert [made.query for made in first] == [made.query for made in cases_of(database, embedder)]


def test_a_store_of_one_document_has_no_probes(
    library: Library, database: Database, embedder: Embedder
) -> None:
    assert cases_of(database, embedder) == []
    fill(library, 1)
    assert cases_of(database, embedder) == []


# -- the calibration of a store


def test_a_store_is_calibrated_on_itself_and_remembers_it(
    library: Library, database: Database, embedder: Embedder, parser: Parser, tmp_path: Path
) -> None:
    assert library.calibrations.of("vs") == Calibration()
    fill(library)
    library.calibrations.tend()
    made = library.calibrations.of("vs")
    assert made.method == "probes" and made.probes >= ENOUGH_CASES
    assert 0 <= made.lexical_weight <= 1 and made.threshold == DEFAULT_THRESHOLD
    again = Library(database, embedder, folder=tmp_path / "generations", parser=parser)
    assert again.calibrations.of("vs") == made


def test_a_search_uses_the_weight_of_its_store(library: Library, database: Database) -> None:
    fill(library)
    library.calibrations.tend()
    for weight in (0.0, 0.7):
        database.write(
            lambda connection, weight=weight: connection.execute(  # type: ignore[misc]
                "UPDATE calibrations SET lexical_weight = ?", (weight,)
            )
        )
        expected = library.search(["vs"], "refund lamp", lexical_weight=weight)
        assert library.search(["vs"], "refund lamp") == expected


def test_only_a_store_that_changed_much_is_fitted_again(
    library: Library, database: Database, embedder: Embedder
) -> None:
    judge = Judge(embedder).name

    def stale() -> bool:
        with database.read() as connection:
            return calibrations.is_stale(connection, "vs", embedder.fingerprint, judge)

    assert not stale(), "an empty store needs no calibration"
    fill(library)
    assert stale()
    library.calibrations.tend()
    assert not stale()
    library.remove("vs", "d0")
    assert not stale()
    for number in range(1, 4):
        library.remove("vs", f"d{number}")
    assert stale()


def test_questions_go_before_probes_and_are_remembered(library: Library) -> None:
    fill(library)
    texts = {number: library.document_text("vs", f"d{number}") for number in range(12)}
    questions = [(text[-40:], f"d{number}") for number, text in texts.items()]
    made = library.calibrations.fit("vs", questions=[*questions, ("refund", "unknown document")])
    assert (made.method, made.probes) == ("questions", 12)
    assert made.threshold != DEFAULT_THRESHOLD and made.separation is not None
    assert library.calibrations.threshold(["vs"]) == made.threshold
    assert library.calibrations.fit("vs") == made
    for number in range(4):
        library.remove("vs", f"d{number}")
    assert library.calibrations.fit("vs").method == "probes", "too few of the questions are left"


def test_a_threshold_of_another_judge_does_not_count_and_is_fitted_again(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library)
    questions = [(library.document_text("vs", f"d{n}")[-40:], f"d{n}") for n in range(12)]
    made = library.calibrations.fit("vs", questions=questions)
    monkeypatch.setattr("retrieval.grounds._FORMULA", "another")
    assert library.calibrations.of("vs") == replace(made, threshold=DEFAULT_THRESHOLD) != made
    library.calibrations.tend()
    assert library.calibrations.of("vs") == made


def test_a_calibration_can_be_stopped_and_leaves_nothing(library: Library) -> None:
    fill(library)
    with pytest.raises(Cancelled):
        library.calibrations.tend(stopped=lambda: True)
    assert library.calibrations.of("vs") == Calibration()
    library.stores.delete("vs")
    library.calibrations.tend()
    with pytest.raises(NotFound):
        library.calibrations.fit("vs")
