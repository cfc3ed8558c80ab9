"""The data report as the server makes it: the pure one, and what the documents say against it.

`examine` is what every job begins with and what /v1/data/check answers; dropping is left to the
job. It knows no HTTP and no worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.library import Library
from server.contradictions import Progress, contradictions
from server.ids import new_id
from server.trainings import Event
from tuning.findings import Report
from tuning.records import Example, Split
from tuning.report import report


@dataclass(frozen=True, slots=True)
class Checked:
    """The examples that are kept, what was found in all, and the rows that went by each code."""

    examples: list[Example]
    report: Report
    dropped: dict[str, tuple[int, ...]]

    def to_json(self) -> dict[str, Any]:
        return self.report.to_json(dropped=self.dropped)

    def events(self, *, now: int) -> list[Event]:
        """One event a finding, and one that says what is left out."""
        events = [
            Event(
                new_id("ftevent"),
                "warn",
                "message",
                f"Data: {finding.code} ({finding.count}). {finding.advice}",
                finding.to_json(),
                now,
            )
            for finding in self.report.findings
        ]
        counts = {code: len(rows) for code, rows in self.dropped.items()}
        if counts:
            told = ", ".join(f"{count} by {code}" for code, count in counts.items())
            message = f"Left out of {self.report.pairs} pairs: {told}."
            data = {"dropped": counts}
            events.append(Event(new_id("ftevent"), "info", "message", message, data, now))
        return events


def examine(
    examples: Sequence[Example],
    splits: Mapping[str, Split],
    *,
    kind: str | None,
    library: Library,
    stores: Sequence[str],
    progress: Progress | None = None,
) -> Report:
    """Report on examples; with `stores`, on what their documents contradict as well."""
    made = report(examples, splits, kind=kind)
    contradicted = contradictions(library, stores, examples, progress=progress)
    return made.with_findings([contradicted] if contradicted else [])


def check(
    examples: Sequence[Example],
    splits: Mapping[str, Split],
    *,
    kind: str,
    library: Library,
    stores: Sequence[str],
    drop: Sequence[str],
    progress: Progress | None = None,
) -> Checked:
    """Report on a job's examples, and leave out what is to be dropped."""
    made = examine(examples, splits, kind=kind, library=library, stores=stores, progress=progress)
    dropped = made.dropped(drop)
    gone = {row for rows in dropped.values() for row in rows}
    kept = [example for place, example in enumerate(examples) if place not in gone]
    return Checked(kept, made, dropped)


def summary(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A kept report as a job's result holds it: counts, no excerpts."""
    if report is None:
        return None
    counts = {finding["code"]: finding["count"] for finding in report["findings"]}
    return {"pairs": report["pairs"], "findings": counts, "dropped": report.get("dropped", {})}
