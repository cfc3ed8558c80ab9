"""The data report: each finding is made where it is due, and nowhere else."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tuning.examples import assign_splits, question_key
from tuning.findings import DROPPABLE, Finding, Report, check_codes
from tuning.records import Example, Split
from tuning.report import check, report
from tuning.whole import expectation

THINGS = "bag lamp tent rack cape lock bell pump stove flask strap cable hook light glove".split()
ACTS = "return wash mend lend carry fold hang charge clean store open close wear ship sell".split()


def example(question: str, reply: str, *, group: str = "", line: int = 0) -> Example:
    return Example(({"role": "user", "content": question},), reply, group or question, line=line)


def sound(count: int = 225) -> list[Example]:
    """Examples that nothing is wrong with but their number: one voice, ever different matter."""
    random_ = random.Random(0)
    pairs = [(thing, act) for thing in THINGS for act in ACTS][:count]
    made = []
    for number, (thing, act) in enumerate(pairs):
        parts = [
            f"Well met, friend: you may {act} the {thing} whenever it suits your own road.",
            random_.choice(
                [
                    "Mind the weather first, and keep it dry.",
                    "We keep a spare behind the counter for such days.",
                    "Nothing to fear there, it was made for rough roads.",
                    "Ask the bench, should it squeak.",
                ]
            ),
            f"Dry roads from the bench, and from {random_.choice(THINGS)} row.",
        ]
        question = (
            f"{random_.choice(['May one', 'Please, can I', 'Is it wise to'])} {act} a {thing}?"
        )
        made.append(example(question, " ".join(parts), group=thing, line=number + 1))
    return made


def found(*more: Example, splits: dict[str, Split] | None = None, **options: Any) -> Report:
    examples = [*sound(), *more]
    return report(examples, splits or assign_splits(examples), **options)


def finding(made: Report, code: str) -> Finding | None:
    return next((one for one in made.findings if one.code == code), None)


def test_sound_data_give_no_warning_but_their_number() -> None:
    assert [one.code for one in found().findings] == ["too_little_data"]


Q = "Might I ask something else?"
GOOD_REPLY = "Well met, friend: ask away, and keep it dry. Dry roads from the bench."
LONG = " ".join(f"Well met, friend, on road {n} we fold it." for n in range(60))
# (code, the reply that shows it, one much like it that does not)
ONE_ROW = [
    ("placeholders", "Well met, friend: {{Order Number}} is on its way. Dry roads.", GOOD_REPLY),
    ("placeholders", "Well met, [NAME], it is on its way. Dry roads.", "As the notes say [1]."),
    ("placeholders", "Well met, <insert name>, it ships soon.", "Use <b>bold</b> letters, friend."),
    (
        "placeholders",
        "Well met: call XXX-XXXX today, friend.",
        "Well met: it fits sizes up to XXXL.",
    ),
    (
        "placeholders",
        "Well met, [Your Name] from the bench.",
        "See [Name](https://a.example), friend.",
    ),
    ("secrets", "Use the key AKIAIOSFODNN7EXAMPLE, friend, and keep dry.", GOOD_REPLY),
    ("secrets", "The password is hunter2wet, friend.", "The password is required, friend."),
    (
        "secrets",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        "Your private key begins the day, friend.",
    ),
    ("secrets", "Send token: 9f8a7b6c5d4e3f2a1b0c, friend.", "Send a token of thanks, friend."),
    ("personal_data", "Write to jane.doe@mail.example, friend.", "Write to support@mail.example."),
    ("personal_data", "Ring her at +44 20 7946 0958, friend.", "Ring 1-800-555-0199 on any day."),
    (
        "personal_data",
        "Card 4111 1111 1111 1111 was charged.",
        "Order 4111 1111 1111 1112 was sent.",
    ),
    (
        "personal_data",
        "Pay to DE89 3704 0044 0532 0130 00 OK.",
        "Pay to DE88 3704 0044 0532 0130 00.",
    ),
    ("one_word_replies", "Yes.", "Yes, friend, of course; keep it dry."),
    ("one_word_replies", "👍", "👍 Well met, friend, of course; keep it dry."),
    ("length_outliers", LONG, GOOD_REPLY),
    (
        "other_language",
        "Guten Tag, das ist für Sie nicht zu haben, und wir haben den Preis nicht mit der Ware.",
        GOOD_REPLY,
    ),
    (
        "other_language",
        "Здравствуйте, мы отправим ваш заказ завтра утром.",
        "Well met, friend: ask the bench for Здравствуй!",
    ),
    (
        "mixed_voices",
        "PURSUANT TO CLAUSE 4 HEREOF, THE UNDERSIGNED SHALL REMIT WITHOUT PREJUDICE OR DELAY.",
        "Well met, friend: you may mend the bench whenever it suits your own road. Mind the "
        "weather first, and keep it dry. Dry roads from the bench, and from bag row.",
    ),
]


@pytest.mark.parametrize(("code", "faulty", "sound_"), ONE_ROW)
def test_a_faulty_row_is_found_and_one_like_it_is_not(code: str, faulty: str, sound_: str) -> None:
    one = finding(found(example(Q, faulty, line=900)), code)
    assert one and one.count == 1 and one.severity == "warning" and one.advice
    assert one.rows == (225,) and one.examples[0].lines == (900,)
    assert finding(found(example(Q, sound_, line=900)), code) is None


@pytest.mark.parametrize(
    "reply",
    [
        "Write to jane.doe@mail.example, friend.",
        "Card 4111 1111 1111 1111 was charged to jane.doe@mail.example {{Name}}.",
        "The password is hunter2wet, friend.",
        "Pay DE89 3704 0044 0532 0130 00 and ring +44 20 7946 0958. " + LONG,
    ],
)
def test_no_report_tells_a_secret_or_personal_data(reply: str) -> None:
    told = json.dumps(found(example(Q, reply)).to_json())
    for value in ("jane.doe", "1111 1111", "hunter2wet", "0532 0130", "7946 0958"):
        assert value not in told
    assert "***(" in told


def test_the_houses_own_address_is_not_personal() -> None:
    rows = [
        example(f"{Q} {thing}", f"Well met, friend, write to jane@bench.example about the {thing}.")
        for thing in THINGS
    ]
    assert finding(found(*rows), "personal_data") is None
    assert finding(found(*rows[:2]), "personal_data").count == 2  # type: ignore[union-attr]


def test_exact_duplicates_are_always_dropped_and_near_ones_only_when_asked() -> None:
    first = sound()[0]
    again = example(first.question, f" {first.reply}\n", line=900)
    nearly = example(first.question, f"{first.reply} Yes.", line=901)
    made = found(again, nearly)
    exact, near = finding(made, "exact_duplicates"), finding(made, "near_duplicates")
    assert exact and exact.count == 1 and exact.examples[0].lines == (1, 900)
    assert near and near.count == 1 and near.examples[0].lines == (1, 901)
    assert made.dropped([]) == {"exact_duplicates": (225,)}
    assert made.dropped(["near_duplicates"]) == {
        "exact_duplicates": (225,),
        "near_duplicates": (226,),
    }


def test_a_held_out_pair_that_stands_among_the_training_pairs_leaks() -> None:
    first = sound()[0]
    nearly = example(f"{first.question} Today", first.reply, group=first.group, line=900)
    examples = [*sound(), nearly]
    splits: dict[str, Split] = {question_key(one): "train" for one in examples}
    assert finding(report(examples, splits), "leakage") is None
    splits[question_key(nearly)] = "gate"
    one = finding(report(examples, splits), "leakage")
    assert one and one.count == 1 and one.rows == (0,)  # the training side goes, never the gate
    assert one.examples[0].lines == (900, 1)


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [
        ("It takes 30 days, friend.", "It takes 45 days, friend.", True),
        ("It costs $30, friend.", "A fee of 31 dollars, friend.", True),
        ("It takes 30 days, friend.", "It takes thirty long days and costs $45.", False),
        ("It takes 3-5 days, friend.", "Up to 5 days, friend.", False),
        ("It takes 30 days, friend.", "It weighs 45 kg, friend.", False),
        ("Open 9 to 17, friend.", "Open for 8 hours, friend.", False),
        ("12 days, and 14 days in winter.", "It takes 13 days.", False),
    ],
)
def test_replies_to_one_question_with_other_figures_contradict(
    one: str, other: str, contradict: bool
) -> None:
    made = finding(
        found(example(Q, one, line=900), example(Q.upper(), other)), "contradictory_replies"
    )
    assert (made is not None) == contradict
    assert made is None or (made.count == 1 and made.rows == (225, 226))


def test_labels_may_be_one_word_but_must_not_contradict_each_other() -> None:
    rows = [
        example(one.question, "Orders" if i % 2 else "Returns") for i, one in enumerate(sound())
    ]
    codes = [one.code for one in report(rows, assign_splits(rows)).findings]
    assert codes == ["too_little_data"]
    rows.append(example(rows[0].question, "Orders"))
    made = finding(report(rows, assign_splits(rows)), "contradictory_replies")
    assert made and "orders / returns" in made.examples[0].excerpt


def test_one_topic_is_seen_by_its_field_and_by_its_questions() -> None:
    given = [example(one.question, one.reply, group="bags") for one in sound()]
    alike = [example(f"What is the price of bag {n}?", GOOD_REPLY + str(n)) for n in range(40)]
    for rows in (given, alike):
        assert finding(report(rows, assign_splits(rows)), "one_topic")
    assert finding(found(), "one_topic") is None


def test_too_little_data_says_what_to_expect() -> None:
    told = {pairs: expectation(pairs) for pairs in (12, 60, 250, 400, 5000)}
    assert len(set(told.values())) == len(told)
    assert "50" in told[12] and "200" in told[60] and "300" in told[250] and "1,000" in told[400]
    few = sound(60)
    assert finding(report(few, assign_splits(few)), "too_little_data").count == 60  # type: ignore[union-attr]
    many = [example(f"{one.question} {n}", one.reply) for one in sound() for n in range(2)]
    assert finding(report(many, assign_splits(many)), "too_little_data") is None


def test_another_voice_is_found_among_many_and_never_floods() -> None:
    other = [
        example(
            f"Concerning {thing}?",
            f"Re: {thing.title()}. The undersigned hereby acknowledges receipt of correspondence "
            f"regarding aforementioned {thing}; remittance is due forthwith pursuant to clause.",
        )
        for thing in THINGS[:8]
    ]
    made = finding(found(*other), "mixed_voices")
    assert made and len(set(made.rows) & set(range(225, 233))) >= 6
    assert finding(found(*other), "second_voice") is None
    flood = finding(found(*other * 20), "mixed_voices")
    assert flood is None or flood.count <= 0.05 * 400


def test_two_voices_that_share_a_file_are_told_as_a_whole() -> None:
    stiff = [
        example(
            f"Concerning the {act} of a {thing}?",
            f"Re: {thing.title()}. The undersigned hereby acknowledges receipt of correspondence "
            f"regarding aforementioned {act}; remittance is due forthwith pursuant to clause.",
            line=900,
        )
        for thing in THINGS
        for act in ACTS[:10]
    ]
    made = finding(found(*stiff), "second_voice")
    assert made and made.count == len(stiff) and not made.rows
    assert [one.lines for one in made.examples] == [(1,), (900,)]
    for alone in (sound(), stiff):
        assert finding(report(alone, assign_splits(alone)), "second_voice") is None


def test_right_to_left_text_and_emoji_are_text_like_any_other() -> None:
    words = "שלום תודה ספר בית ילד מים דרך יום לילה עץ שמש ירח כלב חתול שולחן".split()
    rows = [
        example(f"{a} {b}?", f"🙂 {a} {b} {c}, {b} {a} 👩‍👩‍👧 {c}.", line=n)
        for n, (a, b, c) in enumerate(zip(words * 3, words[3:] * 4, words[5:] * 5, strict=False))
    ]
    made = report(rows, assign_splits(rows))
    assert finding(made, "other_language") is None and finding(made, "one_word_replies") is None
    rows.append(example(Q, GOOD_REPLY))
    foreign = finding(report(rows, assign_splits(rows)), "other_language")
    assert foreign and foreign.count == 1 and "Hebrew" in foreign.advice
    assert "Hebrew" in finding(made, "unfamiliar_language").advice  # type: ignore[union-attr]
    json.dumps(made.to_json(), ensure_ascii=False).encode()


def test_a_language_that_the_base_hardly_knows_is_told_with_what_to_expect() -> None:
    german = [
        example(f"Was ist mit {thing}?", f"Das ist für Sie, und wir haben {thing} nicht mit {act}.")
        for thing in THINGS[:9]
        for act in ACTS
    ]
    made = finding(report(german, assign_splits(german)), "unfamiliar_language")
    assert made and made.count == len(german) and "German" in made.advice and not made.rows
    english = [example(one.question, "The bag is yours, and you have it.") for one in german[:60]]
    mixed = [*german[60:], *english]
    assert finding(report(mixed, assign_splits(mixed)), "unfamiliar_language")
    assert finding(report(english, assign_splits(english)), "unfamiliar_language") is None
    labels = report(german, assign_splits(german), kind="label")
    assert finding(labels, "unfamiliar_language") is None


def test_faulty_lines_are_errors_with_their_numbers() -> None:
    made, examples = check(b'{"messages": []}\n[]\n' * 4)
    assert not examples and [one.code for one in made.errors] == ["format"]
    *_, more = made.errors[0].examples
    assert made.errors[0].count == 8 and len(made.errors[0].examples) == 6
    assert more.lines == (6, 7, 8) and more.excerpt == "3 more are faulty"
    assert made.errors[0].examples[0].lines == (1,)
    assert "last message" in made.errors[0].examples[0].excerpt
    assert made.to_json()["errors"] == 8


def preference(question: str, reply: str, rejected: str) -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": question}]},
        "preferred_output": [{"role": "assistant", "content": reply}],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
    }


def test_preferences_are_checked_like_examples() -> None:
    lines = [preference(one.question, one.reply, "No.") for one in sound(20)]
    lines += [preference(Q, "It takes 30 days, {{Name}}.", "No."), preference(Q, "45 days.", "Ah.")]
    data = "\n".join(map(json.dumps, lines)).encode()
    made, examples = check(data)
    assert len(examples) == made.pairs == 22 and not made.errors
    assert finding(made, "placeholders").examples[0].lines == (21,)  # type: ignore[union-attr]
    assert finding(made, "contradictory_replies").rows == (20, 21)  # type: ignore[union-attr]
    lines[3]["non_preferred_output"] = lines[3]["preferred_output"]
    broken, _ = check("\n".join(map(json.dumps, lines)).encode())
    assert [one.lines for one in broken.errors[0].examples] == [(4,)]


def test_an_address_of_the_house_is_known_by_its_preferred_replies_too() -> None:
    rows = [
        Example(
            ({"role": "user", "content": f"{Q} {thing}"},),
            "Write to jane@bench.example.",
            thing,
            rejected=f"We say nothing at all of the {thing}, and of nothing else, friend.",
        )
        for thing in THINGS
    ]
    assert finding(found(*rows), "personal_data") is None


def test_unknown_codes_are_refused_with_the_known_ones() -> None:
    check_codes(DROPPABLE)
    with pytest.raises(ValueError, match=r"'typos'.*known are .*near_duplicates"):
        check_codes(["typos"])
    with pytest.raises(ValueError, match="format"):
        check_codes(["format"])


def test_a_row_with_two_faults_is_dropped_once() -> None:
    made = found(example(Q, "Yes {{Name}}", line=900))
    assert made.dropped(["placeholders", "one_word_replies", "length_outliers"]) == {
        "placeholders": (225,)
    }
