"""Which texts are nearly the same: MinHash finds the candidates, exact Jaccard decides.

A text is the set of its pairs of neighbouring words (pairs of characters in scripts written
without spaces), each hashed to 32 bits. Texts are taken in their order, and each is compared
only with texts that are unlike all earlier ones, so 50,000 copies of a text cost no more than
50,000 different ones. Knows no examples. Read `near_duplicates` first.

MinHash: Broder, On the resemblance and containment of documents, 1997.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from tuning.words import UNSPACED

SIMILARITY = 0.8  # Jaccard from which two texts are near duplicates
# 16 bands of 6: a pair at 0.8 is missed once in 125 times, at 0.9 never in practice.
BANDS, BAND_ROWS = 16, 6
MOST_CANDIDATES = 64  # compared exactly per text, so that texts of one mould stay affordable
_ODD = np.uint32(0x9E3779B1)  # a pair is not its reverse
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")

Shingles = NDArray[np.uint32]  # (n,) sorted, unique


def shingles(text: str) -> Shingles:
    """The pairs of neighbouring tokens of a text, hashed; one token makes a pair with itself."""
    tokens = _TOKEN.findall(text.casefold())
    hashed = np.fromiter(map(_hash, tokens), dtype=np.uint32, count=len(tokens))
    before, after = (hashed, hashed) if len(tokens) == 1 else (hashed[:-1], hashed[1:])
    return np.unique(before * _ODD + after)  # modulo 2**32


@lru_cache(maxsize=100_000)
def _hash(token: str) -> int:
    return zlib.crc32(token.encode("utf-8", "replace"))


def jaccard(a: Shingles, b: Shingles) -> float:
    """The share of all shingles that both sets have; 1 for two empty ones."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common) if len(a) or len(b) else 1.0


def near_duplicates(texts: Iterable[str], *, similarity: float = SIMILARITY) -> list[int]:
    """For every text the index of the earliest text that it nearly repeats, or its own.

    That earliest text repeats no other, so texts of one index form a cluster around it.
    """
    index = MinHashLSH(num_perm=BANDS * BAND_ROWS, params=(BANDS, BAND_ROWS))
    kept: dict[int, Shingles] = {}
    first: list[int] = []
    empty = MinHash(num_perm=BANDS * BAND_ROWS, hashfunc=int, scheme="affine32")
    for number, text in enumerate(texts):
        own = shingles(text)
        sketch = empty.copy()
        sketch.update_batch(own.tolist())
        candidates = sorted(index.query(sketch))[:MOST_CANDIDATES]
        like = next((c for c in candidates if jaccard(own, kept[c]) >= similarity), number)
        first.append(like)
        if like == number:
            kept[number] = own
            index.insert(number, sketch, check_duplication=False)
    return first


def repeated(first: Sequence[int]) -> list[int]:
    """The indices of the texts that nearly repeat an earlier one."""
    return [number for number, like in enumerate(first) if like != number]
