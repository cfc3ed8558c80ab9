"""Replies that do not sound like the rest: another voice, another language, another script.

The voice is read from three-letter runs of a reply's beginning and end, with figures masked,
so that what it is about counts little. Knows no model. Read `other_voices` first.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tuning.words import pieces

OPENING, CLOSING = 200, 200  # characters of a reply that are read
FITTED = 4000  # replies, evenly drawn, by which the voice is known
FEWEST = 30  # replies; fewer are no crowd to stand apart from
FAR_Z = 4.0  # robust z-score of the similarity among replies of about that length
MOST = 0.05  # share of the replies that can be told: more are no exception but a second voice
BINS = 8  # of lengths, as a short reply is never as similar as a long one
TRIGRAMS = 2**16  # places of hashed trigrams
HALVED = 1000  # replies, evenly drawn, in which a second voice is looked for
UNLIKE = 0.7  # similarity of the halves below which they are two voices
LEAST_HALF = 0.25  # share of the replies that the smaller voice has: fewer are exceptions
STARTS, ROUNDS = 8, 10  # of the search for the halves
_MIX = np.array([2654435761, 2246822519, 3266489917], dtype=np.uint32)  # odd, as in xxHash

_SAID = re.compile(r"\d+(?:[.,:]\d+)*|\{\{[^{}]{0,80}\}\}|\S+@\S+|https?://\S+")
_MOSTLY = 0.8  # share of the replies that must be in one script or language for others to differ
# Function words that no other language of the list shares often.
_LANGUAGES = {
    "English": "the and is you your of to for with that this we have are it not be please will",
    "German": "der die das und ist nicht sie wir mit ein eine ihre ihr für auf den wenn haben wird",
    "French": "le les des est vous votre nous pour avec une dans pas sur que qui du et ce être",
    "Spanish": "el los las es usted su para con una por que no nos puede de y del está muy",
    "Italian": "il gli è per con una non che di della sono può nostro suo questo e le si del",
    "Portuguese": "o os as é você seu para com uma por que não nos pode de e do da está",
    "Dutch": "de het een en is niet u uw wij met voor van op dat deze zijn kunt we te",
    "Swedish": "och att det är vi du en ett för med inte på din som av kan har till",
    "Polish": "i w na nie jest się do że z to dla jak proszę lub są od po przez",
}
_WORDS_OF = {language: frozenset(words.split()) for language, words in _LANGUAGES.items()}


def other_voices(replies: Sequence[str]) -> list[int]:
    """The places of replies that are far less similar to all together than the rest are.

    Similarity is the cosine to the centroid of character trigrams' (sublinear) frequencies; it
    is judged among replies of about the same length by its robust z-score. Trigrams are not
    weighted by their rarity: the frequent ones carry the voice, the rare ones the topic.
    """
    if len(replies) < FEWEST:
        return []
    centroid = np.zeros(TRIGRAMS)
    for reply in replies[:: max(1, len(replies) // FITTED)]:
        terms, weights = trigrams(reply)
        centroid[terms] += weights
    centroid /= max(float(np.linalg.norm(centroid)), 1e-9)
    similarity, lengths = np.zeros(len(replies)), np.zeros(len(replies))
    for place, reply in enumerate(replies):
        terms, weights = trigrams(reply)
        similarity[place] = weights @ centroid[terms]
        lengths[place] = len(terms)
    z = _robust_z(similarity, lengths)
    far = np.flatnonzero(z < -FAR_Z)
    far = far[np.argsort(z[far])][: int(MOST * len(replies))]
    return sorted(int(place) for place in far)


def second_voice(replies: Sequence[str]) -> list[int]:
    """The places of the smaller of two voices that share the replies; empty where one speaks.

    The replies are put into two halves, each reply to the half that it is more similar to
    (spherical 2-means, Dhillon and Modha 2001). Of many replies, evenly drawn ones are read.
    The halves of one voice have a similarity of .8 to .95, those of two voices one of .4 to .65.
    """
    from scipy.sparse import csr_array

    places = range(0, len(replies), max(1, len(replies) // HALVED))
    if len(places) < 2 * FEWEST:
        return []
    read = [trigrams(replies[place]) for place in places]
    ends = np.cumsum([0, *(len(terms) for terms, _ in read)])
    terms, weights = (np.concatenate(parts) for parts in zip(*read, strict=True))
    columns = np.unique(terms, return_inverse=True)[1]
    rows = csr_array((weights, columns, ends))  # (replies, trigrams that occur), unit rows
    mean = _unit(rows.sum(axis=0))
    best, found, alike = -1.0, np.zeros(len(read), dtype=bool), 1.0
    for start in range(0, len(read), -(-len(read) // STARTS)):
        one, other = rows[[start]].toarray()[0], mean
        for _ in range(ROUNDS):
            near, far = rows @ one, rows @ other
            apart = near > far
            one, other = _unit(apart @ rows), _unit(~apart @ rows)
        smaller = apart if apart.mean() < 0.5 else ~apart
        total = float(np.maximum(near, far).sum())
        if smaller.mean() >= LEAST_HALF and total > best:
            best, found, alike = total, smaller, float(one @ other)
    return [places[at] for at in np.flatnonzero(found)] if alike < UNLIKE else []


def trigrams(reply: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A reply as a sparse unit vector: its distinct trigrams, hashed, and their weights.

    Read are its beginning and end, with figures and placeholders masked.
    """
    if len(reply) > OPENING + CLOSING:
        reply = f"{reply[:OPENING]}\n{reply[-CLOSING:]}"
    text = f" {_SAID.sub('#', reply)} "
    letters = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)  # (characters,)
    mixed = letters[:-2] * _MIX[0] + letters[1:-1] * _MIX[1] + letters[2:] * _MIX[2]
    terms, counts = np.unique((mixed >> 15) % TRIGRAMS, return_counts=True)
    weights = 1 + np.log(counts)
    return terms.astype(np.int64), weights / np.linalg.norm(weights)


