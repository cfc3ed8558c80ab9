"""Cases for a calibration, made of a store's own documents: headings and sentences ask.

A heading asks for the passage below it, a sentence for the passage around it, each with its own
words taken out of the passage first: else words would always win. The other passages of a sample
compete. The number of probes is bounded, so that this takes seconds in a store of any size. It
changes nothing; read `find_cases` first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pysqlite3 as sqlite3
from numpy.typing import NDArray

from retrieval import passages
from retrieval.calibrate import Case
from retrieval.database import Connection, Database, Row
from retrieval.errors import Cancelled
from retrieval.passages import embedded_text
from retrieval.split import sentences

MOST_PROBES = 48
MOST_PASSAGES = 2_000  # that compete
PASSAGES_OF_A_PROBE = 100  # offered by each side, as in a search
SENTENCE_WORDS = range(5, 31)
HEADING_WORDS = range(2, 13)
TEXTS_AT_ONCE = 8

Rows = NDArray[np.float32]  # (n, dim) float32, unit rows
Embeds = Callable[[Sequence[str]], Rows]


@dataclass(frozen=True, slots=True)
class _Probe:
    """A question, the passage it comes from, and what is left of that without the question."""

    query: str
    at: int  # of the passage in the sample
    context: str
    text: str
    hidden: frozenset[int]  # passages that tell the same, left out of the search


def find_cases(
    database: Database,
    store_id: str,
    fingerprint: str,
    *,
    embed: Embeds,
    embed_queries: Embeds,
    seed: int = 0,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Case]:
    """Make at most `MOST_PROBES` cases; none where the store has too little for it.

    Raises `Cancelled` once `stopped()` says so: it is asked before every few texts.
    """
    chance = random.Random(seed)
    with database.read() as connection:
        ids = passages.find_ids_of_store(connection, store_id)
        chosen = sorted(chance.sample(ids, min(MOST_PASSAGES, len(ids))))
        sample = passages.find_contexts(connection, chosen)
        owners, rows = passages.find_rows(connection, store_id, fingerprint, chosen)
    place = {row["id"]: at for at, row in enumerate(sample)}
    probes = _choose(sample, chance)
    if not probes or not len(rows):
        return []
    asked = _in_parts(embed_queries, [probe.query for probe in probes], stopped)
    masked = _in_parts(embed, [embedded_text(p.context, p.text) for p in probes], stopped)
    # (probes, passages): the best of a passage's windows
    near = np.full((len(probes), len(sample)), -1.0, dtype=np.float32)
    np.maximum.at(near.T, [place[owner] for owner in owners.tolist()], rows @ asked.T)
    words = _index(sample, probes)
    try:
        return [
            _case(sample, probe, number, near[number], float(masked[number] @ asked[number]), words)
            for number, probe in enumerate(probes)
        ]
    finally:
        words.close()


def _choose(sample: Sequence[Row], chance: random.Random) -> list[_Probe]:
    """Passages of as many documents as there are, each with one question, headings and sentences
    by turns; none where all passages are of one document."""
    order = list(range(len(sample)))
    chance.shuffle(order)
    taken: dict[str, int] = {}
    for at in order:
        taken.setdefault(sample[at]["document_id"], at)
    if len(taken) < 2:
        return []
    first = set(taken.values())
    probes: list[_Probe] = []
    for at in [*taken.values(), *(at for at in order if at not in first)]:
        makers = [_of_heading, _of_sentence]
        if len(probes) % 2:
            makers.reverse()
        for make in makers:
            if (probe := make(sample, at, chance)) is not None:
                probes.append(probe)
                break
        if len(probes) == MOST_PROBES:
            break
    return probes


def _of_heading(sample: Sequence[Row], at: int, chance: random.Random) -> _Probe | None:
    row = sample[at]
    heading = row["heading"] or ""
    text = row["text"].replace(heading, " ").strip()
    if len(heading.split()) not in HEADING_WORDS or len(text.split()) < SENTENCE_WORDS.start:
        return None
    same = (
        other
        for other, that in enumerate(sample)
        if that["document_id"] == row["document_id"] and that["heading"] == heading
    )
    context = row["context"].replace(heading, "").rstrip(" -")
    return _Probe(heading, at, context, text, frozenset(same))


def _of_sentence(sample: Sequence[Row], at: int, chance: random.Random) -> _Probe | None:
    row = sample[at]
    text = row["text"]
    spans = [
        (start, end)
        for start, end in sentences(text)
        if len(text[start:end].split()) in SENTENCE_WORDS
    ]
    if not spans:
        return None
    start, end = chance.choice(spans)
    rest = f"{text[:start]} {text[end:]}".strip()
    if len(rest.split()) < SENTENCE_WORDS.start:
        return None
    return _Probe(text[start:end], at, row["context"], rest, frozenset({at}))


def _index(sample: Sequence[Row], probes: Sequence[_Probe]) -> Connection:
    """A full text of the sample, and behind it of what is left of the probes' passages."""
    index = sqlite3.connect(":memory:")
    index.execute(
        "CREATE VIRTUAL TABLE passages_fts USING fts5 (context, text, "
        'tokenize = "porter unicode61 remove_diacritics 2")'
    )
    texts: Iterable[tuple[str, str]] = [
        *((row["context"], row["text"]) for row in sample),
        *((probe.context, probe.text) for probe in probes),
    ]
    index.executemany(
        "INSERT INTO passages_fts (rowid, context, text) VALUES (?, ?, ?)",
        [(number, context, text) for number, (context, text) in enumerate(texts)],
    )
    return index


def _case(
    sample: Sequence[Row],
    probe: _Probe,
    number: int,
    near: Rows,
    own_score: float,
    words: Connection,
) -> Case:
    """What a search finds if the probe's passage stands there without the probe."""
    scores = {at: float(near[at]) for at in range(len(sample)) if at not in probe.hidden}
    scores[probe.at] = own_score
    found = words.execute(
        "SELECT rowid, -bm25(passages_fts) FROM passages_fts WHERE passages_fts MATCH ? "
        "ORDER BY bm25(passages_fts), rowid LIMIT ?",
        (
            passages.quoted_words(probe.query) or '""',
            PASSAGES_OF_A_PROBE + MOST_PROBES + len(probe.hidden),
        ),
    )
    masked = len(sample) + number
    lexical = {
        probe.at if at == masked else at: float(score)
        for at, score in found
        if at == masked or (at < len(sample) and at not in probe.hidden)
    }
    best = sorted(scores, key=lambda at: -scores[at])[:PASSAGES_OF_A_PROBE]
    lexical = dict(list(lexical.items())[:PASSAGES_OF_A_PROBE])
    document = sample[probe.at]["document_id"]
    return Case(
        probe.query,
        {at: scores[at] for at in {*best, *lexical}},
        lexical,
        frozenset(at for at, row in enumerate(sample) if row["document_id"] == document),
    )


def _in_parts(embed: Embeds, texts: Sequence[str], stopped: Callable[[], bool]) -> Rows:
    parts = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        if stopped():
            raise Cancelled("the calibration was stopped: there is other work")
        parts.append(embed(texts[start : start + TEXTS_AT_ONCE]))
    return np.concatenate(parts)
