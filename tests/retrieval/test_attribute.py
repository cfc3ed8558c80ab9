from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from retrieval.attribute import attribute, check, support
from retrieval.claims import figures

PASSAGES = [
    "Returns are accepted within 45 days of delivery. The restocking fee is $6.",
    "Saltmarsh bags are covered for 12 years on stitching and fabric.",
    "The shop opens at 10:00 from Tuesday to Friday and is closed on Monday.",
]


@pytest.mark.parametrize(
    ("claim", "index"),
    [
        ("You can return it within 45 days of delivery.", 0),
        ("The bags have twelve years of cover on fabric and stitching [2].", 1),
        ("The shop is open from 10 on Tuesday.", 2),
        ("Bags are covered for 15 years on stitching.", None),
        ("The restocking fee is $7.", None),
        ("Penguins live on ice.", None),
        ("Happy to help!", None),
        ("Is it about a bag that Saltmarsh has covered?", None),
    ],
)
def test_a_claim_is_supported_by_the_passage_with_its_words_and_figures(
    claim: str, index: int | None
) -> None:
    assert support(claim, PASSAGES)[0] == index


def test_figures_have_one_form() -> None:
    assert figures("1,200 and 2.50 at 10:00, twelve, 007") == {"1200", "2.5", "10", "12", "7"}


@pytest.mark.parametrize(
    ("spelt", "held"),
    [
        ("within thirty days", {"30"}),
        ("Forty-five days, or forty five", {"45"}),
        ("a hundred miles", {"100"}),
        ("two hundred and five bags", {"205"}),
        ("three thousand four hundred seats", {"3400"}),
        ("between thirty and sixty thousand people", {"30", "60000"}),
        ("forty two-day trips", {"40", "2"}),
        ("sixty, seven or eighty", {"60", "7", "80"}),
        ("two million euros", {"2"}),
        ("one of hundreds", set()),
    ],
)
def test_a_number_in_words_is_a_figure(spelt: str, held: set[str]) -> None:
    assert figures(spelt) == held


def test_a_number_in_words_is_held_against_digits_with_its_unit() -> None:
    assert support("Returns are accepted within thirty days of delivery.", PASSAGES)[0] is None
    assert support("Returns are accepted within forty-five days of delivery.", PASSAGES)[0] == 0
    assert support("Returns are accepted within forty-five weeks of delivery.", PASSAGES)[0] is None


@pytest.mark.parametrize(
    ("passage", "honest", "false"),
    [
        (
            "Expenses are paid within 10 working days.",
            "Expenses are paid within 10 days.",
            "Expenses are paid within 10 working weeks.",
        ),
        (
            "Each late day costs 20 cents a book.",
            "A late day costs 20¢ a book.",
            "A late day costs 20 dollars a book.",
        ),
        (
            "Repairs are done by the hour: $35 an hour.",
            "Repairs are done for $35.",
            "Repairs are done for $35 a day.",
        ),
        (
            "The wheel turns 6 times a minute.",
            "The wheel turns 6 times per minute.",
            "The wheel turns 6 times an hour.",
        ),
    ],
)
def test_a_figure_in_another_unit_is_another_figure(passage: str, honest: str, false: str) -> None:
    assert check(honest, [passage]).supported
    assert not check(false, [passage]).supported


@pytest.mark.parametrize(
    ("passage", "honest", "false"),
    [
        ("No dogs are allowed.", "Dogs are not allowed.", "Dogs are allowed."),
        (
            "In storms the ferry does not sail. Tickets are refunded within 14 days.",
            "Tickets are refunded.",
            "Tickets are not refunded.",
        ),
        ("No tag is needed for a red lamp.", "A red lamp needs no tag.", "A red lamp needs a tag."),
        (
            "No tag is needed for a red lamp.",
            "A red lamp can be had without a tag, if needed.",
            "A lamp needs a tag.",
        ),
        (
            "Red lamps are fitted at no charge.",
            "Red lamps are fitted free.",
            "Red lamps are fitted at a charge.",
        ),
        ("Lamp No. 3 costs $40.", "The lamp no. 3 costs $40.", "No lamp 3 costs $40."),
        ("It holds no more than 9 bags.", "It holds up to 9 bags.", "It holds no bags."),
        ("It closes no later than May.", "It closes by May.", "It never closes in May."),
        ("Bags last, no care is needed.", "Bags last.", "Care is needed."),
        ("Cats may come, but dogs may not.", "Cats may come.", "Dogs may come."),
        ("Dogs, even on a lead, may not enter.", "No dogs enter.", "Dogs enter on a lead."),
        ("We ship there.", "No, we ship there.", "We ship no bags there."),
    ],
)
def test_no_denies_as_not_does(passage: str, honest: str, false: str) -> None:
    assert check(honest, [passage]).supported and not check(false, [passage]).supported


def test_nothing_is_supported_by_no_passages() -> None:
    assert support("Returns take 45 days.", []) == (None, 0.0)


def test_every_sentence_of_an_answer_is_a_claim_with_offsets() -> None:
    answer = "Hello there! Returns are accepted within 45 days. Bags last 99 years."
    claims = attribute(answer, PASSAGES)
    assert [answer[claim.start : claim.end] for claim in claims] == [
        "Hello there!",
        "Returns are accepted within 45 days.",
        "Bags last 99 years.",
    ]
    assert [claim.passage for claim in claims] == [None, 0, None]


