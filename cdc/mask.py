"""Masks: what a column becomes before anything leaves the reader.

Pure.  ``mask = {email = "hash", name = "drop", phone = "truncate:4"}`` in a table's section:

- ``hash``: HMAC-SHA-256 of the column's text with `MaskKey`, as 64 hexadecimal digits.  Equal
  values stay equal, so a hashed column may be part of keys and indexes.
- ``truncate:N``: the first N characters.
- ``drop``: as if the column were not there.

NULL stays NULL.  Source: RFC 2104 (HMAC); a plain SHA-256 of an address could be found by trying.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Literal

KEY_MIN_BYTES = 16
"""A shorter secret could be found by trying; RFC 2104 advises the length of the hash."""
HEX = "0123456789abcdef"

MaskKind = Literal["hash", "drop", "truncate"]


@dataclass(frozen=True, slots=True)
class MaskKey:
    """The secret that hashes are made with; never shown."""

    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """How one column is masked.

    >>> parse_mask("truncate:2").applied("Ada")
    'Ad'
    """

    kind: MaskKind
    length: int = 0
    """Characters that ``truncate`` leaves."""
    key: MaskKey | None = None
    """Of ``hash``; None in settings that are not checked yet."""

    def applied(self, text: str) -> str:
        """Return what replaces a text."""
        if self.kind == "truncate":
            return text[: self.length]
        if self.kind != "hash" or self.key is None:
            raise ValueError(f"a column with the mask {self.kind} has no text")
        return hmac.digest(self.key.secret, text.encode(), hashlib.sha256).hex()


def parse_mask(text: str) -> Mask:
    """Return the mask that a text names; that of a hash has no key yet.

    >>> parse_mask("truncate:4")
    Mask(kind='truncate', length=4, key=None)

    Raises:
        ValueError: what it must be.
    """
    if text == "hash":
        return Mask(kind="hash")
    if text == "drop":
        return Mask(kind="drop")
    head, colon, number = text.partition(":")
    if head == "truncate" and colon and number.isascii() and number.isdigit() and int(number):
        return Mask(kind="truncate", length=int(number))
    raise ValueError(f"must be hash, drop or truncate:N with N from 1 on, not {text!r}")
