"""JSON documents, and how MySQL stores them: an encoder of our own."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def encode(document: Any, *, large: bool) -> bytes:
    """Return a document as MySQL stores it.  Source: sql-common/json_binary.cc, serialize."""
    kind, raw = _encode(document, large)
    return bytes((kind,)) + raw


def _encode(value: Any, large: bool) -> tuple[int, bytes]:
    if value is None or isinstance(value, bool):
        return 4, bytes((0 if value is None else 2 - value,))
    if isinstance(value, int):
        for kind, code in ((5, "<h"), (7, "<i"), (9, "<q"), (10, "<Q")):
            try:
                return kind, struct.pack(code, value)
            except struct.error:
                continue
    if isinstance(value, float):
        return 11, struct.pack("<d", value)
    if isinstance(value, str):
        raw = value.encode()
        return 12, length(len(raw)) + raw
    return _container(value, large)


def length(size: int) -> bytes:
    """Return a length in groups of seven bits."""
    out = bytearray()
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*out, size))


def _container(value: Any, large: bool) -> tuple[int, bytes]:
    code, width = ("<I", 4) if large else ("<H", 2)
    is_object = isinstance(value, dict)
    keys = [key.encode() for key in value] if is_object else []
    items = [_encode(item, large) for item in (value.values() if is_object else value)]
    at = 2 * width + len(keys) * (width + 2) + len(items) * (width + 1)
    head, tail = b"", b""
    for key in keys:
        head += struct.pack(code, at + len(tail)) + struct.pack("<H", len(key))
        tail += key
    for kind, raw in items:
        if kind in (4, 5) or (large and kind == 7):
            head += bytes((kind,)) + raw.ljust(width, b"\0")
        else:
            head += bytes((kind,)) + struct.pack(code, at + len(tail))
            tail += raw
    body = struct.pack(code, len(items)) + struct.pack(code, at + len(tail)) + head + tail
    return (0 if is_object else 2) + large, body
