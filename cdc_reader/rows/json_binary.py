"""MySQL's binary JSON, and the JSON text that SELECT prints, as the same compact text.

Pure.  The form is MySQL's own without the spaces: ``{"a":1.0,"b":[true,null]}``; keys in
MySQL's order, every number with the digits that MySQL prints.  So `canonical_json` of the
text of SELECT only takes spaces out, and `json_text` writes doubles as MySQL does.

Source of the layout: mysql-server sql-common/json_binary.h; of the text: sql-common/
json_dom.cc (Json_wrapper::to_string), strings/dtoa.cc (my_gcvt).
"""

from __future__ import annotations

import binascii
import functools
import re
import struct

import msgspec

from cdc_reader.rows.value import (
    datetime_text,
    decimal_groups,
    decimal_text,
    fraction_text,
    group_bytes,
)

MAX_DEPTH = 100
"""MySQL's own limit.  Source: sql-common/json_syntax_check.h, JSON_DOCUMENT_MAX_DEPTH."""

_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = range(5)
_INT16, _UINT16, _INT32, _UINT32, _INT64, _UINT64, _DOUBLE, _STRING = range(5, 13)
_OPAQUE = 15
_LITERALS = ("null", "true", "false")
_u16, _u32 = struct.Struct("<H").unpack_from, struct.Struct("<I").unpack_from
_double = struct.Struct("<d").unpack_from
_NUMBERS = {
    _INT16: struct.Struct("<h").unpack_from,
    _UINT16: _u16,
    _INT32: struct.Struct("<i").unpack_from,
    _UINT32: _u32,
    _INT64: struct.Struct("<q").unpack_from,
    _UINT64: struct.Struct("<Q").unpack_from,
}
_INLINE_SMALL = frozenset((_LITERAL, _INT16, _UINT16))
_INLINE_LARGE = _INLINE_SMALL | {_INT32, _UINT32}

_OPAQUE_TIMESTAMP, _OPAQUE_DATE, _OPAQUE_TIME, _OPAQUE_DATETIME, _OPAQUE_DECIMAL = (
    7,
    10,
    11,
    12,
    246,
)

_quote = msgspec.json.Encoder().encode


class MalformedJson(ValueError):
    """Raised for bytes that are not a JSON document of MySQL."""


def json_text(raw: bytes) -> str:
    r"""Return the compact text of a binary document.

    >>> json_text(b"\x05\x2a\x00")
    '42'

    Raises:
        MalformedJson: the bytes are not a document.
    """
    if not raw:
        return "null"  # what INSERT IGNORE puts into a NOT NULL column; SELECT prints null
    try:
        return _value(raw[0], raw, 1, len(raw), 0)
    except (IndexError, struct.error, UnicodeDecodeError, KeyError) as error:
        raise MalformedJson(f"a JSON value cannot be read: {type(error).__name__}") from None
    except ValueError as error:
        raise MalformedJson(str(error)) from None


def _value(kind: int, raw: bytes, at: int, end: int, depth: int) -> str:
    """Return the text of the value of a type at ``raw[at:end]``."""
    if at > end:
        raise MalformedJson("a JSON value outside of its document")
    if kind == _STRING:
        size, at = (raw[at], at + 1) if raw[at] < 0x80 else _length(raw, at)
        return _quote(_bytes(raw, at, size, end).decode()).decode()
    if kind in _NUMBERS:
        return str(_NUMBERS[kind](raw, at)[0])
    if kind <= _LARGE_ARRAY:
        return _container(kind, raw, at, end, depth + 1)
    if kind == _LITERAL:
        return _LITERALS[raw[at]]
    if kind == _DOUBLE:
        return double_token(_double(raw, at)[0])
    if kind == _OPAQUE:
        field_type = raw[at]
        size, at = _length(raw, at + 1)
        return _opaque(field_type, _bytes(raw, at, size, end))
    raise MalformedJson(f"a JSON value of the unknown type {kind}")


