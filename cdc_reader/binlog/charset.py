"""Collation ids of the binlog -> how the bytes of a text column become text.

Pure.  Five character sets are carried: utf8mb4, utf8mb3, ascii, latin1 and binary
(which is no text).  Any other collation is refused by its number, and by its name
where it is a known one: a guess would change text without a trace.

Source: ``SELECT id, character_set_name FROM information_schema.COLLATIONS`` of MySQL 9.7
and of MariaDB 11.8, which agree on every id that both have; a test compares them.
"""

from __future__ import annotations

import codecs
from enum import Enum

from pymysql.charset import charset_by_id


class Charset(Enum):
    """A character set that is carried exactly."""

    UTF8 = "utf8"
    """utf8mb4 and utf8mb3: the same bytes for the same text."""
    ASCII = "ascii"
    LATIN1 = "latin1"
    BINARY = "binary"
    """Bytes, printed in base64."""


class UnknownCharset(ValueError):
    """Raised for a collation whose text cannot be carried; `str` names it."""


_UTF8_RANGES = (
    # utf8mb3
    (33, 33), (76, 76), (83, 83), (192, 215), (223, 223), (576, 579), (1057, 1057),
    (1107, 1107), (1216, 1216), (1238, 1238), (2048, 2215), (2232, 2247),
    # utf8mb4
    (45, 46), (224, 247), (255, 271), (273, 275), (277, 294), (296, 298), (300, 300),
    (303, 323), (608, 611), (1069, 1070), (1248, 1248), (1270, 1270), (2304, 2471),
    (2488, 2503),
)  # fmt: skip
_OTHERS = {
    Charset.ASCII: (11, 65, 1035, 1089),
    Charset.LATIN1: (5, 8, 15, 31, 47, 48, 49, 94, 1032, 1071),
    Charset.BINARY: (63,),
}

_BY_COLLATION: dict[int, Charset] = {
    number: Charset.UTF8 for low, high in _UTF8_RANGES for number in range(low, high + 1)
} | {number: charset for charset, numbers in _OTHERS.items() for number in numbers}


def charset_of(collation: int) -> Charset:
    """Return the character set of a collation id.

    >>> charset_of(255), charset_of(8)
    (<Charset.UTF8: 'utf8'>, <Charset.LATIN1: 'latin1'>)

    Raises:
        UnknownCharset: it is none of the five.
    """
    try:
        return _BY_COLLATION[collation]
    except KeyError:
        raise UnknownCharset(_name(collation)) from None


# The Unicode ones that PyMySQL has no names for.
_NAMES = {
    "ucs2": ((35, 35), (90, 90), (128, 151), (159, 159), (640, 642), (2560, 2759)),
    "utf16": ((54, 55), (101, 124), (672, 674), (2816, 3015)),
    "utf16le": ((56, 56), (62, 62)),
    "utf32": ((60, 61), (160, 183), (736, 738), (3072, 3271)),
    "gb18030": ((248, 250),),
}


def _name(collation: int) -> str:
    for name, ranges in _NAMES.items():
        if any(low <= collation <= high for low, high in ranges):
            return f"character set {name}"
    try:
        name = vars(charset_by_id(collation))["name"]
    except KeyError:
        return f"collation number {collation}"
    return f"character set {name}"


# MySQL's latin1 is cp1252 with the five bytes that cp1252 leaves open as U+0081 … U+009D.
# Source: MySQL manual, "West European Character Sets"; mysql-server strings/ctype-latin1.cc.
_LATIN1 = "".join(
    chr(byte) if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes((byte,)).decode("cp1252")
    for byte in range(256)
)


def latin1_text(raw: bytes) -> str:
    r"""Return text of MySQL's latin1.

    >>> latin1_text(b"\x80\x81\xe9")
    '€\x81é'
    """
    return codecs.charmap_decode(raw, "strict", _LATIN1)[0]


class NotAscii(Exception):
    """Raised for bytes above 127 in a column that is ``ascii``; `str` is the column's name."""


def ascii_text(raw: bytes, column: str) -> str:
    """Return the text of an ``ascii`` column.

    Raises:
        NotAscii: a byte is above 127, for which the server itself shows no text.
    """
    if not raw.isascii():
        raise NotAscii(column)
    return raw.decode("ascii")


def text(raw: bytes, charset: Charset) -> str:
    """Return the text of bytes in a character set that is not binary.

    Raises:
        UnicodeDecodeError: the bytes are not of that character set.
    """
    if charset is Charset.LATIN1:
        return latin1_text(raw)
    return raw.decode("utf-8" if charset is Charset.UTF8 else "ascii")


# Names of MySQL to codecs of Python; what is not here has no codec.
_CODECS = {
    "big5": "big5", "cp1250": "cp1250", "cp1251": "cp1251", "cp1256": "cp1256",
    "cp1257": "cp1257", "cp850": "cp850", "cp852": "cp852", "cp866": "cp866",
    "cp932": "cp932", "eucjpms": "euc_jp", "euckr": "euc_kr", "gb18030": "gb18030",
    "gb2312": "gb2312", "gbk": "gbk", "greek": "iso8859_7", "hebrew": "iso8859_8",
    "koi8r": "koi8_r", "koi8u": "koi8_u", "latin2": "iso8859_2", "latin5": "iso8859_9",
    "latin7": "iso8859_13", "macroman": "mac_roman", "sjis": "cp932", "tis620": "tis_620",
    "ujis": "euc_jp",
}  # fmt: skip
# Characters that two tables of one character set give different numbers.
_AMBIGUOUS = dict.fromkeys(
    map(ord, "\u00a2\u00a3\u00a5\u00a6\u00ac\u00b7\u00b8\u203e\u2014\u2015\u2016\u2022\u2025\u2212"
    "\u2225\u2299\u22ef\u2500\u301c\u30fb\uff0d\uff3c\uff5e\uffe0\uffe1\uffe2\uffe3\uffe4\uffe5"),
    "\ufffd",
)  # fmt: skip


def statement_text(raw: bytes, collation: int | None) -> str:
    r"""Return a statement as a session typed it; ``\ufffd`` replaces what is not certain.

    >>> statement_text(b"TRUNCATE t\xe4glich", 8), statement_text(b"TRUNCATE \xc4", 51)
    ('TRUNCATE täglich', 'TRUNCATE Д')

    Args:
        collation: id of ``character_set_client``; None: not known, UTF-8.
    """
    # Also in SWE7, which has letters in the place of signs: a server takes 7 bits as they are.
    if raw.isascii():
        return raw.decode("ascii")
    charset = Charset.UTF8 if collation is None else _BY_COLLATION.get(collation)
    if charset is Charset.LATIN1:
        return latin1_text(raw)
    if charset is not None:
        return raw.decode("ascii" if charset is Charset.ASCII else "utf-8", "replace")
    codec = _CODECS.get(_name(collation or 0).removeprefix("character set "))
    if codec is None:
        return raw.decode("ascii", "replace")
    return raw.decode(codec, "replace").translate(_AMBIGUOUS)
