"""Facts about MySQL and MariaDB and their tables, queried with real logins."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymysql.connections import Connection

from cdc.demo.servers import PASSWORD, MariaDB, MySQL
from cdc.errors import PermissionDenied, PreflightError, UsageError
from cdc.mysql.connection import connect
from cdc.settings import Settings, load
from cdc.table import Table
from cdc.url import parse_url
from cdc_reader.catalog.facts import check_rights, server_facts
from cdc_reader.catalog.source_check import check_source
from cdc_reader.catalog.table_check import check_tables
from cdc_reader.catalog.tables import find_tables, resolve_tables


class Source:
    """A server with a schema of the test's own."""

    def __init__(self, server: MySQL | MariaDB) -> None:
        """Make the schema."""
        self.server = server
        self.schema = f"t_{uuid.uuid4().hex[:12]}"
        self.sql(f"CREATE DATABASE {self.schema}")

    def sql(self, *statements: str) -> None:
        """Run statements as root; ``{s}`` is the schema."""
        with self.server.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement.replace("{s}", self.schema))

    def settings(
        self, *tables: str, user: str = f"root:{PASSWORD}", database: str = ""
    ) -> Settings:
        """Return settings for these tables; ``{s}`` is the schema."""
        url = f"mysql://{user}@127.0.0.1:{self.server.port}/{database}"
        named = tuple(table.replace("{s}", self.schema) for table in tables)
        return load({"mysql": url, "tables": named}, {})

    def resolve(self, settings: Settings) -> tuple[Table, ...]:
        """Resolve tables on a connection of its own."""
        with connect(settings.mysql) as connection:
            return resolve_tables(connection, settings)


@pytest.fixture
def source(any_server: MySQL | MariaDB) -> Iterator[Source]:
    """Each server, one after the other."""
    made = Source(any_server)
    yield made
    made.sql("DROP DATABASE {s}")


def test_facts_tell_the_flavours_apart(any_server: MySQL | MariaDB) -> None:
    """Version, GTIDs, and whose coordinates the binlog's are."""
    with connect(parse_url(any_server.url, ("mysql",))) as connection:
        facts = server_facts(connection)

    assert check_source(facts) == []
    assert facts.gtid
    assert facts.version == tuple(int(part) for part in any_server.version.split("."))
    if isinstance(any_server, MariaDB):
        assert facts.mariadb
        assert facts.server.isdigit()
    else:
        assert not facts.mariadb
        assert len(facts.server) == 36


def test_a_table_is_found_by_its_full_name_or_in_the_default_database(source: Source) -> None:
    """``schema.table`` always; ``table`` in the URL's database."""
    source.sql("CREATE TABLE {s}.users (id INT PRIMARY KEY)")
    (full,) = source.resolve(source.settings("{s}.users"))
    (short,) = source.resolve(source.settings("users", database=source.schema))

    assert full == short
    assert full.qualified == f"{source.schema}.users"


def test_a_name_without_database_must_be_the_only_one(source: Source) -> None:
    """Alone it is found; with a twin elsewhere both are listed."""
    name = f"t{source.schema}"
    source.sql(f"CREATE TABLE {{s}}.{name} (id INT PRIMARY KEY)")
    (found,) = source.resolve(source.settings(name))
    twin = Source(source.server)
    twin.sql(f"CREATE TABLE {{s}}.{name} (id INT PRIMARY KEY)")
    with pytest.raises(UsageError, match="several databases") as refused:
        source.resolve(source.settings(name))
    twin.sql("DROP DATABASE {s}")

    assert found.schema == source.schema
    assert twin.schema in refused.value.seen


def test_names_are_bound_and_quoted(source: Source) -> None:
    """A table whose name is SQL is a table; one that is not there is an unknown name."""
    source.sql("CREATE TABLE {s}.`a``b'; --` (`i``d` INT PRIMARY KEY)")
    settings = source.settings("{s}.a`b'; --")
    (found,) = source.resolve(settings)
    with connect(settings.mysql) as connection:
        assert check_tables(connection, settings, (found,)) == []
    with pytest.raises(UsageError, match="has no table"):
        source.resolve(source.settings("x' OR '1'='1"))

    assert found.column_names == ("i`d",)


def test_a_typo_names_the_nearest_table(source: Source) -> None:
    """From the same database."""
    source.sql("CREATE TABLE {s}.customers (id INT PRIMARY KEY)")
    with pytest.raises(UsageError, match="did you mean 'customers'"):
        source.resolve(source.settings("costumers", database=source.schema))


