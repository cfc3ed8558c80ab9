"""The gate: whether a freshly trained version of a voice may speak for it.

Pure. It compares measures that others took, row by row, of the candidate and of what it would
replace, on gate rows; it knows no model, no text and no database. Read `judge` first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from retrieval.measure import Interval, difference

LEAST_PAIRS = 90  # of a binary measure
LEAST_GRADED_PAIRS = 30  # before a graded measure can show that something is better
LEAST_PROBES = 300
MOST_LOST, MOST_LOST_AT_WORST = 0.02, 0.10  # of a measure in points: its mean, its lower 95% end
MOST_FALSELY_REFUSED = 0.15  # where to decline is taught, some answers are lost to it
MOST_RECALLED = 0.02
MOST_FORGOTTEN = 0.05
_ROUNDING = 1e-9

Against = Literal["base", "active"]
Values = Sequence[float] | NDArray[Any]  # (rows,) bool, share or loss
_SayFew = Callable[[int, int, str], str]  # (count, least, noun) -> why they are too few


@dataclass(frozen=True, slots=True)
class Binary:
    """A measure that a row passes or fails (or a share of it, 0..1), paired by row.

    Rows that are variants of one question, with other values or in other words, share its number
    in `questions`. A share that is better lower may be as high as `allowed`, whatever the other's.
    What does not decide is only told.
    """

    name: str
    candidate: Values
    other: Values
    lower_is_better: bool = False
    questions: Sequence[int] | None = None  # (rows,); None: each row is a question of its own
    allowed: float = 0.0
    decides: bool = True


@dataclass(frozen=True, slots=True)
class Graded:
    """A measure by degrees, paired by row: 0..1 and told in points, unless a unit is named."""

    name: str
    candidate: Values
    other: Values
    lower_is_better: bool = False
    unit: str | None = None  # such as "nats per token"
    questions: Sequence[int] | None = None  # as of a `Binary`


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a candidate and of the base or active version, the `other`.

    A voice has the measures that its task has, `style` and `loss` among them; `support`,
    `expected`, `declines` and `false refusals` only where it uses documents. `memorised` (a
    Binary, one value a probe) and `forgetting` (a Graded: the loss on replay) compare with the
    base whatever `other` is.
    """

    measures: tuple[Binary | Graded, ...]
    memorised: Binary | None = None
    forgetting: Graded | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to activate, and why, in words; the table holds the same as figures for JSON."""

    promoted: bool
    reasons: tuple[str, ...]
    table: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class _Finding:
    """One measure's row of the table."""

    measure: Binary | Graded
    compared: Interval | None  # of candidate minus other; None: there is nothing to compare
    fault: str | None = None  # why the candidate must not be promoted
    gain: float = -math.inf  # the lower end of how much better the candidate is

    def reason(self) -> str:
        told = _told(self.measure, self.compared) if self.compared else self.measure.name
        real, rows = _questions(self.measure), len(self.measure.candidate)
        if real < rows:
            told += f", on {real} questions and {rows - real} variants of them"
        if isinstance(self.measure, Binary) and not self.measure.decides:
            return f"{told}: told, but not decided by"
        return f"{told}: {self.fault}" if self.fault else told

    def row(self) -> dict[str, Any]:
        measure, compared = self.measure, self.compared
        return {
            "name": measure.name,
            "other": _mean(measure.other) if compared else None,
            "candidate": _mean(measure.candidate) if compared else None,
            "difference": compared.mean if compared else None,
            "low": compared.low if compared else None,
            "high": compared.high if compared else None,
            "n": len(measure.candidate),
            "questions": _questions(measure),
            "better": "lower" if measure.lower_is_better else "higher",
            "unit": getattr(measure, "unit", None) or "share",
            "passed": self.fault is None,
        }


