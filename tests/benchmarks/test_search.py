"""The gate of the search benchmark: what is served is never shown to be below its base."""

from __future__ import annotations

import pytest
from rich.console import Console

from benchmarks.corpus import Corpus, Query
from benchmarks.search import Arm, Bench

DEV, HELD = 20, 200


def arm(name: str, dev: float, held: float) -> Arm:
    """An arm that finds the right document first for these shares of the queries."""

    def found(share: float, count: int) -> list[list[str]]:
        return [["right"] if at < share * count else ["wrong"] for at in range(count)]

    return Arm(name, {"dev": found(dev, DEV), "held": found(held, HELD)})


def report(**found: tuple[float, float]) -> dict:
    queries = {
        side: [Query(f"q{at}", "t", {"right": 1.0}) for at in range(count)]
        for side, count in (("dev", DEV), ("held", HELD))
    }
    bench = Bench(Corpus.of({"right": "a", "wrong": "b"}), queries, Console(quiet=True))
    return bench.report([arm(name, *shares) for name, shares in found.items()])


BASE = {"base_dense": (0.4, 0.5), "base_hybrid": (0.5, 0.55)}


def test_an_arm_that_dev_likes_less_is_served_where_the_first_fails() -> None:
    made = report(**BASE, query_adapter=(0.9, 0.55), full_dense=(0.6, 0.7), full=(0.7, 0.8))
    assert (made["gate"]["decision"], made["gate"]["served"]) == ("accepted", "full")
    assert made["served"] == made["full"] and made["gate"]["interval"][0] > 0


@pytest.mark.parametrize("held", [0.3, 0.55, 0.555])
def test_where_none_is_shown_to_be_better_the_base_is_served(held: float) -> None:
    made = report(**BASE, query_adapter=(0.9, held), full_dense=(0.9, held), full=(0.9, held))
    assert made["gate"]["decision"] == "refused"
    assert made["served"] == made["base_hybrid"]


def test_what_is_better_than_the_chosen_base_alone_is_refused() -> None:
    made = report(
        base_dense=(0.9, 0.2),  # dev is wrong about it
        base_hybrid=(0.1, 0.7),
        query_adapter=(0.9, 0.5),
        full_dense=(0.9, 0.5),
        full=(0.9, 0.5),
    )
    assert made["gate"]["decision"] == "refused"


def test_several_looks_need_a_clearer_gain() -> None:
    made = report(**BASE, query_adapter=(0.9, 0.6), full_dense=(0.6, 0.5), full=(0.7, 0.5))
    assert made["gate"]["confidence"] == pytest.approx(1 - 0.05 / 3, abs=1e-4)
