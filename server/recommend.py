"""From the figures of a verdict to two sentences, by rules that a reader can follow. Pure.

1. Where at least 3 and 15% of the questions that should have an answer are answered nowhere in
   the documents, the documents are the problem.
2. With fewer than 20 answerable questions nothing is advised.
3. The best untuned arm is the one with the highest mean of all measures that decide (false
   refusals count as their complement); of those within 2 points of it, the one with the fewest
   tokens. For labels, embeddings with logistic regression are such an arm, and take none. The best
   arm with the voice is found likewise. Both are compared as served, in pairs.
4. Where the voice is worse in any measure (by more than 2 points, the whole 95% interval below
   zero), it is not worth it.
5. Else, where it is better in any measure (likewise), it pays for itself.
6. Else the two are alike. The voice pays if no measure is more than 2 points lower and a
   request takes at least a quarter fewer tokens; if not, do not tune.

Read `recommend` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from retrieval.measure import Interval, difference
from server.arms import ROUTER, Arm
from server.measures import DECISIVE, Measure
from server.verdict import Measured

LEAST_ANSWERABLE = 20
LEAST_UNANSWERED, UNANSWERED_SHARE = 3, 0.15
TOLERANCE = 0.02
SAVING = 0.25  # of the tokens of a request

Choice = Literal[
    "documents", "too_few", "voice", "prompt", "search", "search_prompt", "base", "router"
]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to do: the arm to use and two sentences. `gains` are the voice's, in its measures."""

    choice: Choice
    arm: str | None
    text: str
    tune: bool | None  # None: nothing can be said
    gains: dict[str, Interval]
    against: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "gains": {k: asdict(v) for k, v in self.gains.items()}}


def recommend(measured: Sequence[Measured], *, answerable: int, unanswered: int) -> Recommendation:
    """Advise by the rules above; `unanswered` of the `answerable` are answered nowhere."""
    untuned = _best([item for item in measured if not item.arm.voice])
    voice = _best([item for item in measured if item.arm.voice])
    best = max((item for item in (untuned, voice) if item), key=goodness, default=None)
    if unanswered >= max(LEAST_UNANSWERED, UNANSWERED_SHARE * answerable):
        so_far = f", and then measure again: so far {_told(best)}" if best else ""
        return Recommendation(
            "documents",
            best.arm.key if best else None,
            f"Your documents are the problem: these {unanswered} of {answerable} questions are "
            f"not answered anywhere. Add what they ask for{so_far}.",
            tune=None,
            gains={},
        )
    if answerable < LEAST_ANSWERABLE or untuned is None:
        return Recommendation(
            "too_few",
            None,
            f"Nothing can be said yet: every arm has answered {answerable} answerable "
            f"question{'s' * (answerable != 1)}, and at least {LEAST_ANSWERABLE} are needed. "
            "Give more questions, or more minutes.",
            tune=None,
            gains={},
        )
    if voice is None:
        return Recommendation(
            _choice(untuned.arm),
            untuned.arm.key,
            f"No voice was measured. Of the untuned arms {_told(untuned)}.",
            tune=None,
            gains={},
        )
    return _compare(voice, untuned, measured)


def _compare(voice: Measured, untuned: Measured, measured: Sequence[Measured]) -> Recommendation:
    gains = {m.key: gain for m in DECISIVE if (gain := _gain(voice, untuned, m)) is not None}
    lost = [m for m in DECISIVE if m.key in gains and _clear(_negative(gains[m.key]))]
    won = [m for m in DECISIVE if m.key in gains and _clear(gains[m.key])]
    fewer = untuned.tokens - voice.tokens

    def advise(arm: Measured, text: str) -> Recommendation:
        return Recommendation(
            "voice" if arm is voice else _choice(arm.arm),
            arm.arm.key,
            text,
            tune=arm is voice,
            gains=gains,
            against=untuned.arm.key if arm is voice else voice.arm.key,
        )

    if lost:
        told = "; ".join(_difference(m, voice, untuned, gains[m.key]) for m in lost)
        return advise(
            untuned,
            f"The voice is not worth it: {told}. Use {untuned.arm.title}, which takes "
            f"{untuned.tokens:.0f} tokens per request ({voice.arm.title}: {voice.tokens:.0f}).",
        )
    if won:
        told = "; ".join(_difference(m, voice, untuned, gains[m.key]) for m in won)
        return advise(
            voice,
            f"The voice pays for itself: {told}. No other measure is clearly worse, and "
            f"{_token_words(voice, measured, untuned)}.",
        )
    close = all(gain.mean >= -TOLERANCE for gain in gains.values())
    if close and fewer >= SAVING * untuned.tokens:
        return advise(
            voice,
            f"The voice pays for itself: {fewer:.0f} tokens per request less than "
            f"{untuned.arm.title} ({voice.tokens:.0f} against {untuned.tokens:.0f}). "
            "Otherwise the two cannot be told apart.",
        )
    return advise(
        untuned,
        f"{_as_good(untuned.arm)}: do not tune. In no measure is {voice.arm.title} clearly "
        f"better than {untuned.arm.title}, which takes {untuned.tokens:.0f} tokens per request "
        f"({voice.arm.title}: {voice.tokens:.0f}).",
    )


