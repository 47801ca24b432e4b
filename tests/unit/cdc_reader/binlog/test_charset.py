"""Character sets by collation id; the ids themselves are compared with real servers elsewhere."""

from __future__ import annotations

import pytest

from cdc_reader.binlog.charset import (
    Charset,
    NotAscii,
    UnknownCharset,
    ascii_text,
    charset_of,
    latin1_text,
    statement_text,
    text,
)


@pytest.mark.parametrize(
    ("collation", "charset"),
    [
        (255, Charset.UTF8),  # utf8mb4_0900_ai_ci
        (45, Charset.UTF8),  # utf8mb4_general_ci
        (33, Charset.UTF8),  # utf8mb3_general_ci
        (2304, Charset.UTF8),  # utf8mb4_uca1400_ai_ci
        (11, Charset.ASCII),
        (8, Charset.LATIN1),
        (63, Charset.BINARY),
    ],
)
def test_carried_character_sets_are_known(collation: int, charset: Charset) -> None:
    """The collations that people have are of the character set that they are of."""
    assert charset_of(collation) is charset


@pytest.mark.parametrize(
    ("collation", "named"),
    [(54, "utf16"), (35, "ucs2"), (60, "utf32"), (26, "cp1250"), (1, "big5"), (248, "gb18030")],
)
def test_other_character_sets_are_refused_by_name(collation: int, named: str) -> None:
    """The error names the character set."""
    with pytest.raises(UnknownCharset, match=f"character set {named}$"):
        charset_of(collation)


def test_an_unheard_of_collation_is_refused_by_number() -> None:
    """An unknown number is in the error."""
    with pytest.raises(UnknownCharset, match="collation number 60000"):
        charset_of(60000)


def test_latin1_is_cp1252_with_every_byte() -> None:
    """The five bytes that cp1252 leaves open are control characters, the others cp1252."""
    for byte in range(256):
        try:
            expected = bytes((byte,)).decode("cp1252")
        except UnicodeDecodeError:
            expected = chr(byte)
        assert latin1_text(bytes((byte,))) == expected


def test_bytes_of_another_character_set_are_refused() -> None:
    """Text is never replaced or left out."""
    for raw, charset in (
        (b"\xff", Charset.UTF8),
        (b"\x80", Charset.ASCII),
        (b"\xed\xa0\x80", Charset.UTF8),
    ):
        with pytest.raises(UnicodeDecodeError):
            text(raw, charset)


def test_text_of_each_character_set_is_read() -> None:
    """The same byte is another character in each."""
    assert text("é€".encode(), Charset.UTF8) == "é€"
    assert text(b"\xe9\x80", Charset.LATIN1) == "é€"
    assert text(b"e", Charset.ASCII) == "e"


def test_a_byte_above_127_in_an_ascii_column_names_the_column() -> None:
    """The server shows no text for it, so none is made up."""
    assert ascii_text(b"plain~", "code") == "plain~"
    with pytest.raises(NotAscii, match=r"^code$"):
        ascii_text(b"\x80", "code")


@pytest.mark.parametrize(
    ("raw", "collation", "expected"),
    [
        (b"DROP TABLE t", None, "DROP TABLE t"),
        (b"DROP TABLE t", 10, "DROP TABLE t"),  # swe7: 7 bits are taken as they are
        (b"DROP t\xc3\xa4", None, "DROP tä"),  # not known: UTF-8
        (b"DROP t\xc3\xa4", 255, "DROP tä"),
        (b"DROP t\xff", 255, "DROP t\ufffd"),
        (b"DROP t\xe4", 8, "DROP tä"),  # latin1
        (b"DROP t\xe4", 11, "DROP t\ufffd"),  # ascii
        (b"DROP \xc4", 51, "DROP Д"),  # cp1251
        (b"DROP \x82\xa0", 13, "DROP あ"),  # sjis
        (b"DROP \x81\x60", 13, "DROP \ufffd"),  # a sign that tables of sjis disagree about
        (b"DROP \xe4", 10, "DROP \ufffd"),  # swe7 has no codec
        (b"DROP \xe4", 60000, "DROP \ufffd"),  # a collation of a later server
    ],
)
def test_a_statement_is_read_in_the_character_set_of_its_session(
    raw: bytes, collation: int | None, expected: str
) -> None:
    """What is not certain is marked, so that no name is missed for it."""
    assert statement_text(raw, collation) == expected