def _container(kind: int, raw: bytes, at: int, end: int, depth: int) -> str:
    """Return the text of an object or array; places in it count from its own first byte."""
    if depth > MAX_DEPTH:
        raise MalformedJson(f"a JSON document deeper than {MAX_DEPTH}")
    large = kind in (_LARGE_OBJECT, _LARGE_ARRAY)
    width, number, inline = (4, _u32, _INLINE_LARGE) if large else (2, _u16, _INLINE_SMALL)
    count, size = number(raw, at)[0], number(raw, at + width)[0]
    if at + size > end:
        raise MalformedJson("a JSON container outside of its document")
    end = at + size
    is_object = kind in (_SMALL_OBJECT, _LARGE_OBJECT)
    entry = at + 2 * width
    values = entry + count * (width + 2) * is_object
    if values + count * (width + 1) > end:
        raise MalformedJson("a JSON container with more entries than room")
    out: list[str] = []
    for value_at in range(values + 1, values + 1 + count * (width + 1), width + 1):
        value_kind = raw[value_at - 1]
        if value_kind not in inline:
            (offset,) = number(raw, value_at)
            if offset < 2 * width:
                raise MalformedJson("a JSON value inside its container's head")
            value_at = at + offset  # noqa: PLW2901
        text = _value(value_kind, raw, value_at, end, depth)
        if is_object:
            key_at, key_bytes = at + number(raw, entry)[0], _u16(raw, entry + width)[0]
            text = f"{_key(_bytes(raw, key_at, key_bytes, end))}:{text}"
            entry += width + 2
        out.append(text)
    return f"{{{','.join(out)}}}" if is_object else f"[{','.join(out)}]"


@functools.lru_cache(maxsize=4096)
def _key(raw: bytes) -> str:
    """Return a key as it is printed; documents of a table have the same few."""
    return _quote(raw.decode()).decode()


def _length(raw: bytes, at: int) -> tuple[int, int]:
    """Return a length in groups of seven bits, and the place after it."""
    size = 0
    for i in range(5):
        byte = raw[at + i]
        size |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return size, at + i + 1
    raise MalformedJson("a JSON length of more than five bytes")


def _bytes(raw: bytes, at: int, size: int, end: int) -> bytes:
    if at + size > end:
        raise MalformedJson("a JSON string outside of its document")
    return raw[at : at + size]


def _opaque(field_type: int, raw: bytes) -> str:
    """Return a value of an SQL type inside a document."""
    if field_type == _OPAQUE_DECIMAL:
        return _opaque_decimal(raw)
    if field_type in (_OPAQUE_DATE, _OPAQUE_DATETIME, _OPAQUE_TIMESTAMP, _OPAQUE_TIME):
        (packed,) = struct.unpack("<q", raw)
        return f'"{_opaque_time(field_type, packed)}"'
    # MySQL breaks its base64 into lines of 76, and a line's end inside a string is \n.
    encoded = binascii.b2a_base64(raw, newline=False).decode()
    lines = [encoded[i : i + 76] for i in range(0, len(encoded), 76)]
    return f'"base64:type{field_type}:' + "\\n".join(lines) + '"'


def _opaque_decimal(raw: bytes) -> str:
    precision, scale = raw[0], raw[1]
    before, after = decimal_groups(precision, scale)
    size = sum(map(group_bytes, before + after))
    return decimal_text(raw[2 : 2 + size], precision, scale)


def _opaque_time(field_type: int, packed: int) -> str:
    """Return a date or time that is packed into 64 bits, microseconds in the low 24.

    Source: mysql-server mysys/my_time.cc, TIME_from_longlong_*_packed.
    """
    sign, packed = ("-", -packed) if packed < 0 else ("", packed)
    whole, fraction = packed >> 24, packed & 0xFFFFFF
    if field_type == _OPAQUE_TIME:
        hours, minutes, seconds = whole >> 12 & 0x3FF, whole >> 6 & 63, whole & 63
        return f"{sign}{hours:02d}:{minutes:02d}:{seconds:02d}" + fraction_text(fraction, 6)
    text = datetime_text(whole | 1 << 39, fraction, 6).replace("T", " ")
    return text[:10] if field_type == _OPAQUE_DATE else text


def double_token(number: float) -> str:
    """Return a double as MySQL prints it in JSON.

    >>> [double_token(x) for x in (1.0, -0.0, 1e15, 1e-15, 1e-16, 1.5e300)]
    ['1.0', '-0.0', '1e15', '0.000000000000001', '1e-16', '1.5e300']

    Raises:
        ValueError: not a finite number, which JSON does not have.
    """
    if 1e-4 <= number < 1e15:
        return repr(number)  # here both print the same digits without an exponent
    if number - number != 0.0:
        raise ValueError("not a finite number")
    mantissa, _, exponent = repr(number).partition("e")
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    if not digits:
        return sign + "0.0"
    if point < -14 or (point > 15 and len(digits) <= point):
        tail = "." + digits[1:] if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{point - 1}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return f"{sign}{digits}{'0' * (point - len(digits))}.0"
    return f"{sign}{digits[:point]}.{digits[point:]}"


_PIECES = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[^"\s]+')


def canonical_json(text: bytes) -> str:
    """Return the compact form of the text that SELECT prints for a JSON column.

    >>> canonical_json(b'{"a": [1, 2.50], "b c": ": , "}')
    '{"a":[1,2.50],"b c":": , "}'
    """
    return b"".join(_PIECES.findall(text)).decode()
