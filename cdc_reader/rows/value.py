"""The text of one value, from its bytes in the binlog or from what SELECT prints.

Pure.  The generated codecs of `row_codec` and `select_codec` call these, or index the
tables below; both ways give the same text for the same value:

==================  ==========================================  =================
type                text                                        token in the row
==================  ==========================================  =================
integers, YEAR      ``-42``, ``18446744073709551615``           bare
DECIMAL             ``17.50``                                   quoted
FLOAT, DOUBLE       ``1.1``, ``1e+16``: shortest that reads     bare
                    back as the same float32, float64
DATE                ``2026-11-23``, ``2024-00-10``              quoted
DATETIME            ``2026-11-23T10:00:00.123``                 quoted
TIMESTAMP           ``2026-11-23T10:00:00.123Z``                quoted
TIME                ``-838:59:59``, ``10:00:00.5``              quoted
ENUM, SET           ``active``, ``a,b``                         quoted
BIT                 ``5``                                       bare
text types          as they are                                 quoted
BINARY, BLOB        ``AP8=`` (base64)                           quoted
==================  ==========================================  =================

A date without month or day is printed exactly as MySQL prints it:
``0000-00-00 00:00:00``.  Source of the layouts: mysql-server mysys/my_time.cc
(my_*_from_binary), strings/decimal.cc (bin2decimal).
"""

from __future__ import annotations

import binascii
import datetime as dt
import struct
from collections.abc import Callable

CACHE_ENTRIES = 20_000
"""Bound of each table of texts; one is emptied when it is full."""