def test_the_time_of_a_claim_grows_no_faster_than_the_passages() -> None:
    claim = "A sentence of some twenty words, with a figure of 3, that nobody wrote."

    def seconds(words: int) -> float:
        passages = ["word " * words + str(number) for number in range(4)]
        runs = []
        for _ in range(20):
            started = time.process_time()  # not the clock: others may use the processor
            support(claim, passages)
            runs.append(time.process_time() - started)
        return min(runs)

    # 16 times the words: 16 times the time, 256 times if it were quadratic.
    assert seconds(16 * 240) < 60 * seconds(240)


def test_a_claim_takes_less_than_2_ms() -> None:
    passages = ["word " * 120 + str(number) for number in range(4)]
    runs = []
    for _ in range(5):  # the best of five: others may use the processor
        started = time.process_time()
        for _ in range(100):
            support(
                "A sentence of some twenty words, with a figure of 3, that nobody wrote.", passages
            )
        runs.append((time.process_time() - started) / 100)
    assert min(runs) < 0.002


LABELLED = [
    json.loads(line)
    for line in (Path(__file__).parent / "claims.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_on_the_labelled_claims_what_is_unsupported_is_found_and_the_right_passage_cited() -> None:
    """220 claims written for this project, half unsupported: changed figures and units, swapped
    names, a "not" or a "no" too many or too few, and inventions."""
    flagged = truly = both = cited = right = 0
    wrong = []
    for group in LABELLED:
        for item in group["claims"]:
            found = check(item["claim"], group["passages"])
            unsupported = item["passage"] is None
            flagged += not found.supported
            truly += unsupported
            both += unsupported and not found.supported
            if not unsupported and found.supported:
                cited += 1
                right += found.passage == item["passage"]
            if unsupported == found.supported or found.passage != item["passage"]:
                wrong.append((item["claim"], found.passage, found.score))
    assert truly == 110
    assert both / flagged >= 0.9 and both / truly >= 0.9, wrong
    assert cited and right / cited >= 0.95, wrong


@pytest.mark.parametrize(
    ("claim", "supported"),
    [
        ("Ines Marlow has run the ferry since 2004.", True),
        ("The deputy is Tom Reyes.", True),
        ("Her deputy, Tom Reyes, helps Ines Marlow run the ferry.", True),
        ("A crossing with Ines Marlow takes 20 minutes.", True),
        ("Tom Reyes has run the ferry since 2004.", False),
        ("The deputy is Ines Marlow.", False),
        ("Ines Marlow is the deputy.", False),
    ],
)
def test_a_name_of_the_passage_may_not_take_the_place_of_another(
    claim: str, supported: bool
) -> None:
    passage = (
        "Captain Ines Marlow has run the ferry since 2004. Her deputy is Tom Reyes. "
        "A crossing takes 20 minutes."
    )
    assert check(claim, [passage]).supported is supported


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("The Ropewalk Lock costs $64.", "Ropewalk Lock: $64, black."),
        ("We open at 10 on Saturday.", "Saturday: 10:00 to 14:00"),
        ("We ship to Canada and Mexico.", "Countries served: Canada, Mexico, Brazil."),
        ("It was designed by Ansel Brandt.", "Name: Bollard rear rack; Maker: Ansel Brandt"),
    ],
)
def test_a_line_of_names_supports_what_is_said_of_them(claim: str, passage: str) -> None:
    assert check(claim, [passage, *PASSAGES]).passage == 0


def test_the_span_of_a_supported_claim_holds_its_words() -> None:
    passage = "The shop opens at 10:00. Bags are covered for 12 years."
    claim = check("Bags have 12 years of cover.", [passage])
    assert passage[claim.passage_start : claim.passage_end] == "Bags are covered for 12 years."


def test_what_the_user_said_supports_without_a_passage() -> None:
    claim = check("You bought 3 tents.", PASSAGES, message="I bought 3 tents in May.")
    assert (claim.supported, claim.passage, claim.missing) == (True, None, ())


@pytest.mark.parametrize(
    "question",
    [
        "Is the deposit $5?",
        "is the deposit $5",
        "Hello, is the deposit $5?",
        "So the deposit is $5?",
        "The deposit is $5, right?",
        "The deposit is $5, isn't it?",
        "The deposit is $5, can you confirm that?",
        "Can you tell me whether the deposit is $5?",
        "I think the deposit is $5.",
        "I heard that the deposit is $5 and would like to know more.",
    ],
)
def test_what_a_question_only_proposes_supports_nothing(question: str) -> None:
    assert not check("The deposit is $5.", PASSAGES, message=question).supported


@pytest.mark.parametrize(
    ("message", "claim"),
    [
        ("Hi, I'm Ann Frost. Where is my bag?", "You are Ann Frost."),
        ("My order number is 4411, when will it arrive?", "Your order number is 4411."),
        ("I own a Heron tent, do you sell poles for it?", "You own a Heron tent."),
        ("I have 3 tents and want to know if I can return them.", "You have 3 tents."),
        ("I paid $5. Why?", "You paid $5."),
        ("Order: 4411\nName: Ann\nHas it left", "The name is Ann, the order 4411."),
        ("My bag came on 3 May - is it too late?", "Your bag came on May 3."),
    ],
)
def test_what_the_user_tells_beside_a_question_supports(message: str, claim: str) -> None:
    found = check(claim, ["Returns are accepted."], message=message)
    assert found.supported and found.passage is None


def test_missing_figures_and_names_are_told() -> None:
    claim = check("Ask Mina Sorrel within 46 days.", PASSAGES)
    assert not claim.supported and claim.missing[0] == "46"
    assert set(claim.missing[1].split()) == {"mina", "sorrel"}
