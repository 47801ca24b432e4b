"""What the reader makes of what is done to a captured table, on each server, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc.demo.servers import MariaDB, MySQL
from tests.support.following import Follower


@pytest.fixture
def follower(any_server: MySQL | MariaDB) -> Iterator[Follower]:
    """A captured table `users` with two rows, and one that is not captured, on each server."""
    with Follower(any_server) as follower:
        _two_tables(follower)
        yield follower


def _two_tables(follower: Follower) -> None:
    follower.execute(
        "CREATE TABLE users (id INT PRIMARY KEY, a INT)",
        "CREATE TABLE other (id INT PRIMARY KEY, a INT)",
        "INSERT INTO users VALUES (1, 0), (2, 0)",
    )
    follower.capture("users")


TYPED = {
    "latin1": ("täglich", "latin1"),
    "cp1251": ("заказы", "cp1251"),
    "koi8r": ("заказы", "koi8_r"),
    "gbk": ("订单表", "gbk"),
    "sjis": ("注文表", "shift_jis"),
    "big5": ("訂單", "big5"),
    "euckr": ("주문", "euc_kr"),
    "dec8": ("täglich", "latin1"),
    "utf8mb4": ("täglich", "utf-8"),
}
"""Character set of the session: a table's name, and Python's codec for it."""


def test_a_table_is_found_in_a_statement_of_any_character_set(
    any_server: MySQL | MariaDB,
) -> None:
    """The event tells what the session's bytes mean; the server's own text is UTF-8."""
    statements = (
        "TRUNCATE {}",
        "/*!50100 ALTER TABLE {} ADD c INT */",
        "RENAME TABLE {} TO moved",
        "RENAME TABLE moved TO {}",
        "DROP TABLE {}",
    )
    with Follower(any_server, on_schema_change="continue") as follower:
        names = {charset: f"{charset}{name}" for charset, (name, _) in TYPED.items()}
        follower.execute(*(f"CREATE TABLE `{n}` (id INT PRIMARY KEY)" for n in names.values()))
        follower.capture(*names.values())
        for charset, name in names.items():
            for text in statements:
                follower.typed(charset, text.format(f"`{name}`").encode(TYPED[charset][1]))
        found = [message["table"].partition(".")[2] for message in follower.read()]

        assert found == [name for name in names.values() for _ in statements]


def test_a_default_database_with_another_alphabet_is_found(any_server: MySQL | MariaDB) -> None:
    """The event has its name in UTF-8, with any character set of the session."""
    with Follower(any_server, schema="größe") as follower:
        follower.execute("CREATE TABLE users (id INT PRIMARY KEY)")
        follower.capture("users")
        follower.typed("latin1", b"TRUNCATE users")
        error = follower.refusal()

        assert error is not None
        assert "größe.users" in error.seen


@pytest.mark.parametrize("name", ["temporary", "users"])
def test_the_word_temporary_is_a_name_like_any_other(
    any_server: MySQL | MariaDB, name: str
) -> None:
    """It is not reserved: a table or a column may be called so without quotes."""
    with Follower(any_server) as follower:
        follower.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY)")
        follower.capture(name)
        alter = f"ALTER TABLE {name} ADD temporary INT"
        for statement in (alter, f"TRUNCATE {name}", f"DROP TABLE {name}"):
            error = follower.refusal(statement)

            assert error is not None, statement
            follower.position = follower.newest()


def test_a_temporary_table_of_a_captured_ones_name_changes_nothing(follower: Follower) -> None:
    """Its rows and its end concern no other transaction."""
    follower.execute(
        "CREATE TEMPORARY TABLE users (id INT)",
        "INSERT INTO users VALUES (5)",
        "DROP TEMPORARY TABLE IF EXISTS users",
    )

    assert follower.read() == []


def test_a_text_that_ends_in_a_backslash_hides_no_name(follower: Follower) -> None:
    """With NO_BACKSLASH_ESCAPES it ends there, and what comes after it counts."""
    follower.execute("SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
    follower.execute("DROP TABLE users")
    follower.position = follower.newest()
    error = follower.refusal("ALTER TABLE other COMMENT 'x\\', RENAME TO users, COMMENT 'y'")

    assert error is not None
    assert "users" in error.seen