class TextTable(dict[int, str]):
    """Texts by number, each made when it is first asked for.

    A hit is one subscript without a call of a Python function; binlogs are full of
    equal dates and seconds.
    """

    def __init__(self, make: Callable[[int], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, number: int) -> str:
        if len(self) >= CACHE_ENTRIES:
            self.clear()
        text = self[number] = self._make(number)
        return text


# -- numbers ----------------------------------------------------------------------------

_float32 = struct.Struct("<f")
_SMALLEST_NORMAL_FLOAT32 = 2.0**-126


def double_text(number: float) -> str:
    """Return the shortest text that reads back as the same double.

    >>> double_text(0.1), double_text(-0.0), double_text(1e16)
    ('0.1', '-0.0', '1e+16')

    Raises:
        ValueError: not a finite number, which MySQL cannot hold.
    """
    if number - number != 0.0:
        raise ValueError("not a finite number")
    return repr(number)


def float_text(number: float) -> str:
    """Return the shortest text that reads back as the same float32.

    >>> float_text(struct.unpack("<f", struct.pack("<f", 1.1))[0])
    '1.1'

    Raises:
        ValueError: not a finite number, which MySQL cannot hold.
        OverflowError: not a float32.
    """
    if number - number != 0.0:
        raise ValueError("not a finite number")
    raw = _float32.pack(number)
    # Six digits survive the way through a float32 and back, so fewer need not be tried; a
    # subnormal has fewer to begin with.  Source: C standard, FLT_DIG.
    normal = number <= -_SMALLEST_NORMAL_FLOAT32 or number >= _SMALLEST_NORMAL_FLOAT32
    for digits in range(6 if normal else 1, 9):
        # Six digits and more of the largest float32, 3.4028235e38, never round up past its range.
        short = float(f"{number:.{digits}g}")
        if _float32.pack(short) == raw:
            return repr(short)
    return repr(float(f"{number:.9g}"))


_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def decimal_groups(precision: int, scale: int) -> tuple[list[int], list[int]]:
    """Return the digits of each big-endian group of a binary DECIMAL, before and after the point.

    >>> decimal_groups(12, 2)
    ([1, 9], [2])

    Raises:
        ValueError: no such DECIMAL.
    """
    if not 0 <= scale <= precision or not 0 < precision <= 65:
        raise ValueError(f"no DECIMAL({precision},{scale})")
    whole, first = divmod(precision - scale, 9)
    nines, last = divmod(scale, 9)
    return [first] * bool(first) + [9] * whole, [9] * nines + [last] * bool(last)


def group_bytes(digits: int) -> int:
    """Return how many bytes a group of 1 to 9 digits takes."""
    return _DIGIT_BYTES[digits]


def decimal_text(raw: bytes, precision: int, scale: int) -> str:
    r"""Return the text of a binary DECIMAL.

    >>> decimal_text(b"\x80\x00\x00\x00\x11\x32", 12, 2)
    '17.50'

    Raises:
        ValueError: the bytes are not a DECIMAL of that size.
    """
    before, after = decimal_groups(precision, scale)
    if len(raw) != sum(map(group_bytes, before + after)):
        raise ValueError("a DECIMAL of the wrong length")
    # The first bit is inverted, so that the bytes sort: set means positive.  All bits of a
    # negative number are inverted too.
    negative = raw[0] < 0x80
    flip = 0xFF if negative else 0
    digits = bytes(((raw[0] ^ 0x80) ^ flip, *(byte ^ flip for byte in raw[1:])))
    # Group by group, as 9 digits take 4 bytes; a value above 9…9 of a group is not a DECIMAL.
    at, groups = 0, []
    for count in before + after:
        size = group_bytes(count)
        group = f"{int.from_bytes(digits[at : at + size], 'big'):0{count}d}"
        if len(group) != count:
            raise ValueError("a DECIMAL with a digit too many")
        groups.append(group)
        at += size
    whole = "".join(groups[: len(before)]).lstrip("0") or "0"
    fraction = "".join(groups[len(before) :])
    return ("-" if negative else "") + whole + ("." + fraction if scale else "")


# -- dates and times --------------------------------------------------------------------

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _iso_date(year: int, month: int, day: int) -> str:
    if year > 9999 or month > 12:
        raise ValueError("not a date")
    return f"{year:04d}-{month:02d}-{day:02d}"


def date_text(packed: int) -> str:
    """Return the text of a DATE's three little-endian bytes.

    >>> date_text(2026 << 9 | 11 << 5 | 23)
    '2026-11-23'
    """
    return _iso_date(packed >> 9, packed >> 5 & 15, packed & 31)


def _day_text(packed: int) -> str:
    """Return date and separator of a DATETIME's top 23 bits: sign, year * 13 + month, day."""
    if not packed >> 22:
        raise ValueError("a negative DATETIME")
    year, month = divmod(packed >> 5 & 0x1FFFF, 13)
    day = packed & 31
    return _iso_date(year, month, day) + ("T" if month and day else " ")


def _second_text(seconds: int) -> str:
    return (_EPOCH + dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


DATES = TextTable(date_text)
"""``2026-11-23`` by a DATE's three bytes."""
DAYS = TextTable(_day_text)
"""``2026-11-23T`` by the top 23 bits of a DATETIME2."""
MINUTES = {
    hour << 6 | minute: f"{hour:02d}:{minute:02d}:" for hour in range(24) for minute in range(60)
}
"""``10:05:`` by hour and minute as a DATETIME2 has them; nothing else is valid."""
SECONDS = tuple(f"{second:02d}" for second in range(60))
"""``07`` by second."""
INSTANTS = TextTable(_second_text)
"""``2026-11-23T10:00:00`` by seconds since 1970."""


def datetime_text(packed: int, microseconds: int, fraction_digits: int) -> str:
    """Return the text of a DATETIME2's 40 bits and fraction.

    >>> datetime_text(0x99BB6EA000, 0, 0)
    '2026-11-23T10:00:00'
    """
    low = packed & 0x1FFFF
    whole = DAYS[packed >> 17] + MINUTES[low >> 6] + SECONDS[low & 63]
    return whole + fraction_text(microseconds, fraction_digits)


def fraction_text(microseconds: int, digits: int) -> str:
    """Return ``.5`` for 500000 and one digit, nothing for no digits."""
    return f".{microseconds:06d}"[: digits + 1] if digits else ""


def time_text(packed: int, fraction_digits: int) -> str:
    """Return the text of a TIME2: its big-endian bytes as one number.

    >>> time_text(0x800000 - (1 << 12), 0), time_text(0x7FFFFFFF, 2)
    ('-01:00:00', '-00:00:00.01')
    """
    fraction_bits = 8 * ((fraction_digits + 1) // 2)
    number = packed - (1 << 23 + fraction_bits)
    sign, number = ("-", -number) if number < 0 else ("", number)
    whole, fraction = number >> fraction_bits, number & (1 << fraction_bits) - 1
    hours, minutes, seconds = whole >> 12, whole >> 6 & 63, whole & 63
    if minutes > 59 or seconds > 59:
        raise ValueError("not a time")
    text = f"{sign}{hours:02d}:{minutes:02d}:{seconds:02d}"
    return text + fraction_text(fraction * 100 ** (3 - fraction_bits // 8), fraction_digits)


# -- sets and bytes ---------------------------------------------------------------------


def set_text(bits: int, labels: tuple[str, ...]) -> str:
    """Return the members of a SET in the order of its definition.

    >>> set_text(5, ("a", "b", "c")), set_text(3, ("", "a")), set_text(3, ("a", ""))
    ('a,c', 'a', 'a,')

    Raises:
        ValueError: a bit has no label.
    """
    if bits >> len(labels):
        raise ValueError("a SET with a member too many")
    out = ""
    for i, label in enumerate(labels):
        if bits >> i & 1:
            # As the server does it: no comma before the first text, and '' leaves none.
            # Source: mysql-server sql/field.cc, Field_set::val_str; MariaDB's is the same.
            out = f"{out},{label}" if out else label
    return out


def base64_text(raw: bytes) -> str:
    """Return bytes in base64, without line breaks."""
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


# -- from SELECT ------------------------------------------------------------------------


def selected_datetime(raw: bytes) -> str:
    """Return the text of a DATETIME from what SELECT prints.

    >>> selected_datetime(b"2026-11-23 10:00:00.5"), selected_datetime(b"2024-00-10 00:00:00")
    ('2026-11-23T10:00:00.5', '2024-00-10 00:00:00')
    """
    text = raw.decode("ascii")
    if text[5:7] == "00" or text[8:10] == "00":
        return text
    return f"{text[:10]}T{text[11:]}"


def selected_timestamp(raw: bytes) -> str:
    """Return the text of a TIMESTAMP from what SELECT prints in time zone +00:00.

    >>> selected_timestamp(b"2026-11-23 10:00:00"), selected_timestamp(b"0000-00-00 00:00:00")
    ('2026-11-23T10:00:00Z', '0000-00-00 00:00:00')
    """
    text = selected_datetime(raw)
    return text + "Z" if text[10] == "T" else text


def selected_float(raw: bytes) -> str:
    """Return the text of a FLOAT that SELECT prints as a double: ``1.100000023841858``."""
    return float_text(float(raw))


def selected_double(raw: bytes) -> str:
    """Return the text of a DOUBLE from what SELECT prints."""
    return double_text(float(raw))


def selected_decimal(raw: bytes) -> str:
    """Return the text of a DECIMAL, which ZEROFILL fills up: ``0000017.50``."""
    text = raw.decode("ascii")
    if text[0] == "0" and len(text) > 1 and text[1] != ".":
        text = text.lstrip("0")
        return text if text[:1].isdigit() else "0" + text
    return text
