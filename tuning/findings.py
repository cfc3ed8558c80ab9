"""What a data report is made of: findings, and the codes they go by.

Knows no examples: a finding holds the rows' places in the list that was examined, and excerpts
in which secrets and personal data are masked already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]

SHOWN = 5  # examples of a finding
# Findings of single rows, which can be dropped, in the order in which they are told.
DROPPABLE = (
    "exact_duplicates",
    "near_duplicates",
    "leakage",
    "placeholders",
    "secrets",
    "personal_data",
    "contradictory_replies",
    "contradicts_documents",
    "one_word_replies",
    "length_outliers",
    "mixed_voices",
    "other_language",
)
# Findings of the file as a whole.
WHOLE = ("format", "too_little_data", "one_topic", "second_voice", "unfamiliar_language")
ALWAYS_DROPPED = ("exact_duplicates",)


@dataclass(frozen=True, slots=True)
class Shown:
    """One example of a finding: the lines of the file it is about, and an excerpt."""

    lines: tuple[int, ...]
    excerpt: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about the data; `advice` says in one sentence what it means and how to mend it.

    `rows` are the places, in the list that was examined, of the examples that dropping the
    finding removes; empty where dropping is no remedy.
    """

    code: str
    severity: Severity
    count: int
    advice: str
    examples: tuple[Shown, ...] = ()
    rows: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For events, files and the wire; `rows` means nothing outside."""
        value = asdict(self)
        del value["rows"]
        return value


@dataclass(frozen=True, slots=True)
class Report:
    """Everything found in `pairs` examples, errors first, and what so many may come to."""

    pairs: int
    expect: str
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "error")

    def with_findings(self, more: Iterable[Finding]) -> Report:
        """The report with further findings, each in its place."""
        order = ("format", *DROPPABLE, *WHOLE)
        findings = sorted((*self.findings, *more), key=lambda f: order.index(f.code))
        return Report(self.pairs, self.expect, tuple(findings))

    def dropped(self, codes: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The rows that each code removes beyond those before it, in the findings' order."""
        wanted = {*ALWAYS_DROPPED, *codes}
        gone: set[int] = set()
        removed: dict[str, tuple[int, ...]] = {}
        for finding in self.findings:
            if finding.code in wanted and (new := sorted(set(finding.rows) - gone)):
                removed[finding.code] = tuple(new)
                gone.update(new)
        return removed

    def to_json(self, *, dropped: Mapping[str, Sequence[int]] | None = None) -> dict[str, Any]:
        """The report as JSON; with what was dropped by code, where a job dropped rows."""
        value: dict[str, Any] = {
            "pairs": self.pairs,
            "errors": sum(f.count for f in self.errors),
            "expect": self.expect,
            "findings": [finding.to_json() for finding in self.findings],
        }
        if dropped is not None:
            value["dropped"] = {code: len(rows) for code, rows in dropped.items()}
        return value


def check_codes(codes: Sequence[str]) -> None:
    """Raises ValueError, naming the known ones, for a code that no finding of rows goes by."""
    unknown = [code for code in codes if code not in DROPPABLE]
    if unknown:
        raise ValueError(
            f"nothing can be dropped by the name {', '.join(map(repr, unknown))}; "
            f"known are {', '.join(DROPPABLE)}"
        )
