"""Which examples say the same as another: exactly, or nearly, by MinHash and then for sure.

Each example is compared with the first of every cluster found so far, so that 50,000 copies of
one reply cost no more than 50,000 different ones, and what is remembered grows with the
clusters alone. MinHash only proposes; what is reported was compared exactly. Read `clusters`
first. Source: Broder, "On the resemblance and containment of documents" (1997).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

from datasketch import MinHash, MinHashLSH

from tuning.records import Example
from tuning.words import pieces

THRESHOLD = 0.8  # of the shingles of two texts together, the share they have in common
SHINGLE = 3  # words (or characters, in scripts without spaces)
# 12 bands of 5: a pair at the threshold is missed once in 130, one at .9 never.
BANDS, BAND_ROWS = 12, 5
MOST_COMPARED = 50  # proposals that are compared exactly


def text_of(example: Example) -> str:
    """What is compared: the conversation and the reply, without a system message."""
    said = [m["content"] for m in example.messages if m["role"] != "system"]
    return "\n".join(filter(None, [*said, example.reply, example.rejected]))


def exact_duplicates(examples: Sequence[Example]) -> list[list[int]]:
    """The places of examples that are the same but for white space, the first of each first."""
    places: dict[tuple[str, ...], list[int]] = {}
    for place, example in enumerate(examples):
        said = (f"{m['role']} {m['content']}" for m in example.messages)
        key = tuple(
            " ".join(text.split()) for text in (*said, example.reply, example.rejected or "")
        )
        places.setdefault(key, []).append(place)
    return [group for group in places.values() if len(group) > 1]


def clusters(texts: Iterable[str], *, threshold: float = THRESHOLD) -> list[list[int]]:
    """The places of texts that are nearly the same as the first of their cluster.

    Every pair reported has a Jaccard similarity of its shingles of at least `threshold`; a text
    joins the most similar cluster. Clusters of one are left out.
    """
    index = MinHashLSH(num_perm=BANDS * BAND_ROWS, params=(BANDS, BAND_ROWS))
    empty = MinHash(num_perm=BANDS * BAND_ROWS, hashfunc=zlib.crc32)
    found: dict[int, list[int]] = {}
    firsts: dict[int, str] = {}
    for place, text in enumerate(texts):
        held = shingles(text)
        if not held:
            continue
        sketch = MinHash(
            hashfunc=zlib.crc32,
            hashvalues=empty.hashvalues,
            permutations=empty.permutations,
            scheme=empty.scheme,
        )
        sketch.update_batch(held)
        proposed = sorted(index.query(sketch))[:MOST_COMPARED]
        similar = {first: jaccard(held, shingles(firsts[first])) for first in proposed}
        best = max(similar, key=similar.__getitem__, default=None)
        if best is not None and similar[best] >= threshold:
            found.setdefault(best, [best]).append(place)
        else:
            firsts[place] = text
            index.insert(place, sketch)
    return list(found.values())


def shingles(text: str) -> set[bytes]:
    """Every run of `SHINGLE` words of a text; one of fewer words is one shingle."""
    words = list(pieces(text))
    if not words:
        return set()
    runs = range(max(1, len(words) - SHINGLE + 1))
    return {" ".join(words[i : i + SHINGLE]).encode() for i in runs}


def jaccard(one: set[bytes], other: set[bytes]) -> float:
    """The share of what two sets hold together that both hold."""
    return len(one & other) / len(one | other) if one or other else 0.0