def test_patterns_take_what_can_be_captured_and_tell_why_the_rest_is_not(source: Source) -> None:
    """A view, an engine, a table without key, a column: left out by a pattern, refused by name."""
    source.sql(
        "CREATE TABLE {s}.users (id INT PRIMARY KEY)",
        "CREATE TABLE {s}.`a*b.c` (id INT PRIMARY KEY)",
        "CREATE TABLE {s}.no_key (id INT)",
        "CREATE TABLE {s}.hot (id INT PRIMARY KEY) ENGINE = MEMORY",
        "CREATE TABLE {s}.place (id INT PRIMARY KEY, at POINT)",
        "CREATE VIEW {s}.v AS SELECT 1 AS a",
        "CREATE TABLE {s}.not_this (id INT PRIMARY KEY)",
    )
    settings = replace(source.settings("{s}.*"), exclude_tables=(f"{source.schema}.not_*",))
    with connect(settings.mysql) as connection:
        found = find_tables(connection, settings)
        everywhere = find_tables(connection, source.settings("*.*"))
    with pytest.raises(PreflightError, match="neither a primary key"):
        source.resolve(source.settings("{s}.*", "{s}.no_key"))

    assert found.findings == []
    assert {table.name for table in found.tables} == {"users", "a*b.c"}
    why = {one.table.partition(".")[2]: one.why for one in found.left_out}
    assert "neither a primary key" in why.pop("no_key")
    assert "ENGINE = MEMORY" in why.pop("hot")
    assert "at (point)" in why.pop("place")
    assert "is a view" in why.pop("v")
    assert why == {}
    schemas = {table.schema for table in everywhere.tables}
    assert not schemas & {"mysql", "sys", "information_schema", "performance_schema"}


def test_a_sign_in_brackets_is_the_sign_itself(source: Source) -> None:
    """So that a table with a sign of patterns in its name can be named."""
    source.sql("CREATE TABLE {s}.`a*b` (id INT PRIMARY KEY)", "CREATE TABLE {s}.axb (i INT)")
    (found,) = source.resolve(source.settings("{s}.a[*]b"))

    assert found.name == "a*b"


def test_patterns_of_which_none_is_captured_are_an_error(source: Source) -> None:
    """Nothing matches: the nearest name; all that match are unfit: why."""
    source.sql("CREATE TABLE {s}.customers (id INT)")
    with pytest.raises(UsageError, match=r"matches no table .* did you mean '.*customers'"):
        source.resolve(source.settings("{s}.costumer*"))
    with pytest.raises(PreflightError, match=r"(?s)none of the tables.*neither a primary key"):
        source.resolve(source.settings("{s}.*"))
    with pytest.raises(UsageError, match="has no table") as refused:
        source.resolve(source.settings("{s}.customer%"))

    assert f"--table '{source.schema}.customer*'" in refused.value.fix


def test_a_wrong_section_of_a_pattern_is_an_error(source: Source) -> None:
    """A table is never left out because of a mistake in the settings."""
    source.sql("CREATE TABLE {s}.customers (id INT PRIMARY KEY)")
    settings = source.settings("{s}.*")
    (wanted,) = settings.tables
    with pytest.raises(UsageError, match="has no column 'nmae'"):
        source.resolve(replace(settings, tables=(replace(wanted, value="nmae"),)))


def test_a_view_is_refused(source: Source) -> None:
    """It has no rows of its own in the binlog."""
    source.sql("CREATE VIEW {s}.v AS SELECT 1 AS a")
    with pytest.raises(UsageError, match="is a view"):
        source.resolve(source.settings("{s}.v"))


