"""Every recommendation, from figures that deserve it."""

from __future__ import annotations

import pytest

from server.arms import ARMS
from server.measures import MEASURES
from server.recommend import Recommendation, recommend
from server.verdict import Measured

QUESTIONS = 60
TOKENS = {
    "base": 60,
    "few_shot": 400,
    "search": 260,
    "search_few_shot": 600,
    "voice": 60,
    "search_voice": 260,
}


def arms(only: tuple[str, ...] = tuple(TOKENS), **shares: dict[str, float]) -> list[Measured]:
    """Arms with so large a share of ones in each measure; by default a poor base everywhere."""
    made = []
    for arm in ARMS:
        if arm.key not in only:
            continue
        default = {"style": 0.2, "facts": 0.2, "support": 0.5, "declined": 0.1}
        chosen = {"false_refusals": 0.0, "claims": 0.5, **default, **shares.get(arm.key, {})}
        values = {
            measure.key: {
                f"q{n}": float(n < round(QUESTIONS * chosen[measure.key]))
                for n in range(QUESTIONS if measure.key in chosen else 0)
            }
            for measure in MEASURES
        }
        tokens = (TOKENS[arm.key],) * QUESTIONS
        made.append(Measured(arm, values, values, tokens, (20,) * QUESTIONS))
    return made


def advice(
    measured: list[Measured], *, answerable: int = 60, unanswered: int = 0
) -> Recommendation:
    found = recommend(measured, answerable=answerable, unanswered=unanswered)
    sentences = found.text.replace(" 0.", " 0").count(". ") + 1
    assert sentences == 2 and found.text.endswith("."), found.text
    return found


FAIR = {"style": 0.8, "facts": 0.7, "support": 0.9, "declined": 0.8}


def test_a_better_voice_pays_for_itself() -> None:
    found = advice(
        arms(search_few_shot={**FAIR, "style": 0.4}, search_voice=FAIR, search={"facts": 0.7})
    )
    assert (found.choice, found.arm, found.tune) == ("voice", "search_voice", True)
    assert found.text.startswith("The voice pays for itself: style 80% against 40%")
    assert "340 tokens less than +search+few-shot" in found.text
    assert found.against == "search_few_shot" and found.gains["style"].low > 0


def test_a_voice_as_good_that_saves_tokens_pays_for_itself() -> None:
    found = advice(arms(search_few_shot=FAIR, search_voice=FAIR))
    assert (found.choice, found.tune) == ("voice", True)
    assert "340 tokens per request less than +search+few-shot" in found.text


def test_a_prompt_is_enough() -> None:
    found = advice(arms(few_shot=FAIR, voice={**FAIR, "facts": 0.66}))
    assert (found.choice, found.arm, found.tune) == ("prompt", "few_shot", False)
    assert found.text.startswith("A prompt is enough: do not tune.")


def test_search_with_few_shot_is_as_good() -> None:
    found = advice(arms(search_few_shot=FAIR, search_voice={**FAIR, "declined": 0.75}))
    assert (found.choice, found.arm) == ("search_prompt", "search_few_shot")
    assert found.text.startswith("Search with few-shot is as good: do not tune.")


def test_search_alone_is_as_good() -> None:
    found = advice(arms(search=FAIR, search_voice=FAIR))
    assert found.choice == "search" and "Search alone is as good: do not tune." in found.text


def test_the_base_may_do_as_well() -> None:
    found = advice(arms())
    assert found.choice == "base" and "do not tune" in found.text


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        ({"facts": 0.3}, "expected facts 30% against 70%"),
        ({"declined": 0.3}, "declined where unanswerable 30% against 80%"),
        ({"false_refusals": 0.4}, "declined where answerable 40% against 0%"),
        ({"support": 0.5}, "figures and names supported 50% against 90%"),
    ],
)
def test_a_voice_that_harms_is_not_worth_it(harm: dict[str, float], named: str) -> None:
    untuned = {**FAIR, "style": 0.3}
    found = advice(arms(search=untuned, search_voice={**FAIR, **harm}))
    assert (found.choice, found.tune) == ("search", False)
    assert found.text.startswith("The voice is not worth it: ") and named in found.text


def test_documents_are_the_problem_before_all_else() -> None:
    found = advice(arms(search_few_shot=FAIR, search_voice=FAIR), unanswered=12)
    assert (found.choice, found.tune) == ("documents", None)
    assert "Your documents are the problem: these 12 of 60 questions" in found.text


@pytest.mark.parametrize(("answerable", "unanswered"), [(60, 8), (4, 2), (60, 0)])
def test_a_few_questions_without_an_answer_are_no_problem(answerable: int, unanswered: int) -> None:
    found = advice(arms(search=FAIR), answerable=answerable, unanswered=unanswered)
    assert found.choice != "documents"


@pytest.mark.parametrize("answerable", [0, 1, 19])
def test_too_few_questions_give_no_advice(answerable: int) -> None:
    found = advice(arms(search_voice=FAIR), answerable=answerable)
    assert (found.choice, found.arm, found.tune) == ("too_few", None, None)
    assert f"{answerable} answerable question" in found.text


def test_without_a_voice_the_best_untuned_arm_is_told() -> None:
    found = advice(arms(("base", "search"), search=FAIR))
    assert (found.choice, found.arm, found.tune) == ("search", "search", None)
    assert "+search is best" in found.text


def test_of_arms_that_are_alike_the_cheapest_is_chosen() -> None:
    found = advice(arms(search=FAIR, search_few_shot=FAIR, search_voice={**FAIR, "facts": 0.3}))
    assert found.arm == "search"


def test_claims_are_told_but_do_not_decide() -> None:
    untuned = {**FAIR, "style": 0.3, "claims": 0.9}
    found = advice(arms(search=untuned, search_voice={**FAIR, "claims": 0.1}))
    assert found.choice == "voice" and "claims" not in found.gains