def other_languages(replies: Sequence[str]) -> tuple[list[int], str]:
    """The places of replies in another script or language than nearly all, and the usual one."""
    scripts = [script(reply) for reply in replies]
    usual = _usual(scripts)
    if usual is None:
        return [], ""
    places = [place for place, found in enumerate(scripts) if found not in (None, usual)]
    name = _named(usual)
    if usual == "LATIN":
        languages = [language(reply) for reply in replies]
        spoken = _usual(languages)
        if spoken is not None:
            name = spoken
            places += [p for p, found in enumerate(languages) if found not in (None, spoken)]
    return sorted(set(places)), name


def main_language(replies: Sequence[str]) -> str | None:
    """The language of most replies whose language is clear, or their script where not Latin."""
    found: Counter[str] = Counter()
    for reply in replies:
        written = script(reply)
        spoken = language(reply) if written == "LATIN" else written and _named(written)
        if spoken:
            found[spoken] += 1
    if not found:
        return None
    name, most = found.most_common(1)[0]
    return name if most > found.total() / 2 and most >= 3 else None


def script(text: str) -> str | None:
    """The script of most letters of a text, as Unicode names it; None without letters."""
    counts = Counter(map(_script_of, filter(str.isalpha, text[:400])))
    return counts.most_common(1)[0][0] if counts else None


def language(text: str) -> str | None:
    """The language whose function words a text holds, where that is clear beyond doubt."""
    words = Counter(list(pieces(text[:1000]))[:150])
    counts = {
        name: sum(words[word] for word in words.keys() & known) for name, known in _WORDS_OF.items()
    }
    (first, most), (_, next_most) = sorted(counts.items(), key=lambda item: -item[1])[:2]
    distinct = len(words.keys() & _WORDS_OF[first])
    enough = distinct >= 3 and most >= 4 and most >= 0.15 * words.total()
    return first if enough and most >= 2 * next_most else None


def _robust_z(values: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) float64: the distance from the median of those of about that length, in spreads."""
    z = np.zeros(len(values))
    bins = min(BINS, len(values) // FEWEST)
    everywhere = max(1.4826 * float(np.median(np.abs(values - np.median(values)))), 1e-3)
    for members in np.array_split(np.argsort(lengths, kind="stable"), bins):
        held = values[members]
        middle = np.median(held)
        spread = 1.4826 * float(np.median(np.abs(held - middle)))
        z[members] = (held - middle) / max(spread, everywhere / 2)
    return z


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _usual(found: Sequence[str | None]) -> str | None:
    """What nearly all that are known have in common."""
    counts = Counter(one for one in found if one is not None)
    if not counts:
        return None
    name, most = counts.most_common(1)[0]
    return name if most >= _MOSTLY * counts.total() and most >= 3 else None


def _named(script: str) -> str:
    return "Chinese or Japanese" if script == "CJK" else script.title()


@cache
def _script_of(letter: str) -> str:
    name = unicodedata.name(letter, "UNKNOWN").split(" ")[0].split("-")[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA", "FULLWIDTH") else name