def judge(
    measured: Measured, *, against: Against, cut_short: bool = False, seed: int = 0
) -> Decision:
    """Decide by design.md's rule, "The gate's rule", whether the candidate may speak.

    Every measure told in points may lose at most 2 points, and at most 10 at the lower end of
    its 95% interval, for which whole questions are drawn, with their variants; binary ones need 90
    paired rows. Beyond that rule, false refusals may reach 15%: a base that never declines has
    none. And the candidate must be better with its lower end above zero: in style against the
    base; in style, support or loss against an active version. A voice whose task has no style must
    be better in one of its own measures, and in loss only if it has no other. What it tells
    without context may pass the base by 2 points, its replay loss by 5%. `cut_short` says that
    time ran out before all was written: where pairs are missing, more data may not be what helps.

    Raises:
        ValueError: a measure's two sides differ in length, a name is used twice, `against` is
            neither "base" nor "active", or shares lie outside 0..1.
    """
    if against not in ("base", "active"):
        raise ValueError(f'against is {against!r}; use "base" or "active"')
    names = [measure.name for measure in measured.measures]
    if len(set(names)) < len(names):
        raise ValueError(f"a measure is given twice: {sorted(names)}")
    few = _too_few_written if cut_short else _too_little
    findings = [_compare(measure, seed, few) for measure in measured.measures]
    asked = list(findings)
    if measured.memorised is not None:
        asked.append(_memorised(measured.memorised, seed, few))
    if measured.forgetting is not None:
        asked.append(_forgetting(measured.forgetting, seed))
    failed = [finding for finding in asked if finding.fault]
    reasons = [finding.reason() for finding in [*failed, *(f for f in asked if not f.fault)]]
    judges = _judges(measured.measures, against)
    better = any(finding.gain > 0 for finding in findings if finding.measure.name in judges)
    if not better:
        reasons.insert(len(failed), _not_better(findings, judges, against))
    table = [finding.row() for finding in asked]
    for row in table[: len(findings)]:
        row["passed"] &= better or row["name"] not in judges
    return Decision(better and not failed, tuple(reasons), tuple(table))


def _compare(measure: Binary | Graded, seed: int, few: _SayFew) -> _Finding:
    if unusable := _unusable(measure):
        return _Finding(measure, None, unusable)
    compared = _difference(measure, seed)
    count = len(measure.candidate)
    if isinstance(measure, Binary) and not measure.decides:
        return _Finding(measure, compared)
    if isinstance(measure, Binary) and count < LEAST_PAIRS:
        return _Finding(measure, compared, few(count, LEAST_PAIRS, "paired row"))
    lower = measure.lower_is_better
    gained, worst = (-compared.mean, -compared.high) if lower else (compared.mean, compared.low)
    fault = None
    allowed = measure.allowed if lower and isinstance(measure, Binary) else 0.0
    if _in_points(measure) and not (allowed and _mean(measure.candidate) <= allowed + _ROUNDING):
        if gained < -MOST_LOST - _ROUNDING:
            fault = f"more than {100 * MOST_LOST:.0f} points worse"
        elif worst < -MOST_LOST_AT_WORST - _ROUNDING:
            fault = f"may be more than {100 * MOST_LOST_AT_WORST:.0f} points worse"
        if fault and allowed:
            fault += f", and above {100 * allowed:.0f}%"
    enough = isinstance(measure, Binary) or count >= LEAST_GRADED_PAIRS
    return _Finding(measure, compared, fault, worst if enough else -math.inf)


def _memorised(measure: Binary, seed: int, few: _SayFew) -> _Finding:
    if unusable := _unusable(measure):
        return _Finding(measure, None, unusable)
    compared = _difference(measure, seed)
    fault = None
    if (count := len(measure.candidate)) < LEAST_PROBES:
        fault = few(count, LEAST_PROBES, "probe")
    elif compared.mean > MOST_RECALLED + _ROUNDING:
        fault = "it tells facts from its weights, more than 2 points above the base"
    return _Finding(measure, compared, fault)


def _forgetting(measure: Graded, seed: int) -> _Finding:
    if unusable := _unusable(measure):
        return _Finding(measure, None, unusable)
    compared = _difference(measure, seed)
    most = _mean(measure.other) * (1 + MOST_FORGOTTEN)
    forgot = _mean(measure.candidate) > most + _ROUNDING
    fault = "it forgets what the base knew, by more than 5%" if forgot else None
    return _Finding(measure, compared, fault)


