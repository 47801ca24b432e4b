"""Texts of single values against independent encoders; real servers are asked elsewhere."""

from __future__ import annotations

import datetime as dt
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_reader.rows import value

DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def encode_decimal(text: str, precision: int, scale: int) -> bytes:
    """Return a DECIMAL as the server stores it.  Source: strings/decimal.cc, decimal2bin."""
    negative, text = text[0] == "-", text.lstrip("-")
    whole, _, after = text.partition(".")
    whole = whole.zfill(precision - scale)[-(precision - scale) or len(whole) :]
    after = after.ljust(scale, "0")
    first = (precision - scale) % 9
    groups = [whole[:first]] if first else []
    groups += [whole[i : i + 9] for i in range(first, precision - scale, 9)]
    groups += [after[i : i + 9] for i in range(0, scale, 9)]
    raw = b"".join(int(g).to_bytes(DIGIT_BYTES[len(g)], "big") for g in groups)
    flipped = bytes(byte ^ 0xFF for byte in raw) if negative else raw
    return bytes((flipped[0] ^ 0x80,)) + flipped[1:]


@given(st.data())
def test_decimals_of_every_size_are_read(data: st.DataObject) -> None:
    """Whatever the precision and scale, the text is the number with all its decimals."""
    precision = data.draw(st.integers(1, 65))
    scale = data.draw(st.integers(0, min(30, precision)))
    number = data.draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    digits = f"{abs(number):0{scale + 1}d}"
    text = digits[: len(digits) - scale] + ("." + digits[len(digits) - scale :] if scale else "")
    text = "-" * (number < 0) + text
    assert value.decimal_text(encode_decimal(text, precision, scale), precision, scale) == text


@pytest.mark.parametrize(("precision", "scale"), [(0, 0), (66, 0), (5, 6)])
def test_impossible_decimals_are_refused(precision: int, scale: int) -> None:
    """No such type exists, so the bytes are not what they are taken for."""
    with pytest.raises(ValueError, match="no DECIMAL"):
        value.decimal_groups(precision, scale)


