"""Character sets by collation id; the ids themselves are compared with real servers elsewhere."""

from __future__ import annotations

import pytest

from cdc_reader.binlog.charset import Charset, UnknownCharset, charset_of, latin1_text, text


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