def goodness(measured: Measured) -> float:
    """The mean of all that was measured of an arm as served, each in 0..1, more is better."""
    means = []
    for measure in DECISIVE:
        found = [*measured.served[measure.key].values()]
        if found:
            mean = sum(found) / len(found)
            means.append(mean if measure.more_is_better else 1 - mean)
    return sum(means) / len(means) if means else 0.0


def _best(measured: Sequence[Measured]) -> Measured | None:
    top = max(map(goodness, measured), default=0.0)
    near = [item for item in measured if goodness(item) >= top - TOLERANCE]
    return min(near, key=lambda item: item.tokens, default=None)


def _gain(voice: Measured, untuned: Measured, measure: Measure) -> Interval | None:
    ours, theirs = voice.served[measure.key], untuned.served[measure.key]
    both = [id_ for id_ in ours if id_ in theirs]
    if not both:
        return None
    gain = difference([ours[id_] for id_ in both], [theirs[id_] for id_ in both])
    return gain if measure.more_is_better else _negative(gain)


def _negative(gain: Interval) -> Interval:
    return Interval(-gain.mean, -gain.high, -gain.low)


def _clear(gain: Interval) -> bool:
    return gain.low > 0 and gain.mean > TOLERANCE


def _choice(arm: Arm) -> Choice:
    if arm == ROUTER:
        return "router"
    if arm.few_shot:
        return "search_prompt" if arm.search else "prompt"
    return "search" if arm.search else "base"


_AS_GOOD = {
    "router": "Embeddings with logistic regression are as good",
    "search_prompt": "Search with few-shot is as good",
    "prompt": "A prompt is enough",
    "search": "Search alone is as good",
    "base": "The base model as it is does as well",
}


def _as_good(arm: Arm) -> str:
    return "Tuned search alone is as good" if arm.tuned else _AS_GOOD[_choice(arm)]


def _mean(measured: Measured, measure: Measure) -> float:
    found = measured.served[measure.key].values()
    return sum(found) / max(len(found), 1)


def _difference(measure: Measure, voice: Measured, untuned: Measured, gain: Interval) -> str:
    """Both figures, and the interval of their difference in points."""
    shown = gain if measure.more_is_better else _negative(gain)
    return (
        f"{measure.title} {_mean(voice, measure):.0%} against {_mean(untuned, measure):.0%} of "
        f"{untuned.arm.title} (95%: {100 * shown.low:+.0f} to {100 * shown.high:+.0f} points)"
    )


def _told(measured: Measured) -> str:
    told = [
        f"{measure.title} {_mean(measured, measure):.0%}"
        for measure in DECISIVE
        if measured.served[measure.key]
    ]
    return f"{measured.arm.title} is best ({', '.join(told)}; {measured.tokens:.0f} tokens)"


def _token_words(voice: Measured, measured: Sequence[Measured], untuned: Measured) -> str:
    """The tokens against the prompt that would be written in the voice's stead."""
    rival = next(
        (m for m in measured if m.arm.few_shot and m.arm.search == voice.arm.search), untuned
    )
    fewer = rival.tokens - voice.tokens
    compared = "less" if fewer >= 0 else "more"
    return f"a request takes {abs(fewer):.0f} tokens {compared} than {rival.arm.title}"
