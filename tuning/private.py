"""Likely secrets and personal data in a text, found by their shape and, where there is one,
their checksum.

A value is never handed out unmasked: `masked` is what reports may show. Knows no examples and no
names: a person's name is not recognised. Read `find` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

EXCERPT = 120  # characters
Kind = Literal["secret", "email", "phone", "card", "iban"]

_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,})"
    r"|\b(?:sk|pk|rk)[-_](?:live|test|proj|ant|or)[-_][\w-]{12,}|\bsk-[A-Za-z0-9]{20,}\b"
    r"|\bxox[abposr]-[\w-]{10,}|\bAIza[\w-]{35}\b|\bhf_[A-Za-z0-9]{30,}\b|\bnpm_[A-Za-z0-9]{36}\b"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"
    r"|(?<=://)[^\s:/@]{1,64}:[^\s:/@]{3,64}(?=@)"
)
# The value behind such a word is a secret where it looks like one: see `_looks_secret`.
_NAMED = re.compile(
    r"\b(?:pass(?:word|code|phrase|wort)|kennwort|mot de passe|contraseña|pwd|pin"
    r"|api[ _-]?key|access[ _-]?key|(?:client[ _-]?)?secret(?:[ _-]?key)?"
    r"|(?:access|auth|bearer|api)?[ _-]?token|authorization)"
    r"[\"']?\s{0,3}(?:is now|is|ist|lautet|est|es|[:=])\s{0,3}(?:bearer\s)?[\"'`“]?"
    r"(?P<value>[^\s\"'`”<>{}\[\]]{4,200})",
    re.IGNORECASE,
)
# What one of them must hold: looked for first, because few texts do.
_SECRET_SIGNS = (
    *("PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_", "glpat-"),
    *("sk-", "sk_", "pk_", "pk-", "rk_", "rk-", "xox", "AIza", "hf_", "npm_", "eyJ", "://"),
)
_NAMED_SIGNS = ("pass", "kennwort", "contraseña", "pwd", "pin", "key", "secret", "token", "author")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,5}[A-Za-z]{2,24}\b")
_PHONE = re.compile(
    r"(?<![\w.,/#-])(?<!\d )(?:"
    r"\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{2,5}(?:[ .-]?\d{2,5}){1,4}"  # +44 20 7946 0958
    r"|\(\d{3}\)[ .-]?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4}|\d{3} \d{3} \d{4}"  # North America
    r"|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,4}"  # 020 7946 0958, 030/123456
    r")(?![\w-]|[., ]\d)"
)
_FREE_PHONE = re.compile(r"(?:\+?1[ .-]?)?\(?8(?:00|88|77|66|55|44|33)\)?[ .-]|\+?\d{0,3} ?0?800")
_CARD = re.compile(r"(?<![\w.-])[3-6]\d{3}(?:[ -]?\d){9,15}(?![\w-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
# https://www.swift.com/standards/data-standards/iban-international-bank-account-number
_IBAN_LENGTHS = dict(
    pair.split(":")
    for pair in (
        "AD:24 AE:23 AT:20 BE:16 BG:22 CH:21 CY:28 CZ:24 DE:22 DK:18 EE:20 ES:24 FI:18 FR:27 GB:22 "
        "GR:27 HR:21 HU:28 IE:22 IL:23 IS:26 IT:27 LI:21 LT:20 LU:20 LV:21 MC:27 MT:31 NL:18 NO:15 "
        "PL:28 PT:25 RO:24 SA:24 SE:24 SI:19 SK:24 SM:27 TR:26 UA:29"
    ).split()
)
# Shared mailboxes: nobody's own.
_ROLES = frozenset(
    "info support help hello contact sales service office team mail noreply no-reply orders order "
    "billing accounts press jobs careers admin privacy legal returns shop store".split()
)


@dataclass(frozen=True, slots=True)
class Private:
    """A value of `text[start:end]`; `key` is its one form, by which repetitions are counted."""

    kind: Kind
    start: int
    end: int
    key: str


def find(text: str) -> list[Private]:
    """Return the likely secrets and personal data of a text, without overlaps."""
    found: list[Private] = []
    for private in _candidates(text):
        if not any(private.start < other.end and other.start < private.end for other in found):
            found.append(private)
    return sorted(found, key=lambda private: private.start)


def masked(text: str) -> str:
    """Return the text with every such value reduced to its first character and its kind."""
    pieces, last = [], 0
    for private in find(text):
        pieces += [text[last : private.start], text[private.start], f"***({private.kind})"]
        last = private.end
    return "".join([*pieces, text[last:]])


def excerpt(text: str, *, at: int = 0) -> str:
    """A short piece of a text around a place, with secrets and personal data masked."""
    # Masked before it is cut, so that no half of a secret is left over.
    hidden, before = masked(text), masked(text[:at])
    start = max(0, len(before) - EXCERPT // 3)
    piece = " ".join(hidden[start : start + EXCERPT].split())
    left, right = start > 0, start + EXCERPT < len(hidden)
    return f"{'…' if left else ''}{piece}{'…' if right else ''}"


def _candidates(text: str) -> Iterator[Private]:
    """Every match, the surest kinds first; quick for texts that hold no digit, @ or key."""
    if any(sign in text for sign in _SECRET_SIGNS):
        for match in _SECRETS.finditer(text):
            yield Private("secret", *match.span(), match.group())
    folded = text.lower()
    if any(sign in folded for sign in _NAMED_SIGNS):
        for match in _NAMED.finditer(text):
            value = match["value"].rstrip(".,;:!?)")
            if _looks_secret(value):
                start = match.start("value")
                yield Private("secret", start, start + len(value), value)
    if "@" in text:
        for match in _EMAIL.finditer(text):
            if match.group().split("@")[0].casefold() not in _ROLES:
                yield Private("email", *match.span(), match.group().casefold())
    if sum(map(str.isdigit, text)) < 7:
        return
    for match in _IBAN.finditer(text):
        plain = match.group().replace(" ", "")[: int(_IBAN_LENGTHS.get(match.group()[:2], 0))]
        if plain and _iban_holds(plain):
            end = match.start()
            for _ in plain:  # the match may reach into the next word
                end += text[end] == " "
                end += 1
            yield Private("iban", match.start(), end, plain)
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if _is_card(digits):
            yield Private("card", *match.span(), digits)
    for match in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if 8 <= len(digits) <= 15 and not _FREE_PHONE.match(match.group()):
            yield Private("phone", *match.span(), digits)


def _looks_secret(value: str) -> bool:
    """Whether a value is not just the next word: letters beside digits or signs, or a number."""
    letters = any(map(str.isalpha, value))
    digits = any(map(str.isdigit, value))
    signs = bool(re.search(r"[!#$%&*+^~?]|\w@\w", value))
    if "://" in value or value.startswith(("(", "/")):
        return False
    if letters and digits:
        return len(value) >= 6
    return (letters and signs and len(value) >= 6) or value.isdigit()


def _is_card(digits: str) -> bool:
    """Whether digits have a card's length, its issuer's prefix and Luhn's checksum (ISO 7812)."""
    two, four = int(digits[:2]), int(digits[:4])
    length = len(digits)
    issued = (
        (digits[0] == "4" and length in (13, 16, 19))
        or (length == 16 and (51 <= two <= 55 or 2221 <= four <= 2720 or four == 6011 or two == 65))
        or (length == 15 and two in (34, 37))
    )
    return issued and luhn(digits) and len(set(digits)) > 1


def luhn(digits: str) -> bool:
    """Whether the last digit is the checksum of those before it (ISO/IEC 7812-1, annex B)."""
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _iban_holds(iban: str) -> bool:
    """Whether an IBAN has its country's length and its checksum (ISO 13616: mod 97 is 1)."""
    if len(iban) != int(_IBAN_LENGTHS.get(iban[:2], 0)):
        return False
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1