def _difference(measure: Binary | Graded, seed: int) -> Interval:
    candidate, other = (list(map(float, side)) for side in (measure.candidate, measure.other))
    return difference(candidate, other, groups=measure.questions, seed=seed)


def _questions(measure: Binary | Graded) -> int:
    """How many rows are no variants of others."""
    rows = len(measure.candidate)
    return rows if measure.questions is None else len(set(measure.questions))


def _unusable(measure: Binary | Graded) -> str | None:
    if measure.questions is not None and len(measure.questions) != len(measure.candidate):
        raise ValueError(f"{measure.name} names {len(measure.questions)} questions of its rows")
    if len(measure.candidate) != len(measure.other):
        counts = f"{len(measure.candidate)} values against {len(measure.other)}"
        raise ValueError(f"{measure.name} is not paired: {counts}")
    if not len(measure.candidate):
        return "not measured, no row has it"
    pairs = zip(measure.candidate, measure.other, strict=True)
    wrong = sum(not (math.isfinite(a) and math.isfinite(b)) for a, b in pairs)
    if wrong:
        return f"not a number in {wrong} of {len(measure.candidate)} rows"
    values = [*measure.candidate, *measure.other]
    if _in_points(measure) and not 0 <= min(values) <= max(values) <= 1:
        raise ValueError(f"{measure.name} must lie in 0..1; name its unit if it is no share")
    return None


def _judges(measures: Sequence[Binary | Graded], against: Against) -> set[str]:
    """The names of the measures that can show that a candidate is better."""
    names = {m.name for m in measures if not isinstance(m, Binary) or m.decides}
    others = {name for name in names if name not in ("style", "support", "loss")}
    if against == "base":
        if "style" in names:
            return {"style"}
        return others or names
    return names & {"style", "support", "loss"} if "style" in names else names


def _not_better(findings: Sequence[_Finding], judges: set[str], against: Against) -> str:
    whom = "the base" if against == "base" else "the active version"
    if not judges:
        return f"nothing was measured that could show it to be better than {whom}"
    listed = " or ".join(f.measure.name for f in findings if f.measure.name in judges)
    few = [
        f.measure.name
        for f in findings
        if f.measure.name in judges
        and isinstance(f.measure, Graded)
        and len(f.measure.candidate) < LEAST_GRADED_PAIRS
    ]
    hint = f" ({' and '.join(few)} on fewer than {LEAST_GRADED_PAIRS} rows)" if few else ""
    return f"not shown to be better than {whom} in {listed}{hint}"


def _too_little(count: int, least: int, noun: str) -> str:
    return f"too little data, {_counted(count, noun)} of at least {least}, {least - count} missing"


def _too_few_written(count: int, least: int, noun: str) -> str:
    return f"the minutes ran out at {_counted(count, noun)} of at least {least}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _told(measure: Binary | Graded, compared: Interval) -> str:
    other, candidate = _mean(measure.other), _mean(measure.candidate)
    ends = (compared.mean, compared.low, compared.high)
    if _in_points(measure):
        change, low, high = (_signed(100 * end, 1) for end in ends)
        return (
            f"{measure.name} {_plain(100 * other)}% -> {_plain(100 * candidate)}% "
            f"({change} points, 95% interval {low} to {high})"
        )
    unit = getattr(measure, "unit", "")
    change, low, high = (_signed(end, 3) for end in ends)
    return (
        f"{measure.name} {other:.3f} -> {candidate:.3f} {unit} "
        f"({change}, 95% interval {low} to {high})"
    )


def _signed(value: float, digits: int) -> str:
    text = f"{value:+.{digits}f}"
    text = text.removesuffix(".0") if digits == 1 else text
    return text[1:] if float(text) == 0 else text


def _plain(percent: float) -> str:
    return f"{percent:.1f}".removesuffix(".0")


def _in_points(measure: Binary | Graded) -> bool:
    return isinstance(measure, Binary) or measure.unit is None


def _mean(values: Values) -> float:
    return math.fsum(values) / len(values)