def test_a_decimal_of_the_wrong_length_is_refused() -> None:
    """A byte too few is an error, not another number."""
    with pytest.raises(ValueError, match="length"):
        value.decimal_text(b"\x80\x00", 12, 2)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_is_the_shortest_text_that_reads_back(number: float) -> None:
    """It gives the same float32, and no text with fewer digits does."""
    text = value.float_text(number)
    raw = struct.pack("<f", number)
    assert struct.pack("<f", float(text)) == raw
    digits = len(text.lower().partition("e")[0].replace(".", "").replace("-", "").strip("0"))
    for fewer in range(1, digits):
        try:
            shorter = struct.pack("<f", float(f"{number:.{fewer}g}"))
        except OverflowError:
            continue
        assert shorter != raw


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused(number: float) -> None:
    """MySQL cannot hold it and JSON cannot express it."""
    for convert in (value.float_text, value.double_text):
        with pytest.raises(ValueError, match="finite"):
            convert(number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_reads_back_exactly(number: float) -> None:
    """Sign of zero included."""
    assert struct.pack("<d", float(value.double_text(number))) == struct.pack("<d", number)


@given(st.datetimes(), st.integers(0, 6))
def test_datetimes_have_exactly_their_digits(moment: dt.datetime, digits: int) -> None:
    """The text is ISO 8601 with as many digits as the column has."""
    packed = (moment.year * 13 + moment.month) << 22 | moment.day << 17
    packed |= moment.hour << 12 | moment.minute << 6 | moment.second | 1 << 39
    text = value.datetime_text(packed, moment.microsecond, digits)
    assert text == moment.isoformat(timespec="microseconds")[: 19 + (digits + 1 if digits else 0)]


def test_a_partial_date_is_as_mysql_prints_it() -> None:
    """Without month or day a space stays where ISO has a T."""
    assert value.datetime_text(1 << 39, 0, 3) == "0000-00-00 00:00:00.000"
    assert (
        value.datetime_text((2024 * 13) << 22 | 10 << 17 | 1 << 39, 0, 0) == "2024-00-10 00:00:00"
    )
    assert value.date_text(2024 << 9 | 10) == "2024-00-10"


@pytest.mark.parametrize("packed", [0, 1 << 39 | 24 << 12, 1 << 39 | 60 << 6, 1 << 39 | 60])
def test_an_impossible_datetime_is_refused(packed: int) -> None:
    """A missing sign, an hour 24, a minute or second 60 are not printed."""
    with pytest.raises((ValueError, LookupError)):
        value.datetime_text(packed, 0, 0)


@given(st.integers(-(838 * 3600 + 3599) * 10**6, (838 * 3600 + 3599) * 10**6), st.integers(0, 6))
def test_times_of_both_signs_are_read(micros: int, digits: int) -> None:
    """A negative time is stored as a whole, fraction included."""
    step = 10 ** (6 - digits)
    micros = abs(micros) // step * step * (-1 if micros < 0 else 1)
    size = (digits + 1) // 2
    seconds, rest = divmod(abs(micros), 10**6)
    number = seconds // 3600 << 12 | seconds // 60 % 60 << 6 | seconds % 60
    number = number << 8 * size | rest // 100 ** (3 - size)
    packed = (1 << 23 + 8 * size) + (-number if micros < 0 else number)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    text += f".{rest:06d}"[: digits + 1] if digits else ""
    assert value.time_text(packed, digits) == "-" * (micros < 0) + text


def test_a_set_with_a_bit_too_many_is_refused() -> None:
    """A bit without a label is an error."""
    assert value.set_text(0, ("a",)) == ""
    with pytest.raises(ValueError, match="SET"):
        value.set_text(2, ("a",))


def test_a_table_of_texts_is_bounded() -> None:
    """It forgets instead of growing for ever."""
    table = value.TextTable(str)
    for number in range(3 * value.CACHE_ENTRIES):
        assert table[number] == str(number)
        assert len(table) <= value.CACHE_ENTRIES


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"0000017.50", "17.50"),
        (b"0000000.00", "0.00"),
        (b"00", "0"),
        (b"0.5", "0.5"),
        (b"-1.0", "-1.0"),
    ],
)
def test_zerofill_is_taken_off(raw: bytes, text: str) -> None:
    """ZEROFILL is how a number is shown, not what it is."""
    assert value.selected_decimal(raw) == text


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0x7F7FFFFF, "3.4028235e+38"),
        (0x7F7FFFFE, "3.4028233e+38"),
        (0x00800000, "1.1754944e-38"),
        (0x007FFFFF, "1.1754942e-38"),
        (0x00000001, "1e-45"),
    ],
)
def test_floats_at_the_ends_of_their_range_are_read(bits: int, text: str) -> None:
    """The largest two, the smallest normal one, and both ends of the subnormal ones."""
    for sign, prefix in ((0, ""), (1 << 31, "-")):
        (number,) = struct.unpack("<f", (bits | sign).to_bytes(4, "little"))
        assert value.float_text(number) == prefix + text


@pytest.mark.parametrize(
    ("raw", "precision", "scale"),
    [
        (b"\xbb\x9a\xca\x00", 9, 0),  # 1,000,000,000 in nine digits
        (b"\x8a", 1, 0),  # 10 in one
        (b"\x80\x64", 4, 2),  # 100 in two decimals
    ],
)
def test_a_decimal_with_a_digit_too_many_is_refused(raw: bytes, precision: int, scale: int) -> None:
    """It would be printed as another number."""
    with pytest.raises(ValueError, match="digit too many"):
        value.decimal_text(raw, precision, scale)


@pytest.mark.parametrize("packed", [2026 << 9 | 13 << 5 | 1, 10_000 << 9 | 1 << 5 | 1])
def test_an_impossible_date_is_refused(packed: int) -> None:
    """A month 13 or a year of five digits."""
    with pytest.raises(ValueError, match="not a date"):
        value.date_text(packed)


@pytest.mark.parametrize("rest", [60 << 6, 60, 63 << 6 | 63])
def test_an_impossible_time_is_refused(rest: int) -> None:
    """A minute or a second 60."""
    for packed in (0x800000 + rest, 0x800000 - rest):
        with pytest.raises(ValueError, match="not a time"):
            value.time_text(packed, 0)
