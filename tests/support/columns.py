"""Every type that is carried: a column of it, values for it, and what they have to become."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st


def same(value: Any, ours: Any) -> bool:
    """Say whether mysql-replication's value is ours."""
    return bool(value == ours)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One column: its type, the values for it, and what they become."""

    ddl: str
    values: st.SearchStrategy[Any]
    expected: Callable[[Any], Any] | None = None
    """Value put in -> token of the row as Python reads it (floats as text)."""
    library: Callable[[Any, Any], bool] | None = same
    """mysql-replication's value, our token -> whether they agree; None: it cannot decode it."""


@dataclass(frozen=True)
class Family:
    """Columns that are tested in one table."""

    name: str
    kinds: tuple[Kind, ...]
    mysql_only: bool = False
    columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Name the columns."""
        object.__setattr__(self, "columns", tuple(f"c{n}" for n in range(len(self.kinds))))


def integers() -> Iterator[Kind]:
    for name, bits in (
        ("TINYINT", 8),
        ("SMALLINT", 16),
        ("MEDIUMINT", 24),
        ("INT", 32),
        ("BIGINT", 64),
    ):
        half = 1 << bits - 1
        yield Kind(ddl=name, values=st.integers(-half, half - 1), expected=int)
        yield Kind(ddl=name + " UNSIGNED", values=st.integers(0, 2 * half - 1), expected=int)
    yield Kind(ddl="INT ZEROFILL", values=st.integers(0, 99999), expected=int)
    # mysql-replication's bug: 0000 becomes 1900.
    yield Kind(
        ddl="YEAR",
        values=st.sampled_from([0]) | st.integers(1901, 2155),
        expected=int,
        library=lambda theirs, ours: theirs == (ours or 1900),
    )


def decimal(number: int, *, scale: int) -> str:
    """Return ``-0.50`` for -50 and 2."""
    digits = f"{abs(number):0{scale + 1}d}"
    whole, after = digits[: len(digits) - scale], digits[len(digits) - scale :]
    return "-" * (number < 0) + whole + (f".{after}" if scale else "")


SHAPES = [(1, 0), (5, 5), (12, 2), (10, 0), (18, 9), (19, 10), (65, 30), (65, 0), (30, 30), (9, 4)]


def decimals() -> Iterator[Kind]:
    for precision, scale in SHAPES:
        limit = 10**precision - 1
        yield Kind(
            ddl=f"DECIMAL({precision},{scale})",
            values=st.integers(-limit, limit).map(functools.partial(decimal, scale=scale)),
            expected=str,
            library=lambda theirs, ours: theirs == Decimal(ours),
        )
    yield Kind(
        ddl="DECIMAL(10,2) UNSIGNED ZEROFILL",
        values=st.integers(0, 10**10 - 1).map(functools.partial(decimal, scale=2)),
        expected=str,
        library=lambda theirs, ours: theirs == Decimal(ours),
    )


def float32(number: float) -> bytes:
    return struct.pack("<f", number)


def floats() -> Iterator[Kind]:
    yield Kind(ddl="DOUBLE", values=finite(64), expected=repr, library=lambda t, o: repr(t) == o)
    # mysql-replication gives the float32 as a double, 1.100000023841858 for 1.1.
    yield Kind(
        ddl="FLOAT",
        values=finite(32),
        expected=shortest_float32,
        library=lambda theirs, ours: float32(theirs) == float32(float(ours)),
    )
    yield Kind(
        ddl="DOUBLE(10,2)",
        values=st.integers(-(10**9), 10**9).map(lambda n: n / 100),
        # The servers' own rounding stores 2.5300000000000002 for 2.53, and prints 2.53; how
        # many decimals to print is not in the binlog.
        expected=None,
        library=lambda theirs, ours: repr(theirs) == ours,
    )


def finite(width: Any) -> st.SearchStrategy[float]:
    # MariaDB loses the sign of a zero on its way into the table; see the test of its own.
    return st.floats(allow_nan=False, allow_infinity=False, width=width).map(lambda x: x or 0.0)


def shortest_float32(number: float) -> str:
    for digits in range(1, 10):
        text = f"{number:.{digits}g}"
        try:
            if float32(float(text)) == float32(number):
                return repr(float(text))
        except OverflowError:
            continue
    raise AssertionError(number)


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
BMP = st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=20)
CP1252 = [
    bytes((n,)).decode("cp1252") for n in range(256) if n not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
]
OPEN = [chr(n) for n in (0x81, 0x8D, 0x8F, 0x90, 0x9D)]


def texts() -> Iterator[Kind]:
    def char(text: str) -> str:
        return text.rstrip(" ")

    yield Kind(ddl="CHAR(20)", values=TEXT, expected=char)
    yield Kind(ddl="CHAR(255)", values=TEXT, expected=char)
    yield Kind(ddl="VARCHAR(20)", values=TEXT, expected=str)
    yield Kind(ddl="VARCHAR(300)", values=TEXT.map(lambda t: t * 10), expected=str)
    for name in ("TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT"):
        yield Kind(ddl=name, values=TEXT, expected=str)
    yield Kind(ddl="VARCHAR(20) CHARACTER SET utf8mb3", values=BMP, expected=str)
    ascii_text = st.text(st.characters(max_codepoint=0x7F), max_size=20)
    yield Kind(ddl="VARCHAR(20) CHARACTER SET ascii", values=ascii_text, expected=str)
    latin1 = st.text(st.sampled_from(CP1252), max_size=20)
    yield Kind(ddl="VARCHAR(20) CHARACTER SET latin1", values=latin1, expected=str)
    yield Kind(ddl="TEXT CHARACTER SET latin1", values=latin1, expected=str)
    yield Kind(ddl="CHAR(20) CHARACTER SET latin1", values=latin1, expected=char)


def open_latin1() -> Iterator[Kind]:
    # mysql-replication's bug: UnicodeDecodeError for the whole event at 81 8D 8F 90 9D.
    values = st.text(st.sampled_from(OPEN + CP1252), max_size=20)
    yield Kind(ddl="VARCHAR(20) CHARACTER SET latin1", values=values, expected=str, library=None)


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def binaries() -> Iterator[Kind]:
    def raw(theirs: Any) -> bytes:
        return theirs.encode() if isinstance(theirs, str) else bytes(theirs)

    def library(theirs: Any, ours: str) -> bool:
        return encoded(raw(theirs)) == ours

    def padded(raw: bytes, *, size: int) -> str:
        return encoded(raw.ljust(size, b"\0"))

    def without_zeros(theirs: Any, ours: str) -> bool:
        # mysql-replication's bug: the zero bytes at the end of a BINARY are missing.
        return raw(theirs).rstrip(b"\0") == base64.b64decode(ours).rstrip(b"\0")

    for size in (1, 5, 20, 255):
        yield Kind(
            ddl=f"BINARY({size})",
            values=st.binary(max_size=min(size, 20)),
            expected=functools.partial(padded, size=size),
            library=without_zeros,
        )
    yield Kind(
        ddl="VARBINARY(20)", values=st.binary(max_size=20), expected=encoded, library=library
    )
    yield Kind(
        ddl="VARBINARY(300)",
        values=st.binary(max_size=20).map(lambda b: b * 15),
        expected=encoded,
        library=library,
    )
    for name in ("TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB"):
        yield Kind(ddl=name, values=st.binary(max_size=30), expected=encoded, library=library)


def dates() -> Iterator[Kind]:
    # mysql-replication's bug: zero and partial dates become None.
    partial = st.sampled_from(["0000-00-00", "2024-00-10", "2024-02-00", "0000-05-00"])
    yield Kind(
        ddl="DATE",
        values=st.dates(dt.date(1, 1, 1)).map(str) | partial,
        expected=str,
        library=lambda theirs, ours: theirs is None if "-00" in ours else str(theirs) == ours,
    )


def fraction(text: str, digits: int) -> str:
    """Return ``12:00:00.123456`` with as many digits as the column has."""
    return text[: len(text) - 7] + text[-7:][: digits + 1 if digits else 0]


def printed(moment: dt.datetime, digits: int) -> str:
    return fraction(moment.isoformat(timespec="microseconds"), digits)


def datetimes(digits: int) -> Kind:
    zeros = "." + "0" * digits if digits else ""
    partial = st.sampled_from(["0000-00-00 00:00:00", "2024-00-10 10:11:12"])
    return Kind(
        ddl=f"DATETIME({digits})",
        values=st.datetimes().map(lambda moment: printed(moment, digits))
        | partial.map(lambda text: text + zeros),
        expected=str,
        # mysql-replication's bug: zero and partial dates become None.
        library=lambda theirs, ours: (
            theirs is None if " " in ours else printed(theirs, digits) == ours
        ),
    )


EPOCH = dt.datetime.fromisoformat("1970-01-01")
FIRST, LAST = EPOCH + dt.timedelta(seconds=1), EPOCH + dt.timedelta(seconds=2**31 - 1)


def timestamps(digits: int) -> Kind:
    zero = "0000-00-00 00:00:00" + ("." + "0" * digits if digits else "")
    return Kind(
        ddl=f"TIMESTAMP({digits}) NULL",
        values=st.datetimes(FIRST, LAST).map(lambda moment: printed(moment, digits))
        | st.just(zero),
        expected=lambda text: text + "Z" if "T" in text else text,
        # mysql-replication's bug: the zero timestamp becomes the beginning of 1970.
        library=lambda theirs, ours: (
            theirs == EPOCH if " " in ours else printed(theirs, digits) + "Z" == ours
        ),
    )


def times(digits: int) -> Kind:
    top = (838 * 3600 + 59 * 60 + 59) * 10**digits

    def text(number: int) -> str:
        seconds, rest = divmod(abs(number), 10**digits)
        whole = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        return "-" * (number < 0) + whole + (f".{rest:0{digits}d}" if digits else "")

    def library(theirs: dt.timedelta, ours: str) -> bool:
        if ours[0] == "-" and "." in ours and ours.rpartition(".")[2].strip("0"):
            return True  # mysql-replication's bug: negative with a fraction is wrong
        micros = theirs // dt.timedelta(microseconds=1)
        return text(micros // 10 ** (6 - digits)) == ours

    return Kind(
        ddl=f"TIME({digits})",
        values=st.integers(-top, top).map(text),
        expected=str,
        library=library,
    )


def choices() -> Iterator[Kind]:
    def in_ascii(theirs: Any, ours: str) -> bool:
        return not ours.isascii() or bool(theirs == ours)

    labels = ["new", "é", 'x"y', "a\\b", "€", ""]
    listed = ",".join("'" + label.replace("\\", "\\\\") + "'" for label in labels)
    many = ",".join(f"'v{n}'" for n in range(300))
    some = st.sampled_from(labels)
    yield Kind(ddl=f"ENUM({listed})", values=some, expected=str)
    # mysql-replication's bug: labels of another character set than UTF-8 are empty.
    yield Kind(
        ddl=f"ENUM({listed}) CHARACTER SET latin1", values=some, expected=str, library=in_ascii
    )
    yield Kind(ddl=f"ENUM({many})", values=st.integers(0, 299).map("v{}".format), expected=str)
    yield Kind(ddl="ENUM('a','b')", values=st.just("bogus"), expected=lambda _: "")
    for count, charset in ((3, "utf8mb4"), (9, "latin1"), (20, "utf8mb4"), (30, "ascii")):
        yield sets(count, charset)
    yield sets(64, "utf8mb4")


def sets(count: int, charset: str) -> Kind:
    names = [f"m{n}é" if n % 5 == 0 and charset != "ascii" else f"m{n}" for n in range(count)]
    listed = ",".join(f"'{name}'" for name in names)

    def joined(chosen: set[str]) -> str:
        return ",".join(name for name in names if name in chosen)

    def library(theirs: set[str] | None, ours: str) -> bool:
        # mysql-replication's bugs: labels of another character set than UTF-8 are empty, the
        # order is lost, the empty set becomes None.
        return not ours.isascii() or (theirs or set()) == set(filter(None, ours.split(",")))

    return Kind(
        ddl=f"SET({listed}) CHARACTER SET {charset}",
        values=st.sets(st.sampled_from(names)).map(joined),
        expected=str,
        library=library,
    )


def bits() -> Iterator[Kind]:
    for size in (1, 3, 8, 9, 16, 20, 24, 31, 33, 40, 63, 64):
        yield Kind(
            ddl=f"BIT({size})",
            values=st.integers(0, (1 << size) - 1),
            expected=int,
            library=lambda theirs, ours: int(theirs, 2) == ours,
        )


JSON_KEYS = st.text(st.characters(codec="utf-8"), max_size=5)
DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | finite(64)
    | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(JSON_KEYS, inner, max_size=4),
    max_leaves=8,
)


def decoded(value: Any) -> Any:
    """Return mysql-replication's JSON with its bytes as text."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if isinstance(value, dict):
        return {decoded(key): decoded(item) for key, item in value.items()}
    return value


