"""A row as the fields of a Redis hash.

Pure.
"""

from __future__ import annotations

import msgspec

_decode_row = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


def hash_fields(row: str) -> list[str | bytes]:
    """Return field, value, field, value, … of a row given as JSON.

    NULL is absent, a string stays as it is, a number as its JSON token, nested JSON as
    compact text.

    >>> hash_fields('{"id":42,"name":"Ada","nick":null,"tags":["a"]}')
    ['id', b'42', 'name', 'Ada', 'tags', b'["a"]']

    Raises:
        msgspec.DecodeError: not a JSON object.
    """
    out: list[str | bytes] = []
    for name, raw in _decode_row(row).items():
        token = bytes(raw)
        if token != b"null":
            out += (name, _decode_text(token) if token[0] == 34 else token)
    return out
