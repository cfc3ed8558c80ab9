"""What never leaves in an answer: links that no known text holds, and what is called secret.

Works on a growing answer: a word is sent once it can no longer become a link.
Pure code over the model's text; it knows no model, no database and no citations.

Read `Guard` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

WITHHELD = "(withheld)"
REMOVED = "(link removed)"
_LONGEST_CONSTRUCT = 600  # characters that an open bracket or tag may hold back
_LONGEST_NAME = 64  # characters: a longer run without a sign of a link becomes none
_SHORTEST_SECRET = 6  # letters and digits

_ENDINGS = "com|net|org|edu|gov|info|biz|io|ai|app|dev|co|me|ly|to|xyz|site|online|top|club|shop"
_COUNTRIES = "de|at|ch|fr|it|es|nl|eu|uk|us|ca|au|ru|cn|in|br|jp|tk|pw|ws|cc|tv"
_END = r"[^\s<>\"'`|\\^{}\[\]()]"
_LINK = re.compile(
    rf"""(?:[a-z][a-z0-9+.-]{{1,20}}://|//(?=\w)|www\.){_END}+
    | \b(?:javascript|vbscript|mailto):{_END}+
    | \bdata:(?:[a-z]+/|[;,]){_END}* | \bfile:/{_END}*
    | (?<![@a-z0-9_.-])(?:[a-z0-9](?:[a-z0-9-]{{0,62}})\.)+(?:{_ENDINGS}|{_COUNTRIES})(?![a-z0-9-])
      (?:[/?:\#]{_END}*)?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MARKDOWN = re.compile(r"!?\[([^\[\]]{0,300})\]\(\s*<?([^\s()<>]*)>?[^()]{0,200}\)")
# Tags that load or run something, and any with attributes; <int> and <ann@house.com> are none.
_TAG = re.compile(
    r"<(?:/?(?:a|img|script|style|iframe|object|embed|svg|math|form|base|meta|link)\b[^<>@]{0,500}"
    r"|[a-z][a-z0-9-]*[\s/][^<>]{1,500})>",
    re.IGNORECASE,
)
_OPEN = re.compile(
    r"\[?!?\[[^\[\]]*(?:\](?:\([^()]*)?)?$|!$|<[a-z!/][^<>\s]*(?:\s[^<>]*)?$|<$", re.IGNORECASE
)
_RUN = re.compile(r"[a-z0-9+.\-/:@_]*$", re.IGNORECASE)  # what a link may begin with
_TAIL = ".,;:!?*_~'\""

# A code of letters and digits, or what stands behind "password:" and the like.
_CODE = re.compile(r"(?=[\w-]*\d)(?=[\w-]*[^\W\d_])[\w-]{6,}")
_NAMED = re.compile(
    r"\b(?:canary|secret|password|passphrase|token|key|code)\b[\w\s]{0,20}?(?:is|:|=)\s*[\"'`]?"
    r"([^\s\"'`.,;]{6,})",
    re.IGNORECASE,
)
_HIDDEN = re.compile(
    r"\b(?:canary|secret|password|confidential|passphrase|(?:never|do not|don't|must not|not to)\s+"
    r"(?:be\s+)?(?:reveal|repeat|share|tell|disclose|mention|print|output|leave|leak|show)\w*)\b",
    re.IGNORECASE,
)


def links_in(texts: Iterable[str]) -> frozenset[str]:
    """The links that texts hold, in the form in which `Guard` compares them, and their hosts."""
    found = {_canonical(match[0]) for text in texts for match in _LINK.finditer(text)}
    return frozenset(found | {link.partition("/")[0] for link in found})


def secrets_in(system: str) -> tuple[str, ...]:
    """What a system message itself calls secret: its canary, passwords, codes beside such words.

    Only a message that says that something is secret has secrets; an order number that it tells
    is none.
    """
    if not _HIDDEN.search(system):
        return ()
    found = []
    sentences = re.split(r"(?<=[.!?])\s+|\n+", system)
    for at, sentence in enumerate(sentences):
        near = " ".join(sentences[max(0, at - 1) : at + 2])
        found += [match[1].rstrip(_TAIL) for match in _NAMED.finditer(sentence)]
        if _HIDDEN.search(near):
            found += [match[0] for match in _CODE.finditer(sentence)]
    return tuple(dict.fromkeys(text for text in found if len(_letters(text)) >= _SHORTEST_SECRET))


def guard_of(
    messages: Sequence[Mapping[str, str]], passages: Iterable[str], *, any_link: bool
) -> Guard:
    """The guard of one answer: it may hold links of the passages shown and of what was asked.

    What the assistant said before is no source: an earlier answer vouches for no link.
    """
    given = [m["content"] for m in messages if m["role"] != "assistant"]
    system = [m["content"] for m in messages if m["role"] == "system"]
    return Guard(
        links=None if any_link else links_in([*passages, *given]),
        secrets=[secret for text in system for secret in secrets_in(text)],
    )


class Guard:
    """Feed it the pieces of an answer; it returns what may leave.

    `links` are those that may stand in it (None: any); `secrets` are texts that may not, however
    they are spaced or cased.
    """

    def __init__(self, *, links: frozenset[str] | None, secrets: Sequence[str] = ()) -> None:
        self._links = links
        # What the mark itself says can be no secret.
        told = (_letters(secret) for secret in secrets)
        self._secrets = [secret for secret in told if secret not in _letters(WITHHELD)]
        self._held = ""

    def add(self, text: str) -> str:
        """The part of the answer that can be sent now."""
        # What has become whole is judged before the words that it consists of are let go.
        self._held = self._without_constructs(self._without_secrets(self._held + text))
        cut = self._safe_end()
        out, self._held = self._held[:cut], self._held[cut:]
        return self._without_links(out)

    def end(self) -> str:
        """What is left when the model has stopped."""
        out, self._held = self._held, ""
        return self._without_links(out)

    def _safe_end(self) -> int:
        """Where the last part begins that may still become a link or a secret."""
        if self._links is None and not self._secrets:
            return len(self._held)
        held = self._held
        end = len(held) - min(_LONGEST_NAME, len(_RUN.search(held)[0]))  # type: ignore[index]
        for link in _LINK.finditer(held, max(0, len(held) - _LONGEST_CONSTRUCT)):
            if link.end() == len(held):
                end = min(end, link.start())
        if opened := _OPEN.search(held, max(0, len(held) - _LONGEST_CONSTRUCT)):
            end = min(end, opened.start())
        letters = [(char.casefold(), at) for at, char in enumerate(held) if char.isalnum()]
        for secret in self._secrets:
            for size in range(min(len(secret) - 1, len(letters)), 0, -1):
                if "".join(char for char, _ in letters[-size:]) == secret[:size]:
                    end = min(end, letters[-size][1])
                    break
        return end

    def _without_constructs(self, text: str) -> str:
        """No tags, and of Markdown's links and images but the words, unless they are known."""
        if self._links is None:
            return text
        text = _TAG.sub("", text)
        for _ in range(3):  # an image within a link within brackets
            text, changed = _MARKDOWN.subn(self._markdown, text)
            if not changed:
                break
        return text

    def _without_links(self, text: str) -> str:
        return text if self._links is None else _LINK.sub(self._link, text)

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            places = [at for at, char in enumerate(text) if char.isalnum()]
            letters = "".join(text[at].casefold()[0] for at in places)
            kept, begun = [], 0
            start = letters.find(secret)
            while start >= 0:
                kept.append(text[begun : places[start]])
                begun = places[start + len(secret) - 1] + 1
                start = letters.find(secret, start + len(secret))
            text = WITHHELD.join([*kept, text[begun:]])
        return text

    def _markdown(self, match: re.Match[str]) -> str:
        return match[0] if self._known(match[2]) else match[1]

    def _link(self, match: re.Match[str]) -> str:
        link = match[0].rstrip(_TAIL)
        return match[0] if self._known(link) else REMOVED + match[0][len(link) :]

    def _known(self, link: str) -> bool:
        return self._links is not None and _canonical(link) in self._links


def _canonical(link: str) -> str:
    """What two writings of a link share: no scheme of the web, no www, no case of the host."""
    link = link.rstrip(_TAIL)
    link = re.sub(r"^(?:https?:)?//", "", link, flags=re.IGNORECASE)
    link = re.sub(r"^www\.", "", link, flags=re.IGNORECASE)
    host, slash, path = link.partition("/")
    return (host.casefold() + slash + path).rstrip("/")


def _letters(text: str) -> str:
    return "".join(char.casefold()[0] for char in text if char.isalnum())