def documents() -> Iterator[Kind]:
    yield Kind(
        ddl="JSON",
        values=DOCUMENTS.map(json.dumps),
        expected=lambda text: text_of_floats(json.loads(text)),
        # mysql-replication's bug: keys and strings are bytes.
        library=lambda theirs, ours: text_of_floats(decoded(theirs)) == ours,
    )


def text_of_floats(value: Any) -> Any:
    """Return JSON data with floats as texts, so that -0.0 is not 0.0 and 1.0 is not 1."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return [text_of_floats(item) for item in value]
    if isinstance(value, dict):
        return {key: text_of_floats(item) for key, item in value.items()}
    return value


FAMILIES = [
    Family("integers", tuple(integers())),
    Family("decimals", tuple(decimals())),
    Family("floats", tuple(floats())),
    Family("texts", tuple(texts())),
    Family("open_latin1", tuple(open_latin1())),
    Family("binaries", tuple(binaries())),
    Family("dates", tuple(dates())),
    Family("datetimes", tuple(map(datetimes, range(7)))),
    Family("timestamps", tuple(map(timestamps, range(7)))),
    Family("times", tuple(map(times, range(7)))),
    Family("choices", tuple(choices())),
    Family("bits", tuple(bits())),
    Family("documents", tuple(documents()), mysql_only=True),
]
