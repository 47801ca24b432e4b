"""Masks: what a text becomes, and which texts name one."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.mask import Mask, MaskKey, parse_mask

KEY = MaskKey(b"0123456789abcdef")


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 20))
def test_a_text_is_cut_by_characters(text: str, length: int) -> None:
    """The first N characters, whatever they take as bytes."""
    assert text[:length] == parse_mask(f"truncate:{length}").applied(text)


@given(st.text(st.characters(codec="utf-8")))
def test_a_hash_is_made_with_the_secret(text: str) -> None:
    """HMAC-SHA-256 of the text's UTF-8, 64 hexadecimal digits."""
    wanted = hmac.new(KEY.secret, text.encode(), hashlib.sha256).hexdigest()

    assert wanted == Mask(kind="hash", key=KEY).applied(text)
    assert wanted != Mask(kind="hash", key=MaskKey(b"another one of it")).applied(text)


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("hash", Mask(kind="hash")),
        ("drop", Mask(kind="drop")),
        ("truncate:1", Mask(kind="truncate", length=1)),
        ("truncate:40", Mask(kind="truncate", length=40)),
    ],
)
def test_a_text_names_a_mask(text: str, mask: Mask) -> None:
    """The key of a hash comes later."""
    assert mask == parse_mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "Hash", "hash ", "truncate", "truncate:", "truncate:0", "truncate:-1", "truncate:x",
        "truncate:1.5", "truncate:²", "truncate:٣", "hash:4", "drop:1",
    ],
)  # fmt: skip
def test_what_names_no_mask_is_refused(text: str) -> None:
    """No typo leaves a column as it is."""
    with pytest.raises(ValueError, match="hash, drop or truncate:N"):
        parse_mask(text)


@pytest.mark.parametrize("text", ["hash", "drop"])
def test_a_mask_that_has_no_text_gives_none(text: str) -> None:
    """A hash without its secret, and what is dropped: a mistake of ours, not a plain text."""
    with pytest.raises(ValueError, match="has no text"):
        parse_mask(text).applied("Ada")


def test_a_secret_is_never_shown() -> None:
    """Neither that of the key nor that of a mask that holds it."""
    assert "0123456789" not in repr(KEY) + str(KEY) + repr(Mask(kind="hash", key=KEY))
