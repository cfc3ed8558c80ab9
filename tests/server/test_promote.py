"""The gate: nothing is promoted that did not measure better."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.promote import Against, Binary, Decision, Graded, Measured, judge

NO_NUMBER = float("nan")


NAMES = ("support", "expected", "declines")


def rows(share: float, count: int = 100) -> list[float]:
    """So many rows, of which the first `share` pass."""
    return [float(i < round(share * count)) for i in range(count)]


def measured(
    *, style: tuple[float, float] = (0.2, 0.8), count: int = 100, **changed: tuple[float, float]
) -> Measured:
    """A candidate that passes, but for the measures that are changed: (other, candidate)."""
    shares = {**dict.fromkeys(NAMES, (0.8, 0.8)), **changed}
    binaries = [Binary(n, rows(new, count), rows(old, count)) for n, (old, new) in shares.items()]
    old, new = style
    return Measured((*binaries, Graded("style", [new] * count, [old] * count)))


def test_a_voice_that_keeps_the_facts_and_gains_style_is_promoted() -> None:
    decision = judge(measured(support=(0.84, 0.88)), against="base")
    assert decision.promoted
    assert decision.reasons[0].startswith("support 84% -> 88% (+4 points, 95% interval +")
    assert decision.reasons[-1] == "style 20% -> 80% (+60 points, 95% interval +60 to +60)"


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_of_more_than_two_points_is_refused(name: str) -> None:
    assert judge(measured(**{name: (0.80, 0.78)}), against="base").promoted
    decision = judge(measured(**{name: (0.80, 0.77)}), against="base")
    assert not decision.promoted
    assert decision.reasons[0].startswith(f"{name} 80% -> 77% (-3 points")
    assert decision.reasons[0].endswith("more than 2 points worse")


def test_a_measure_that_may_have_lost_ten_points_is_refused() -> None:
    swapped = Binary("support", rows(0.5)[::-1], rows(0.5))  # the same mean, no row the same
    decision = judge(Measured((swapped, *measured().measures[1:])), against="base")
    assert not decision.promoted
    assert "+0" not in decision.reasons[0] and "(0 points" in decision.reasons[0]
    assert decision.reasons[0].endswith("may be more than 10 points worse")


def test_a_gate_whose_time_ran_out_asks_for_minutes_and_not_for_data() -> None:
    probes = Binary("memorised", rows(0, 60), rows(0, 60))
    decision = judge(replace(measured(count=89), memorised=probes), against="base", cut_short=True)
    assert not decision.promoted
    assert decision.reasons[0].endswith("the minutes ran out at 89 paired rows of at least 90")
    assert any(reason.endswith("at 60 probes of at least 300") for reason in decision.reasons)
    assert not any("too little data" in reason for reason in decision.reasons)


def test_copies_of_few_questions_are_told_and_make_no_interval_narrower() -> None:
    new, old = rows(0.9, 30), rows(0.7, 30)

    def gain(**how: Any) -> Decision:
        return judge(Measured((Binary("support", new * 3, old * 3, **how),)), against="active")

    alone, copied = gain(), gain(questions=list(range(30)) * 3)
    assert copied.reasons[0].endswith("on 30 questions and 60 variants of them")
    assert copied.table[0]["questions"] == 30 and copied.table[0]["n"] == 90
    assert copied.table[0]["low"] < alone.table[0]["low"]
    with pytest.raises(ValueError, match="support names 1 questions"):
        judge(Measured((Binary("support", [1, 1], [0, 0], questions=[7]),)), against="base")


def test_too_few_pairs_are_said_with_what_is_missing() -> None:
    decision = judge(measured(count=89), against="base")
    assert not decision.promoted
    assert decision.reasons[0].endswith("too little data, 89 paired rows of at least 90, 1 missing")
    assert judge(measured(count=90), against="base").promoted


def test_false_refusals_count_the_other_way() -> None:
    def with_refusals(before: float, after: float) -> bool:
        refusals = Binary("false refusals", rows(after), rows(before), lower_is_better=True)
        return judge(Measured((*measured().measures, refusals)), against="base").promoted

    assert with_refusals(0.3, 0.1) and with_refusals(0.1, 0.12)
    assert not with_refusals(0.1, 0.13)


def test_a_voice_that_declines_may_refuse_some_answers_more_than_a_base_that_never_does() -> None:
    def decided(before: float, after: float) -> Decision:
        refusals = Binary(
            "false refusals", rows(after), rows(before), lower_is_better=True, allowed=0.15
        )
        return judge(Measured((*measured().measures, refusals)), against="base")

    assert decided(0.0, 0.15).promoted and decided(0.3, 0.32).promoted
    refused = decided(0.0, 0.16)
    assert not refused.promoted
    assert refused.reasons[0].endswith("more than 2 points worse, and above 15%")


def test_what_is_only_told_neither_fails_nor_shows_a_gain() -> None:
    def told(before: float, after: float, against: Against) -> Decision:
        drafts = Binary("support of drafts", rows(after), rows(before), decides=False)
        same = measured(style=(0.5, 0.8)) if against == "base" else Measured(())
        return judge(Measured((*same.measures, drafts)), against=against)

    assert told(0.9, 0.1, "base").promoted
    assert not told(0.1, 0.9, "active").promoted
    assert told(0.9, 0.1, "base").reasons[-1].endswith(": told, but not decided by")


def test_only_style_can_beat_the_base_but_support_or_loss_can_beat_an_active_version() -> None:
    loss = Graded("loss", [2.0] * 100, [2.5] * 100, True, "nats per token")
    for same in (
        measured(style=(0.5, 0.5), support=(0.7, 0.9)),
        Measured((*measured(style=(0.5, 0.5)).measures, loss)),
    ):
        decision = judge(same, against="base")
        assert not decision.promoted
        assert "not shown to be better than the base in style" in decision.reasons
        assert judge(same, against="active").promoted
    unchanged = judge(measured(style=(0.5, 0.5)), against="active")
    assert "not shown to be better than the active version in support or style" in unchanged.reasons
    assert [row["passed"] for row in unchanged.table] == [False, True, True, False]


def test_a_voice_without_style_must_be_better_in_its_own_measures() -> None:
    loss = Graded("loss", [2.0] * 100, [2.5] * 100, True, "nats per token")
    better, same = (
        Binary("accuracy", rows(0.9), rows(0.6)),
        Binary("accuracy", rows(0.6), rows(0.6)),
    )
    assert judge(Measured((better, loss)), against="base").promoted
    assert not judge(Measured((same, loss)), against="base").promoted
    assert judge(Measured((same, loss)), against="active").promoted
    assert judge(Measured((loss,)), against="base").promoted


def test_few_graded_rows_show_nothing() -> None:
    decision = judge(Measured((Graded("style", [0.9] * 29, [0.1] * 29),)), against="base")
    assert not decision.promoted
    assert decision.reasons[0] == (
        "not shown to be better than the base in style (style on fewer than 30 rows)"
    )


@pytest.mark.parametrize(
    ("probes", "rate", "reason"),
    [
        (300, 0.05, None),
        (300, 0.07, None),
        (300, 0.08, "it tells facts from its weights, more than 2 points above the base"),
        (299, 0.05, "too little data, 299 probes of at least 300, 1 missing"),
    ],
)
def test_facts_must_not_come_from_weights(probes: int, rate: float, reason: str | None) -> None:
    memorised = Binary("memorised", rows(rate, probes), rows(0.05, probes), lower_is_better=True)
    decision = judge(Measured(measured().measures, memorised), against="active")
    assert decision.promoted is (reason is None)
    assert reason is None or decision.reasons[0].endswith(reason)


@pytest.mark.parametrize(("after", "promoted"), [(2.0, True), (2.1, True), (2.11, False)])
def test_the_loss_on_replay_may_rise_by_five_percent(after: float, promoted: bool) -> None:
    forgetting = Graded("forgetting", [after], [2.0], True, "nats per token")
    decision = judge(Measured(measured().measures, forgetting=forgetting), against="base")
    assert decision.promoted is promoted
    assert promoted or decision.reasons[0].endswith(
        "it forgets what the base knew, by more than 5%"
    )


def test_what_is_no_number_or_was_not_measured_is_refused_in_words() -> None:
    holes = Graded("loss", [2.0, NO_NUMBER], [2.0, 2.0], True, "nats per token")
    nothing = Binary("helpful", [], [])
    decision = judge(Measured((*measured().measures, holes, nothing)), against="base")
    assert not decision.promoted
    assert decision.reasons[:2] == (
        "loss: not a number in 1 of 2 rows",
        "helpful: not measured, no row has it",
    )
    json.dumps(decision.table, allow_nan=False)
    nothing_at_all = judge(Measured(()), against="base")
    assert not nothing_at_all.promoted
    assert nothing_at_all.reasons == (
        "nothing was measured that could show it to be better than the base",
    )


def test_the_table_holds_the_figures_for_json() -> None:
    arrays = Measured((Graded("style", np.full(100, 0.75), np.full(100, 0.25)),))
    decision = judge(arrays, against="base")
    assert json.loads(json.dumps(decision.table)) == [
        {
            "name": "style",
            "other": 0.25,
            "candidate": 0.75,
            "difference": 0.5,
            "low": 0.5,
            "high": 0.5,
            "n": 100,
            "questions": 100,
            "better": "higher",
            "unit": "share",
            "passed": True,
        }
    ]


def test_what_cannot_be_judged_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="style is not paired: 2 values against 1"):
        judge(Measured((Graded("style", [1, 1], [0]),)), against="base")
    with pytest.raises(ValueError, match="name its unit"):
        judge(Measured((Graded("loss", [2.5], [2.0]),)), against="base")
    with pytest.raises(ValueError, match="given twice"):
        judge(Measured((Graded("style", [1], [0]), Graded("style", [1], [0]))), against="base")
    with pytest.raises(ValueError, match='use "base" or'):
        judge(measured(), against="rival")  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), against=st.sampled_from(["base", "active"]))
def test_nothing_that_lost_more_than_two_points_is_ever_promoted(
    data: st.DataObject, against: Against
) -> None:
    count = data.draw(st.integers(60, 140))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    measures: list[Binary | Graded] = []
    for name in ("support", "declines", "false refusals"):
        old, new = (random.random(count) < data.draw(st.floats(0.5, 1)) for _ in range(2))
        measures.append(Binary(name, new, old, lower_is_better=name == "false refusals"))
    measures.append(Graded("style", random.random(count) ** 0.5, random.random(count)))
    decision = judge(Measured(tuple(measures)), against=against)
    for measure in measures:
        lost = np.mean(measure.other) - np.mean(measure.candidate)
        if (-lost if measure.lower_is_better else lost) > 0.02 + 1e-6:
            assert not decision.promoted
    if count < 90:
        assert not decision.promoted
