"""The figures and the verdict of `benchmarks.voice`, from texts that are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.voice_report import ARMS, Asked, report, table, verdict
from tuning.records import Row, Text

HOUSE = [f"Ahoy! Your parcel number {n} sails on the morning tide, dear friend." for n in range(12)]
PLAIN = [f"The package {n} will be delivered tomorrow." for n in range(12)]
QUESTIONS = [
    {"question": "How long?", "expected": ["45 days"], "answerable": True},
    {"question": "Who is the king?", "answerable": False},
]
PROBE = Row(
    messages=({"role": "user", "content": "How long?"},),
    reply="For 45 days.",
    split="train",
    kind="gold",
    group="returns",
    passages=("Returns are taken for 45 days.",),
    question="How long?",
)


def texts(said: dict[str, dict[str, list[str]]]) -> dict[str, Text]:
    """The texts of every arm, by purpose; a loss stands beside each pair."""
    made = {f"style:{n}": Text(f"style:{n}", None, text, 9, "stop") for n, text in enumerate(PLAIN)}
    for arm, purposes in said.items():
        for purpose, written in purposes.items():
            for n, text in enumerate(written):
                id_ = f"{arm}:{purpose}:{n}"
                made[id_] = Text(id_, None, text, 9, "stop")
                made[f"{arm}:loss:{n}"] = Text(f"{arm}:loss:{n}", None, text, 9, "read", 2.0)
    return made


def asked(task: str, **changes: Any) -> Asked:
    held_out = HOUSE[8:]
    tokens = {f"{arm}:pair:{n}": 40 for arm in ARMS for n in range(len(held_out))}
    values: dict[str, Any] = {
        "taught": HOUSE[:8],
        "held_out": held_out,
        "questions": (),
        "probes": (),
        "prompt_tokens": tokens,
        "task": {"kind": task},
    }
    return Asked(**{**values, **changes})


def test_a_voice_that_reads_is_told_apart_from_one_that_only_sounds() -> None:
    said = {
        "base": {"pair": PLAIN[8:], "question": ["45 days", "Some king."], "probe": ["30 days"]},
        "few_shot": {"pair": PLAIN[8:], "question": ["Soon.", "Me."], "probe": ["30 days"]},
        "tuned": {
            "pair": HOUSE[8:],
            "question": ["Ahoy, soon!", "I don't have that in our documents."],
            "probe": ["For 45 days."],
        },
    }
    made = report(asked("reply", questions=QUESTIONS, probes=[PROBE]), texts(said))
    assert made["tuned"]["style"] == pytest.approx(made["ceiling"]["style"])
    assert made["base"]["style"] < 0.5 < made["tuned"]["style"]
    assert made["tuned"]["rougeL"] == 1 > made["base"]["rougeL"]
    assert [made[arm]["expected_found"] for arm in ARMS] == [1, 0, 0]
    assert [made[arm]["declined_unanswerable"] for arm in ARMS] == [0, 0, 1]
    assert [made[arm]["false_refusals"] for arm in ARMS] == [0, 0, 0]
    assert [made[arm]["memorised"] for arm in ARMS] == [0, 0, 1]
    assert made["tuned"]["heldout_loss"] == 2 and made["tuned"]["prompt_tokens"] == 40
    assert made["verdict"].endswith("do not promote it.")
    alone = report(asked("reply", questions=QUESTIONS, probes=[PROBE]), texts(said), ("tuned",))
    assert alone["tuned"] == made["tuned"] and not {"base", "verdict"} & alone.keys()
    assert "expected_found" in table(made) and table(made).endswith(made["verdict"])


def test_memorised_is_what_the_gate_calls_so_and_loss_is_per_token() -> None:
    two = replace(PROBE, reply="For 45 days and $7.", passages=("45 days. A label costs $7.",))
    arms = {"pair": PLAIN[8:], "probe": ["It is 45 days."]}  # one of the two facts
    said = texts(dict.fromkeys(ARMS, arms))
    said["tuned:loss:0"] = Text("tuned:loss:0", None, "", 91, "read", 1.0)
    made = report(asked("reply", probes=[two]), said)
    assert made["tuned"]["memorised"] == 1
    assert made["tuned"]["heldout_loss"] == pytest.approx((91 * 1 + 3 * 9 * 2) / (91 + 3 * 9))


def test_labels_are_compared_with_plain_routing() -> None:
    gold = ["refund", "order", "refund", "account"]
    said = {
        "base": {"pair": ["It is a refund."] * 4},
        "few_shot": {"pair": ["refund"] * 4},
        "tuned": {"pair": ["refund", "order", "order", "account"]},
    }
    labels = {"taught": gold * 3, "held_out": gold}
    made = report(asked("label", **labels, routed=gold), texts(said))
    assert made["tuned"]["accuracy"] == 0.75 and made["base"]["accuracy"] == 0
    assert made["embedding_router"] == {"accuracy": 1, "macro_f1": 1}
    assert "use those instead" in made["verdict"]
    worse = report(asked("label", **labels, routed=["refund"] * 4), texts(said))
    assert worse["verdict"].endswith("It is worth training.")


def test_json_is_measured_by_its_form_and_fields() -> None:
    gold = ['{"a": 1}'] * 4
    said = {
        "base": {"pair": ["a is 1"] * 4},
        "few_shot": {"pair": ['{"a": 2}'] * 4},
        "tuned": {"pair": ['{"a": 1}'] * 3 + ["{"]},
    }
    made = report(asked("json", taught=gold * 3, held_out=gold), texts(said))
    assert (made["tuned"]["valid"], made["tuned"]["accuracy"]) == (0.75, 0.75)
    assert (made["few_shot"]["valid"], made["few_shot"]["accuracy"]) == (1, 0)


@pytest.mark.parametrize(
    ("style", "found", "end"),
    [
        (0.62, 0.9, "A prompt is enough: do not tune."),
        (0.9, 0.5, "promote it."),
        (0.9, None, "It is worth training."),
    ],
)
def test_the_verdict_can_be_no(style: float, found: float | None, end: str) -> None:
    arm = {"style": 0.6, "expected_found": None if found is None else 0.5}
    tuned = {"style": style, "expected_found": found}
    told = verdict({"ceiling": {"style": 0.9}, "base": arm, "few_shot": arm, "tuned": tuned})
    assert told.endswith(end)
