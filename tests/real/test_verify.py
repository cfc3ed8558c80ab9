"""The built-in verifier tells an answer from a near miss, and can be trained by its recipe."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from benchmarks.reader import fit
from benchmarks.reader_network import Network
from benchmarks.reader_pairs import Pair
from retrieval.verify import Verifier
from tuning.generator import locate
from tuning.source import DEFAULT_GENERATOR

LAMP = (
    "The Polaris lamp was built in Bremen in 1931 and burns for nine hours on one filling. "
    "It is lit by its keeper, Ada Frost, who rows out at dusk."
)
SENTENCES = [(0, 86), (87, len(LAMP))]


@pytest.fixture(scope="module")
def base(models: Path) -> Path:
    return Path(locate(DEFAULT_GENERATOR, models_dir=models))


@pytest.fixture(scope="module")
def verifier(base: Path) -> Verifier:
    return Verifier(base, "cpu")


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("When was the Polaris lamp built?", 0),
        ("How long does the lamp burn on one filling?", 0),
        ("Who lights the Polaris lamp?", 1),
    ],
)
def test_an_answer_is_found_in_its_sentence(
    verifier: Verifier, question: str, sentence: int
) -> None:
    (scores,) = verifier.read(question, [("Lamps", LAMP)], [SENTENCES]) or [[]]
    assert max(scores) == scores[sentence] > 0


@pytest.mark.parametrize(
    "question",
    [
        "What did the Polaris lamp cost?",
        "Who built the Polaris lamp?",
        "When was the Polaris lamp restored?",
        "Which ship brought the Polaris lamp?",
        "How many keepers have drowned?",
    ],
)
def test_a_near_miss_is_none(verifier: Verifier, question: str) -> None:
    (scores,) = verifier.read(question, [("Lamps", LAMP)], [SENTENCES]) or [[]]
    assert max(scores) < 0


def test_its_recipe_makes_what_it_reads(base: Path, models: Path, tmp_path: Path) -> None:
    start = LAMP.index("Ada Frost")
    pairs = [
        Pair("Who lights it?", LAMP, start, start + len("Ada Frost"), "answer", "Lamps"),
        Pair("What did it cost?", LAMP, 0, 0, "near", "Lamps"),
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        network = Network.verifier(models)
        made = fit(network, pairs, pairs, dressed=lambda p: p, minutes=0.01, out=tmp_path)
    assert made["steps"] >= 1
    trained = Verifier(base, "cpu", adapter=tmp_path)
    assert len((trained.read("Who lights it?", [(None, LAMP)], [SENTENCES]) or [[]])[0]) == 2
