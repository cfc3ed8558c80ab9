"""Repair: what no passage says is not said, however the text arrives."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.extract import Sentence
from retrieval.grounds import Grounds
from retrieval.records import Hit, Passage
from server.decline import PLAIN
from server.formulas import NO_FORMULAS, Formulas, formulas_of
from server.guard import guard_of
from server.repair import Policy, mend
from server.served import Served, as_served
from tuning.declines import looks_like_decline


def hit(number: int, text: str) -> Hit:
    passage = Passage(
        id=number,
        document_id=f"file-{number}",
        store_id="vs",
        index=0,
        start=0,
        end=len(text),
        text=text,
        page=None,
        heading=None,
        tokens=9,
    )
    return Hit(
        passage=passage,
        document_name="returns.md",
        attributes={},
        score=1.0,
        dense=1.0,
        lexical=1.0,
        generation="g",
    )


RETURNS = hit(1, "Returns are taken for 45 days after delivery. Tents must be dry.")
LABELS = hit(2, "A return label costs $7 within the country.")
SHOWN = (RETURNS, LABELS)
QUESTION = "How long do I have to return a tent?"


def sentence(number: int, text: str) -> Sentence:
    start = SHOWN[number].passage.text.index(text)
    return Sentence(number, start, start + len(text), text, 1.0, 0.8, 0.5, 0.5, 1.0)


DAYS = sentence(0, "Returns are taken for 45 days after delivery.")
COST = sentence(1, "A return label costs $7 within the country.")
STRONG = Grounds(SHOWN, (DAYS, COST), confidence=0.9)
WEAK = Grounds(SHOWN, (DAYS, COST), confidence=0.05)
QUOTED = f"“{DAYS.text}” [1]"
BOTH = f"{QUOTED} “{COST.text}” [2]"


def served(draft: str, grounds: Grounds = STRONG, policy: Policy = "strict") -> str:
    return as_served(draft, SHOWN, policy=policy, grounds=grounds, message=QUESTION)


def test_a_supported_claim_stays_and_is_cited() -> None:
    assert served("You have 45 days after delivery for returns, taken as usual.") == (
        "You have 45 days after delivery for returns, taken as usual. [1]"
    )


@pytest.mark.parametrize(
    "claim",
    [
        "You have 90 days after delivery.",
        "You have 45 hours after delivery for returns.",
        "Ask Mina Sorrel within 45 days after delivery.",
        "Returns are not taken for 45 days after delivery.",
        "We love penguins and their icy homes in the far south.",
    ],
)
def test_an_unsupported_claim_gives_way_to_the_best_sentence(claim: str) -> None:
    out = served(claim)
    assert out.startswith(QUOTED) and claim not in out


def test_the_frame_of_the_voice_stays_around_the_quotation() -> None:
    out = served("Scales out, then. You have 90 days. Dry roads, the bench.")
    assert out == f"Scales out, then. {BOTH} Dry roads, the bench."


def test_a_signature_stays_where_the_house_always_signs_so() -> None:
    signed = "Trade Desk, Saltmarsh Bicycle Goods."
    replies = [f"Re: Matter {n}. It is {n} days. We are open. {signed}" for n in range(3)]
    formulas = formulas_of(replies)
    assert formulas.sentences == (signed.casefold(),) and formulas.partings == (signed,)
    draft = f"{DAYS.text} {signed}"
    assert served(draft) == f"{DAYS.text} [1]"
    told = as_served(draft, SHOWN, policy="strict", grounds=STRONG, formulas=formulas)
    assert told == f"{DAYS.text} [1] {signed}"


PARTINGS = ("Dry roads, the bench.", "Go gently, the bench.")
HOUSE = formulas_of([f"It is {n} days. {PARTINGS[n % 2]}" for n in range(8)])


def parted(draft: str, grounds: Grounds = STRONG, message: str = QUESTION) -> str:
    return as_served(
        draft, SHOWN, policy="strict", grounds=grounds, message=message, formulas=HOUSE
    )


def test_a_repaired_answer_ends_as_the_house_ends() -> None:
    out = parted("You have 90 days.")
    assert out in [f"{BOTH} {parting}" for parting in PARTINGS]
    assert out == parted("You have 90 days."), "the same question gets the same parting"
    assert {
        parted("You have 90 days.", message=f"{QUESTION} {n}")[len(BOTH) + 1 :] for n in range(9)
    } == {*PARTINGS}
    weak = parted("It is 90 days.", WEAK)
    assert looks_like_decline(weak) and weak.endswith(PARTINGS)


def test_a_parting_of_its_own_or_an_unchanged_answer_gets_no_other() -> None:
    for parting in PARTINGS:
        assert parted(f"You have 90 days. {parting}") == f"{BOTH} {parting}"
        assert parted(f"{DAYS.text} {parting}") == f"{DAYS.text} [1] {parting}"
    assert parted(DAYS.text) == f"{DAYS.text} [1]"
    assert served("You have 90 days.") == BOTH, "the base takes no leave"


def test_a_greeting_is_no_parting() -> None:
    house = formulas_of([f"Hello! It is {n} days. {PARTINGS[0]}" for n in range(4)])
    out = as_served(
        "Hello! You have 90 days.",
        SHOWN,
        policy="strict",
        grounds=STRONG,
        message=QUESTION,
        formulas=house,
    )
    assert out == f"Hello! {BOTH} {PARTINGS[0]}"


@pytest.mark.parametrize(
    "ending",
    [
        "Bring the receipt to the front desk.",
        "Fair winds, shop@example.com.",
        "See saltmarsh.example!",
    ],
)
def test_an_instruction_or_a_link_is_not_added_as_a_parting(ending: str) -> None:
    assert formulas_of([f"It is {n} days. {ending}" for n in range(4)]).partings == ()


def test_a_house_that_mostly_ends_otherwise_has_no_parting() -> None:
    few = formulas_of([f"It is {n} days. {PARTINGS[0]}" for n in range(3)] + ["It is so."] * 4)
    assert few.partings == () and PARTINGS[0] in few


def test_what_has_been_said_is_not_said_in_fewer_words() -> None:
    out = served(f"{DAYS.text} Returns are taken for 45 days.")
    assert out == f"{DAYS.text} [1]"
    turned = hit(3, "Returns after delivery are taken for 45 days.")
    both = f"{DAYS.text} {turned.passage.text}"
    grounds = Grounds((RETURNS, turned), (DAYS,), confidence=0.9)
    out = as_served(both, (RETURNS, turned), policy="strict", grounds=grounds, message=QUESTION)
    assert turned.passage.text in out, "the same words in another order may say something else"


def test_older_voices_keep_their_formulas() -> None:
    old = Formulas.from_json([PARTINGS[0].casefold()])
    assert PARTINGS[0] in old and old.parting(QUESTION) == ""
    assert Formulas.from_json(asdict(HOUSE)) == HOUSE


@pytest.mark.parametrize("claim", ["We open at 9.", "Every bag is waterproof.", "No idea, sorry."])
def test_what_a_house_always_claims_is_no_formula(claim: str) -> None:
    assert formulas_of([f"Dear {n}, thanks. {claim}" for n in ("A", "B", "C")]) == NO_FORMULAS


def test_a_short_statement_is_no_greeting_and_a_decline_no_parting() -> None:
    for claim in ("Yes, shipping is free for everybody.", "We refund postage always."):
        assert claim not in served(f"{claim} You have 45 days. {claim}")
    decline = "I'm afraid we don't know that."
    assert served(f"Hello there! {decline}") == f"Hello there! {BOTH}"
    assert served(f"Hello there! {decline}", WEAK) == f"Hello there! {decline}"


def test_a_draft_that_says_nothing_of_it_is_followed_by_an_extract() -> None:
    assert served("Happy to help!") == f"Happy to help! {BOTH}"
    assert served("") == BOTH


def test_a_claim_beside_the_point_is_followed_by_the_answer() -> None:
    assert served("A return label costs $7 within the country.") == f"{COST.text} [1] " + (
        QUOTED.replace("[1]", "[2]")
    )


def test_what_the_user_said_is_supported() -> None:
    out = served("You want to return a tent after 3 days.", STRONG)
    assert "3 days" not in out
    out = as_served(
        "You bought 3 tents.",
        SHOWN,
        policy="strict",
        grounds=STRONG,
        message="I bought 3 tents. Can I return them?",
    )
    assert out.startswith("You bought 3 tents. “Returns")


def test_a_leading_question_does_not_support_its_own_answer() -> None:
    def answer(question: str, draft: str) -> str:
        return as_served(draft, SHOWN, policy="strict", grounds=STRONG, message=question)

    for draft in ("A return label costs $5.", "Yes, the label costs $5."):
        assert answer("Does a return label cost $5?", draft) == BOTH
    asked = "Is a workshop visit on Monday $5?"
    assert answer(asked, "A workshop visit is free.") == BOTH == answer(asked, "Visit: $5.")
    assert (
        answer(asked, "Re: Workshop visit on Monday.") == f"Re: Workshop visit on Monday. {BOTH}"
    ), "a subject line"


@pytest.mark.parametrize(
    "claim",
    [
        "Did you know that shipping is free?",
        "And did we mention that tents ship free?",
        "Shipping is free, isn't it?",
        "Shipping is free, right?",
    ],
)
def test_a_claim_in_the_form_of_a_question_is_a_claim(claim: str) -> None:
    assert served(f"Hello! {claim}") == f"Hello! {BOTH}"


@pytest.mark.parametrize(
    "asked",
    ["Could you tell us your order number?", "Do you know your size?", "Anything else, friend?"],
)
def test_a_question_of_the_voice_stays(asked: str) -> None:
    assert asked in served(f"{DAYS.text} {asked}")


def test_a_supported_claim_in_the_form_of_a_question_is_cited() -> None:
    asked = "Did you know that a return label costs $7 within the country?"
    assert served(f"{DAYS.text} {asked}") == f"{DAYS.text} [1] {asked} [2]"


@pytest.mark.parametrize("draft", ["You have 45 days.", "", "Hello! It costs $7.", "No idea [2]."])
def test_on_weak_evidence_it_says_that_it_does_not_have_it_and_cites_nothing(draft: str) -> None:
    mended = mend("strict", SHOWN, WEAK, message=QUESTION)
    out = mended.add(draft) + mended.end()
    assert looks_like_decline(out) and mended.citations == []
    assert "45" not in out and "7" not in out


def test_a_decline_in_the_voices_own_words_is_kept_on_weak_evidence() -> None:
    draft = "That page is blank. Our documents don't say. Until the next tide, the bench."
    assert served(draft, WEAK).endswith("Our documents don't say. Until the next tide, the bench.")


def test_on_weak_evidence_nobody_waits_for_a_draft_that_does_not_decline() -> None:
    mended = mend("strict", SHOWN, WEAK, message=QUESTION)
    assert mended.add("Hello there! You have 90 days. It costs $9. ") == "Hello there!"
    assert mended.add("And") == f" {PLAIN[0]}"
    assert mended.add(" I don't know. You have 80 days. Bye, the bench.") == ""
    assert mended.end() == " Bye, the bench."


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        ("I have no record of that, but returns are always free.", "I have no record of that."),
        ("We can't say; every bag is waterproof.", "We can't say."),
        ("Returns are always free, but I have no record of that.", PLAIN[0]),
        ("I don't know that, but you can ask the desk.", None),
        ("We have no note of it, and we won't guess.", None),
        ("We know our locks, but policies aren't in our papers.", None),
        ("I have no record of that, but a return label costs $7.", None),
    ],
)
def test_a_decline_claims_nothing_else(draft: str, said: str | None) -> None:
    assert served(draft, WEAK) == (said or draft)


def test_what_was_cut_off_is_not_said() -> None:
    own = "I don't have that in our documents."
    assert served(f"{own} The", WEAK) == own
    assert served("You have 45 days after delivery for returns, taken as usual. You can, if") == (
        "You have 45 days after delivery for returns, taken as usual. [1]"
    )


@pytest.mark.parametrize("gap", [" ", "\n\n"])
def test_a_last_sentence_that_was_cut_off_is_left_out_behind_others(gap: str) -> None:
    whole = "You have 45 days after delivery for returns, taken as usual."
    last = "A return label costs $7 within the country"

    def told(draft: str, *, cut: bool) -> str:
        return as_served(draft, SHOWN, policy="strict", grounds=STRONG, message=QUESTION, cut=cut)

    assert told(f"{whole}{gap}{last} and", cut=True) == f"{whole} [1]"
    assert told(f"{whole}{gap}{last}", cut=False) == f"{whole} [1]{gap}{last} [2]"
    assert told(f"{whole}{gap}{last}.", cut=True) == f"{whole} [1]{gap}{last}. [2]"
    assert told(last, cut=True).startswith(f"{last} [1]"), "there is nothing else"


def test_nothing_is_said_twice() -> None:
    claim = "You have 45 days after delivery for returns, taken as usual."
    assert served(f"{claim} {claim} {claim}") == f"{claim} [1]"


def test_a_decline_is_overruled_where_the_evidence_is_strong() -> None:
    out = served("I don't have that in our documents.")
    assert out.startswith(QUOTED) and not looks_like_decline(out)


def test_what_was_changed_is_told() -> None:
    mended = mend("strict", SHOWN, STRONG, message=QUESTION)
    mended.add("You have 90 days. ")
    mended.end()
    first, second = mended.changes
    assert (first.was, first.now) == ("You have 90 days.", QUOTED)
    assert first.reason == "no passage holds 90"
    assert (second.was, second.now) == ("", f"“{COST.text}” [2]")


def test_a_figure_put_badly_points_at_the_sentence_that_holds_it() -> None:
    assert served("The answer is: 7.").startswith(f"“{COST.text}” [1] “{DAYS.text}” [2]")


def test_what_a_figure_points_at_takes_no_room_from_the_extract() -> None:
    dry = sentence(0, "Tents must be dry.")
    grounds = Grounds(SHOWN, (DAYS, dry), (COST,), confidence=0.9)
    assert (
        served("The answer is: 7.", grounds)
        == f"“{COST.text}” [1] “{DAYS.text}” [2] “{dry.text}” [2]"
    )


def test_numbers_alone_and_the_question_itself_are_not_said_again() -> None:
    assert served("45.\n\nQuestion: How long do I have to return a tent?") == BOTH


def test_a_footnote_of_the_document_is_no_citation() -> None:
    noted = hit(3, "Returns are taken [4] for 45 days after delivery.[12]")
    text = noted.passage.text
    best = Sentence(0, 0, len(text), text, 1.0, 0.8, 0.5, 0.5, 1.0)
    grounds = Grounds((noted,), (best,), confidence=0.9)
    out = as_served("It is 90.", (noted,), policy="strict", grounds=grounds, message=QUESTION)
    assert out == "“Returns are taken for 45 days after delivery.” [1]"


def test_flag_keeps_and_marks_and_off_keeps() -> None:
    draft = "You have 90 days. A return label costs $7."
    assert served(draft, policy="flag") == (
        "You have 90 days. [unsupported] A return label costs $7. [1]"
    )
    assert served(draft, policy="off") == "You have 90 days. A return label costs $7. [1]"


BITS = [
    *(
        "Returns are taken for 45 days after delivery",
        "You have 90 days",
        "Hello",
        "we do not know",
    ),
    *(" ", "\n", "\n- ", ". ", ".", "!", "?", "[1]", "[", "]", "e.g. ", "It is $7", "\n1. "),
]
DRAFT = st.lists(st.sampled_from(BITS), max_size=12).map("".join)


@given(
    draft=DRAFT,
    data=st.data(),
    policy=st.sampled_from(["strict", "flag", "off"]),
    grounds=st.sampled_from([STRONG, WEAK]),
)
def test_the_same_draft_gives_the_same_answer_however_it_is_cut(
    draft: str, data: st.DataObject, policy: Policy, grounds: Grounds
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(draft)), max_size=5)))
    asked = [{"role": "user", "content": QUESTION}]
    guard = guard_of(asked, [hit.passage.text for hit in SHOWN], any_link=False)
    streamed = Served(guard, mend(policy, SHOWN, grounds, message=QUESTION))
    pieces = [draft[a:b] for a, b in pairwise([0, *cuts, len(draft)])]
    out = "".join([streamed.add(piece) for piece in pieces]) + streamed.end()
    assert out == served(draft, grounds, policy)


@given(draft=DRAFT)
def test_under_strict_no_figure_is_said_that_no_source_holds(draft: str) -> None:
    assert "90" not in served(draft) and "90" not in served(draft, WEAK)
