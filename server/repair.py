"""A model's draft -> what a user reads, by policy: repaired, flagged or left. Pure.

`strict` lets through only what a passage supports or the user has told: another claim gives
way to a quotation of the sentence that answers best, and where the evidence is weak the answer
says that we do not have it. The draft's greeting and parting, which state nothing, stay: they are
the voice's frame. `flag` marks what is unsupported, `off` cites and changes nothing.

The same object works on a stream and on a whole text, so that what an evaluation measures is what
is served. It knows no model and no database. Read `Strict.add` first, then `Strict._claim`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, Protocol

from retrieval.attribute import check
from retrieval.claims import content_words, figures, is_negated, names, split_claims
from retrieval.extract import MOST_SENTENCES, MOST_WORDS, Sentence
from retrieval.grounds import Grounds
from retrieval.records import Hit
from server.cite import NOT_SAID, OWN_MARKER, Change, Citation, Citer, Span, mark, open_end
from server.decline import PLAIN, only_declining
from server.formulas import NO_FORMULAS, Formulas, tells
from tuning.declines import looks_like_decline

Policy = Literal["strict", "flag", "off"]
POLICIES: tuple[Policy, ...] = ("strict", "flag", "off")

_PATIENCE = 2  # sentences after which a draft on weak evidence is not waited for
_FRAME_WORDS = 9  # a greeting or a parting is short
_COVERED = 0.6  # a claim that holds so much of a sentence's words need not be followed by it
_SUBJECT = re.compile(r"(?:re|subject|regarding|concerning)\b", re.IGNORECASE)  # as of a letter
# What no sentence ends with: the model was stopped there.
_CUT = re.compile(
    r"\b(?:the|a|an|of|to|for|and|or|in|on|at|with|by|from|is|are|was|were|if|your|our)$",
    re.IGNORECASE,
)


class Mends(Protocol):
    """What `write` needs of a policy; `citations` and `changes` are complete after `end`."""

    citations: list[Citation]
    changes: list[Change]

    def add(self, text: str) -> str: ...
    def end(self, *, cut: bool = False) -> str: ...


def mend(
    policy: Policy,
    shown: Sequence[Hit],
    grounds: Grounds,
    *,
    message: str = "",
    formulas: Formulas = NO_FORMULAS,
) -> Mends:
    """Return what carries out a policy on one answer; `shown` are the hits in the prompt.

    `formulas` are those of the voice that speaks.
    """
    if policy == "strict":
        return Strict(shown, grounds, message=message, formulas=formulas)
    return Citer(shown, message=message, flag=policy == "flag")


class Strict:
    """Lets through checked sentences only; each is sent when the next one begins."""

    def __init__(
        self,
        shown: Sequence[Hit],
        grounds: Grounds,
        *,
        message: str = "",
        formulas: Formulas = NO_FORMULAS,
    ) -> None:
        self._hits = [*shown, *(hit for hit in grounds.hits if hit not in shown)]
        self._passages = [hit.passage.text for hit in self._hits]
        self._grounds = grounds
        self._quotes = list(grounds.sentences)
        self._message = message
        self._formulas = formulas
        self._weak = grounds.weak
        self._figures = figures("\n".join([message, *self._passages]))
        self._topic = content_words(" ".join([message, *self._passages]))
        self._open = ""
        self._answered = False  # the draft says the best sentence in words of its own
        self._said: list[Sentence] = []  # what was quoted
        self._heard: set[str] = set()  # the draft's sentences so far
        self._told: list[str] = []  # the sentences that were let through with a citation
        self._declined = False
        self._waited = 0  # sentences on weak evidence that are no decline
        self._first = True
        self._sent = False
        self._parted = False  # the house has taken leave
        self.citations: list[Citation] = []
        self.changes: list[Change] = []

    def add(self, text: str) -> str:
        """The checked sentences that are complete now."""
        self._open += text
        out = ""
        while True:
            end = open_end(self._open)
            claims = split_claims(self._open)
            if len(claims) < 2 or claims[0][1] >= end:
                return out
            start, stop = claims[0]
            out += self._sentence(self._open[:start], self._open[start:stop])
            self._open = self._open[stop:]

    def end(self, *, cut: bool = False) -> str:
        """What is left when the model has stopped; an answer without support becomes an extract.

        `cut` says that it was stopped, at its limit of tokens.
        """
        rest, self._open = self._open.rstrip(), ""
        out = ""
        sentences = split_claims(rest)
        for number, (start, stop) in enumerate(sentences):
            before = sentences[number - 1][1] if number else 0
            last = number == len(sentences) - 1
            gap, sentence = rest[before:start], rest[start:stop]
            if last and not self._first and self._is_parting(sentence):
                break
            if last and cut and self._breaks_off(sentence):
                out += self._drop(sentence, "it breaks off")
                continue
            out += self._sentence(gap, sentence)
        else:
            return out + self._close() + self._part()
        out += self._close()
        return out + self._say(gap, sentence)

    def _sentence(self, gap: str, sentence: str) -> str:
        sentence = OWN_MARKER.sub("", sentence).strip()
        first, self._first = self._first, False
        if not sentence:
            return ""
        plain = sentence.casefold()
        if plain in self._heard:
            return self._drop(sentence, "it has been said")
        self._heard.add(plain)
        if first and self._is_frame(sentence) and not looks_like_decline(sentence):
            return self._say(gap, sentence)
        return self._claim(gap, sentence)

    def _claim(self, gap: str, sentence: str) -> str:
        declines = looks_like_decline(sentence)
        if self._weak and declines:
            return self._decline(gap, sentence)
        if self._weak:
            return self._wait(gap, sentence)
        if declines:
            return self._quote(gap, sentence, "the documents do answer")
        claim = check(sentence, self._passages, message=self._message)
        if not claim.states:
            return self._small_talk(gap, sentence)
        if claim.passage is not None and content_words(sentence):
            hit = self._hits[claim.passage]
            span = claim.passage_start, claim.passage_end
            return self._supported(gap, sentence, hit, span)
        if claim.supported and claim.passage is None:
            return self._say(gap, sentence)
        if check(sentence, [self._message]).supported:
            if _SUBJECT.match(sentence) and not tells(sentence):
                return self._say(gap, sentence)
            return self._drop(sentence, "only the question says so")
        reason = NOT_SAID
        if claim.missing:
            reason = f"no passage holds {', '.join(claim.missing)}"
        return self._quote(gap, sentence, reason, self._pointed_at(sentence))

    def _small_talk(self, gap: str, sentence: str) -> str:
        """What states nothing stays, unless it has broken off or asks what the user has asked."""
        words = content_words(sentence)
        if not words and figures(sentence):
            return self._drop(sentence, "a number alone")
        echoes = bool(words) and words <= content_words(f"Question {self._message}")
        broken = self._breaks_off(sentence) or bool(_CUT.search(sentence))
        if echoes or broken or not figures(sentence) <= self._figures:
            return self._drop(sentence, "it asks the question again" if echoes else NOT_SAID)
        return self._say(gap, sentence)

    def _supported(self, gap: str, sentence: str, hit: Hit, span: Span) -> str:
        """A claim that a passage backs; one that says less than the best sentence gives way."""
        if any(_repeats(sentence, told) for told in self._told):
            return self._drop(sentence, "it has been said")
        for own in list(self._quotes):
            same = self._grounds.hits[own.hit] == hit
            if not same or own.start >= span[1] or own.end <= span[0]:
                continue
            if not _covers(sentence, own.text):
                return self._quote(gap, sentence, "the passage says more", own)
            self._quotes.remove(own)
            self._answered = self._answered or own == self._grounds.sentences[0]
        self._told.append(sentence)
        return self._say(gap, sentence) + mark(self.citations, hit, *span)

    def _pointed_at(self, claim: str) -> Sentence | None:
        """The best sentence with the figures of a claim: what the draft has read, and put badly."""
        wanted = figures(claim) - figures(self._message)
        if self._said or not wanted or not content_words(claim) or not wanted <= self._figures:
            return None
        ranked = [*self._quotes, *self._grounds.others]
        return next((own for own in ranked if wanted <= figures(own.text)), None)

    def _quote(self, gap: str, was: str, reason: str, own: Sentence | None = None) -> str:
        """The best sentence that is not yet said, in place of what the draft says."""
        if own is None and self._quotes == list(self._grounds.sentences):
            own = self._quotes[0]
        if own is None or own in self._said:
            return self._drop(was, reason)
        self._said.append(own)
        self._told.append(own.text)
        self._quotes = [other for other in self._quotes if other != own]
        text = OWN_MARKER.sub("", own.text)  # a document's own [1] is no citation of ours
        hit = self._grounds.hits[own.hit]
        now = self._say(gap, f"“{text}”") + mark(self.citations, hit, own.start, own.end)
        self.changes.append(Change(was, now.strip(), reason))
        return now

    def _drop(self, was: str, reason: str) -> str:
        self.changes.append(Change(was, "", reason))
        return ""

    def _wait(self, gap: str, sentence: str) -> str:
        """Drop what is said on weak evidence; after two sentences nobody waits for a decline."""
        self._waited += 1
        out = self._drop(sentence, "the documents do not answer")
        if self._waited == _PATIENCE and not self._declined:
            out = self._decline(gap, "")
        return out

    def _decline(self, gap: str, own: str) -> str:
        """Say once that there is no answer, in the draft's own words where it has any."""
        if self._declined:
            return self._drop(own, "the documents do not answer")
        self._declined = True
        kept = only_declining(own, self._is_told)
        if kept and figures(kept) <= self._figures:
            if kept != own:
                self.changes.append(Change(own, kept, NOT_SAID))
            return self._say(gap, kept)
        self.changes.append(Change(own, PLAIN[0], "the documents do not answer"))
        return self._say(gap, PLAIN[0])

    def _is_told(self, part: str) -> bool:
        return check(part, self._passages, message=self._message).supported

    def _close(self) -> str:
        """What the draft has left unsaid: the answer itself, or that there is none."""
        if self._weak:
            return "" if self._declined else self._decline(" ", "")
        out = ""
        words = sum(len(own.text.split()) for own in self._said)
        for own in list(self._quotes):
            length = len(own.text.split())
            # What the draft points at may be wrong, so it takes no room from the extract.
            quoted = sum(said in self._grounds.sentences for said in self._said)
            full = quoted == MOST_SENTENCES or words + length > MOST_WORDS
            if self._answered or (self._said and full):
                break
            out += self._quote(" ", "", "the draft does not say it", own)
            words += length
        return out

    def _part(self) -> str:
        """Take leave as the house does, after an answer that was changed and has no parting."""
        parting = self._formulas.parting(self._message)
        if not parting or not self.changes or not self._sent or self._parted:
            return ""
        self.changes.append(Change("", parting, "the house takes leave"))
        return self._say(" ", parting)

    def _breaks_off(self, sentence: str) -> bool:
        """Whether a last sentence has no end, and is not all that there is."""
        unended = sentence[-1].isalnum() or sentence[-1] in ",;:-/"
        return unended and bool(self.changes or self.citations)

    def _is_parting(self, sentence: str) -> bool:
        said = sentence.strip().casefold() in self._heard
        return self._is_frame(sentence) and not said and not looks_like_decline(sentence)

    def _is_frame(self, sentence: str) -> bool:
        """Whether a sentence greets or takes leave.

        It does if the house always says so, or if it is short, states nothing, names nobody, and is
        off the topic.
        """
        if sentence in self._formulas:
            return True
        words = content_words(sentence)
        return (
            len(sentence.split()) <= _FRAME_WORDS
            and not tells(sentence)
            and not _CUT.search(sentence)
            and not names(sentence)
            and 2 * len(words & self._topic) < max(len(words), 1)
        )

    def _say(self, gap: str, text: str) -> str:
        gap, self._sent = (gap or " ") if self._sent else "", True
        self._parted = self._parted or self._formulas.ends(text)
        return gap + text


def _repeats(sentence: str, told: str) -> bool:
    """Whether a sentence says a part of another one again, word for word."""
    if is_negated(sentence) != is_negated(told):
        return False
    part, whole = (
        " ".join(word.strip(".,;:!?“”") for word in text.casefold().split())
        for text in (sentence, told)
    )
    return f" {part} " in f" {whole} "


def _covers(claim: str, sentence: str) -> bool:
    """Whether a claim says what a sentence says: all its figures and most of its words."""
    wanted = content_words(sentence)
    if not figures(sentence) <= figures(claim):
        return False
    return len(wanted & content_words(claim)) >= _COVERED * len(wanted)
