"""Which questions of a store teach its search, select and judge it: decided once, for ever.

Questions that share a topic or a document stay together. It knows no texts and no models. Read
`assign` first; `SearchSplits` remembers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from retrieval.database import Connection, Database
from tuning.records import Split

GATE_SHARE, GATE_SHARE_MOST, GATE_QUESTIONS = 0.2, 0.4, 30
DEV_SHARE, DEV_SHARE_MOST, DEV_QUESTIONS = 0.1, 0.2, 10
LEAST_GROUPS = 8


def groups_of(keys: Sequence[Sequence[str]]) -> list[str]:
    """A group for each question, from what it must not be split from (topics or documents).

    Questions that share one, at any remove, are one group. Where that leaves too few groups, the
    first key alone decides; where that does, too, the last key, which is the question itself.
    """
    for groups in (_connected([own[:-1] for own in keys]), [own[0] for own in keys]):
        most = max(Counter(groups).values(), default=0)
        if len(set(groups)) >= LEAST_GROUPS and most <= len(groups) / 2:
            return groups
    return [own[-1] for own in keys]


def assign(groups: Sequence[str], *, known: Mapping[str, Split]) -> dict[str, Split]:
    """The split of every group: a known one stays; new ones are taken in the order of a hash.

    The gate gets a fifth of the questions (up to two fifths to reach 30), dev a tenth (up to a
    fifth to reach 10), train the rest.
    """
    sizes = Counter(groups)
    total = len(groups)
    wanted: dict[Split, float] = {
        "gate": min(max(GATE_SHARE * total, GATE_QUESTIONS), GATE_SHARE_MOST * total),
        "dev": min(max(DEV_SHARE * total, DEV_QUESTIONS), DEV_SHARE_MOST * total),
    }
    splits = {group: known[group] for group in sizes if group in known}
    held: Counter[Split] = Counter()
    for group, split in splits.items():
        held[split] += sizes[group]
    for group in sorted(sizes.keys() - splits.keys(), key=_hash):
        open_to = [s for s in wanted if held[s] + sizes[group] / 2 <= wanted[s]]
        splits[group] = open_to[0] if open_to else "train"
        held[splits[group]] += sizes[group]
    return splits


class SearchSplits:
    """The rows that remember; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, store_id: str) -> dict[str, Split]:
        """The split of every group that was ever assigned."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT name, split FROM search_splits WHERE store_id = ?", (store_id,)
            ).fetchall()
        return {row["name"]: row["split"] for row in rows}

    def keep(self, store_id: str, splits: Mapping[str, Split]) -> None:
        """Remember new groups; what is known never changes."""

        def change(connection: Connection) -> None:
            connection.executemany(
                "INSERT INTO search_splits (store_id, name, split) VALUES (?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                [(store_id, name, split) for name, split in splits.items()],
            )

        self._database.write(change)


def _connected(keys: Sequence[Sequence[str]]) -> list[str]:
    """A name for each list of keys: the same for those that hang together, at any remove."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for first, *others in keys:
        for other in others:
            low, high = sorted((root(first), root(other)))
            parent[high] = low
    return [root(own[0]) for own in keys]


def _hash(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()
