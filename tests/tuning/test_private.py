"""Secrets and personal data: by shape and checksum, and never shown."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.private import find, luhn, masked

FOUND = [
    ("ghp_" + "a1B2" * 9, "secret"),
    ("sk-" + "a1B2" * 6, "secret"),
    ("sk_live_" + "a1B2" * 6, "secret"),
    ("xoxb-123456789012-abcdef", "secret"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "secret"),
    ("https://anna:s3cret@host.example/", "secret"),
    ("Passwort: Regen!2024", "secret"),
    ("Your PIN is 4711", "secret"),
    ("api_key = 'abcd1234efgh'", "secret"),
    ("Jane.Doe+x@mail.example.org", "email"),
    ("(555) 234-5678", "phone"),
    ("+49 (0)30 901820", "phone"),
    ("378282246310005", "card"),
    ("5555-5555-5555-4444", "card"),
    ("GB29 NWBK 6016 1331 9268 19", "iban"),
    ("FR1420041010050500013M02606", "iban"),
]
NOT_FOUND = [
    "Order 2024-01-15, number 123456789.",
    "Reset your password: follow the link.",
    "Your password is case-sensitive.",
    "The token is valid for two days.",
    "Chapter 3.1.4, pages 100-200.",
    "5555-5555-5555-4445",
    "GB28 NWBK 6016 1331 9268 19",
    "Write to hello@bench.example or @bench on a Monday.",
    "It measures 120 x 80 x 40 mm and costs 1,200.50.",
    "0800 123 4567",
]


@pytest.mark.parametrize(("text", "kind"), FOUND)
def test_what_has_the_shape_is_found_and_masked(text: str, kind: str) -> None:
    said = f"Here you are: {text}, friend."
    assert [private.kind for private in find(said)] == [kind]
    (private,) = find(said)
    assert said[private.start + 1 : private.end] not in masked(said)
    assert masked(said).endswith(", friend.")


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert find(text) == [] and masked(text) == text


@given(st.integers(0, 10**15 - 1))
def test_luhn_holds_for_exactly_one_last_digit(number: int) -> None:
    assert sum(luhn(f"{number}{digit}") for digit in range(10)) == 1


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_any_text_can_be_masked_twice(text: str) -> None:
    assert isinstance(masked(masked(text)), str)
    found = find(text)
    assert all(a.end <= b.start for a, b in pairwise(found))
