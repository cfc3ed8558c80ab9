"""What must not be learnt by heart: placeholders, secrets and personal data in a text. Pure.

Patterns with checks where the thing has one (Luhn for cards, mod 97 for IBANs), so that order
numbers are left alone. Knows no examples. Read `personal_data` first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_PLACEHOLDER = re.compile(
    r"\{\{[^{}\n]{1,60}\}\}"  # {{Order Number}}
    r"|\$\{\w{1,40}\}|%\(\w{1,40}\)s"
    r"|\[[A-Z][A-Z0-9 _/\-]{2,40}\]"  # [NAME], but not [1] and [sic]
    r"|\[(?i:insert|enter|your|customer|agent|company)\b[^\[\]\n]{0,40}\]"
    r"|<(?i:insert|enter|your|customer|agent|company|name|date)\b[^<>\n]{0,40}>"
    r"|\bX{3,}\b|\b(?i:lorem ipsum)\b|\b(?:TBD|TODO|FIXME)\b"
)
_SECRETS = (
    re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{0,8000}(?:-----END[^\n]{0,60})?"),
    re.compile(r"\b(?:sk|pk|rk)[-_](?:[A-Za-z0-9]+[-_]){0,3}[A-Za-z0-9]{16,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"\bgh[oprsu]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}"),
    re.compile(r"\bAIza[\w-]{30,}|\bxox[abprs]-[\w-]{10,}|\bhf_[A-Za-z0-9]{30,}"),
    re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}"),  # a JSON web token
    re.compile(r"(?i:\bbearer)\s+(?=[\w.~+/-]*\d)[\w.~+/-]{16,}=*"),
    # A word behind "password" is one only if it is no plain word: "your password is required".
    re.compile(
        r"(?i:\b(?:password|passwd|pwd|passphrase|api[ _-]?key|secret[ _-]?key|access[ _-]?token)"
        r"\b(?:\s+is)?)\s*[:=]?\s*[\"'`]?(?=[^\s\"'`]*[\d!@#$%^&*])(?=[^\s\"'`]*[A-Za-z])"
        r"[^\s\"'`<>{}\[\]]{6,}"
    ),
)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}(?<![.-])")
_PHONE = re.compile(
    r"(?<![\w.,/-])(?:"
    r"(?:\+|00)[1-9]\d{0,2}[ .()/-]{0,2}\d(?:[ .()/-]{0,2}\d){6,11}"  # +44 20 7946 0123
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4}"  # (555) 010-9999
    r"|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,5}"  # 020 7946 0123
    r")(?![\w/-])"
)
_CARD = re.compile(r"(?<![\w.-])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\w-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")


def placeholders(text: str) -> Iterator[str]:
    """Yield what stands for a value that was never filled in."""
    return (match.group() for match in _PLACEHOLDER.finditer(text))


def secrets(text: str) -> Iterator[str]:
    """Yield likely keys, tokens and passwords."""
    return (match.group() for pattern in _SECRETS for match in pattern.finditer(text))


def personal_data(text: str) -> Iterator[str]:
    """Yield e-mail addresses, payment cards, IBANs and telephone numbers as they stand there."""
    for pattern, holds in _PERSONAL:
        yield from (match.group() for match in pattern.finditer(text) if holds(match.group()))


def masked(text: str) -> str:
    """The text with all secrets and personal data but their first character as stars."""

    def hide(match: re.Match[str]) -> str:
        return f"{match.group()[0]}***"

    for pattern in _SECRETS:
        text = pattern.sub(hide, text)
    for pattern, holds in _PERSONAL:

        def hide_if(match: re.Match[str], holds: Callable[[str], bool] = holds) -> str:
            return hide(match) if holds(match.group()) else match.group()

        text = pattern.sub(hide_if, text)
    return text


def luhn_holds(number: str) -> bool:
    """Whether the digits of a card number pass Luhn's check (ISO/IEC 7812-1)."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = [d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(digits[::-1])]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0


def iban_holds(iban: str) -> bool:
    """Whether an IBAN's check digits are right (ISO 13616)."""
    compact = iban.replace(" ", "")
    turned = compact[4:] + compact[:4]
    return 15 <= len(compact) <= 34 and int("".join(str(int(c, 36)) for c in turned)) % 97 == 1


def _any(_: str) -> bool:
    return True


# Cards and IBANs first: their digits would pass for telephone numbers.
_PERSONAL: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (_EMAIL, _any),
    (_CARD, luhn_holds),
    (_IBAN, iban_holds),
    (_PHONE, _any),
)
