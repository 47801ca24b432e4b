"""Properties of a server's tables by its version text."""

from __future__ import annotations

import pytest

from cdc_reader.catalog.dialect import NEWEST, Dialect, dialect_of


@pytest.mark.parametrize(
    ("version", "mariadb", "numbers"),
    [
        ("9.7.4", False, (9, 7, 4)),
        ("8.0.46-0ubuntu0.22.04.1", False, (8, 0, 46)),
        ("8.0.", False, (8, 0)),
        ("10.11.18-MariaDB-deb12", True, (10, 11, 18)),
        ("11.8.9-MARIADB-4 from Debian-log", True, (11, 8, 9)),
        ("unknown", False, ()),
        ("", False, ()),
    ],
)
def test_a_version_text_is_read(version: str, mariadb: bool, numbers: tuple[int, ...]) -> None:
    """The numbers at its beginning, and which server it is; no text is refused."""
    assert Dialect(mariadb=mariadb, version=numbers) == dialect_of(version)


@pytest.mark.parametrize(
    ("mariadb", "version", "omits_generated", "has_invisible"),
    [
        (False, (8, 0, 22), False, False),
        (False, (8, 0, 23), False, True),
        (False, (9, 7), False, True),
        (False, (), False, False),
        (True, (10, 11, 18), False, True),
        (True, (11,), True, True),
        (True, (11, 8, 9), True, True),
        (True, (12, 0), True, True),
    ],
)
def test_columns_are_as_the_version_has_them(
    mariadb: bool, version: tuple[int, ...], omits_generated: bool, has_invisible: bool
) -> None:
    """MariaDB 11 omits generated ones from the binlog; invisible ones came with MySQL 8.0.23."""
    dialect = Dialect(mariadb, version)

    assert (omits_generated, has_invisible) == (dialect.omits_generated, dialect.has_invisible)


def test_the_newest_server_has_all_that_tables_can_have() -> None:
    """What is used where no server has been asked."""
    assert NEWEST.has_invisible
    assert not NEWEST.omits_generated