@pytest.mark.parametrize(
    ("definition", "identity"),
    [
        ("a INT, b INT, PRIMARY KEY (b, a)", ("b", "a")),
        ("a INT NOT NULL, b INT NOT NULL, UNIQUE (b), UNIQUE (a, b)", ("b",)),
        ("a INT NOT NULL, b INT, UNIQUE (b), UNIQUE (a)", ("a",)),
        ("a INT PRIMARY KEY, b INT NOT NULL UNIQUE", ("a",)),
    ],
)
def test_rows_are_told_apart_by_the_best_key(
    source: Source, definition: str, identity: tuple[str, ...]
) -> None:
    """The primary key; else the smallest unique key without NULL."""
    source.sql(f"CREATE TABLE {{s}}.t ({definition})")
    (found,) = source.resolve(source.settings("{s}.t"))

    assert found.identity == found.chunk_key == identity


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("a INT", "neither a primary key"),
        ("a INT UNIQUE", "neither a primary key"),
        ("a VARCHAR(90) NOT NULL, UNIQUE (a(5)), b INT", r"only one on a\(5\)"),
    ],
)
def test_without_such_a_key_a_table_is_refused(source: Source, definition: str, words: str) -> None:
    """A key that allows NULL tells no rows apart; one on a prefix gives no order to read by."""
    source.sql(f"CREATE TABLE {{s}}.t ({definition})")
    with pytest.raises(PreflightError, match=words):
        source.resolve(source.settings("{s}.t"))


def login(source: Source, *grants: str) -> str:
    """Return a new user with these rights."""
    user = f"u_{uuid.uuid4().hex[:8]}"
    source.sql(f"CREATE USER {user}@'%'", f"GRANT SELECT ON {{s}}.* TO {user}@'%'")
    source.sql(*(f"GRANT {grant} ON *.* TO {user}@'%'" for grant in grants))
    return user


def rights_missing(source: Source, user: str) -> list[str]:
    """Return what `check_rights` finds for a user."""
    settings = source.settings("{s}.t", user=user)
    with connect(settings.mysql) as connection:
        facts = server_facts(connection)
        return [f.fix.text() for f in check_rights(connection, facts, settings.mysql)]


def test_rights_are_found_by_trying(source: Source) -> None:
    """What lacks is in the GRANT; what is there is not."""
    client = "BINLOG MONITOR" if isinstance(source.server, MariaDB) else "REPLICATION CLIENT"
    enough = login(source, "REPLICATION SLAVE", client)
    half = login(source, client)

    assert rights_missing(source, enough) == []
    assert rights_missing(source, half) == [f"GRANT REPLICATION SLAVE ON *.* TO '{half}'@'%';"]


def test_rights_of_a_role_count(source: Source) -> None:
    """Granted through a role that is on by default."""
    user, role = login(source), f"r_{uuid.uuid4().hex[:8]}"
    word = "FOR" if isinstance(source.server, MariaDB) else "TO"
    source.sql(
        f"CREATE ROLE {role}",
        f"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {role}",
        f"GRANT {role} TO {user}@'%'",
        f"SET DEFAULT ROLE {role} {word} {user}@'%'",
    )

    assert rights_missing(source, user) == []


def test_select_is_asked_for_only_where_rows_are_read(source: Source) -> None:
    """A login that sees the table but may not read it: refused, unless --no-snapshot."""
    source.sql("CREATE TABLE {s}.t (id INT PRIMARY KEY)")
    user = f"u_{uuid.uuid4().hex[:8]}"
    source.sql(f"CREATE USER {user}@'%'", f"GRANT INSERT ON {{s}}.t TO {user}@'%'")
    settings = source.settings("{s}.t", user=user)
    without = load({"mysql": settings.mysql.reveal(), "snapshot": False}, {})
    with connect(settings.mysql) as connection:
        tables = resolve_tables(connection, settings)
        (finding,) = check_tables(connection, settings, tables)
        assert check_tables(connection, without, tables) == []

    assert isinstance(finding.error(), PermissionDenied)


# -- TLS -------------------------------------------------------------------------------


def encrypted(server: MySQL, options: str) -> bool:
    """Connect with these options; return whether the connection is encrypted."""
    url = parse_url(f"{server.url}?{options}", ("mysql",))
    connection: Connection[Any] = connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        row = cursor.fetchone()
    return bool(row and row[1])


def test_tls_is_what_was_asked_for(mysql: MySQL) -> None:
    """Disabled is plain; required and verify-ca encrypt; what cannot be verified is refused."""
    authority = Path(mysql.folder) / "ca.pem"

    assert not encrypted(mysql, "ssl-mode=disabled")
    assert encrypted(mysql, "ssl-mode=required")
    assert encrypted(mysql, f"ssl-mode=verify-ca&ssl-ca={authority}")
    with pytest.raises(PermissionDenied, match="TLS certificate is refused"):
        encrypted(mysql, "ssl-mode=verify-ca")
    with pytest.raises(PermissionDenied, match="TLS certificate is refused"):
        encrypted(mysql, f"ssl-mode=verify-identity&ssl-ca={authority}")
