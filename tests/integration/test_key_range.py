"""Ranges of keys of every type, read in chunks: the rows between both ends, each once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from cdc.demo.servers import MariaDB, MySQL
from cdc.errors import UsageError
from cdc.message import KeyRange
from cdc.mysql.connection import connect
from cdc.position import MySqlGtidSet, Watermark
from cdc.settings import load
from cdc.table import Table
from cdc_reader.catalog.tables import resolve_tables
from cdc_reader.rows.select_codec import SelectCodec
from cdc_reader.snapshot.chunk import ChunkReader, about_rows, chunk_connection
from cdc_reader.snapshot.key_range import Key
from cdc_reader.snapshot.refresh import ask_for_ranges
from tests.support.tally import seeded

SCHEMA = "ranges"
LOW = Watermark(gtid_set=MySqlGtidSet(), place=(0, 0))
LIMITS = (1, 2, 3, 7)
RANGES = 25

KEYS: dict[str, tuple[str, str, list[str]]] = {
    # name: columns, key, rows as SQL
    "numbers": ("a BIGINT", "a", ["-9223372036854775808", "-2", "0", "5", "9223372036854775807"]),
    "unsigned": ("a BIGINT UNSIGNED", "a", ["0", "7", "18446744073709551615"]),
    "decimals": ("a DECIMAL(20,4)", "a", ["-1.5000", "0.0001", "99999999999999.9999"]),
    "floats": ("a FLOAT", "a", ["-1.1", "0.1", "0.3", "1.1", "1e10", "16777217"]),
    "doubles": ("a DOUBLE", "a", ["-1e300", "0.1", "0.30000000000000004", "1e-300"]),
    "collated": (
        "a VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", "a",
        ["'a'", "'B'", "'c'", "'ä1'", "'Z'", "'ß'", "'日本'", "'it''s'", "'100%'", "'\\\\'", "''"],
    ),
    "exact texts": (
        "a VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "a",
        ["'a'", "'A'", "'ä'", "'Z'", "'😀'"],
    ),
    "latin1": (
        "a VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci", "a",
        ["'a'", "'ö'", "'x'", "'€'"],
    ),
    "binary": ("a VARBINARY(8)", "a", ["x''", "x'00'", "x'0025ff'", "x'ff'", "x'27'"]),
    "padded": ("a BINARY(3)", "a", ["x'00'", "x'01'", "x'0100ff'"]),
    "days": ("a DATE", "a", ["'0000-00-00'", "'1999-12-31'", "'2026-11-24'"]),
    "moments": (
        "a DATETIME(6)", "a", ["'1000-01-01'", "'2026-11-24 10:00:00.000001'", "'9999-12-31'"],
    ),
    "stamps": ("a TIMESTAMP(3)", "a", ["'1999-01-01'", "'2026-11-24 10:00:00.5'"]),
    "times": ("a TIME", "a", ["'-838:59:59'", "'00:00:00'", "'11:00:00'"]),
    "enums": ("a ENUM('z','a','m')", "a", ["'z'", "'a'", "'m'"]),
    "sets": ("a SET('z','a','m')", "a", ["''", "'z'", "'a,m'"]),
    "bits": ("a BIT(9)", "a", ["0", "1", "256"]),
    "years": ("a YEAR", "a", ["1999", "2026"]),
    "composite": (
        "a INT, b VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, c DATE",
        "a, b, c",
        [f"{a}, '{b}', '2024-01-0{c}'" for a in (1, 2, 3) for b in "xYz" for c in (1, 2)],
    ),
    "odd names": ("`a``%s` INT", "`a``%s`", ["1", "2", "3"]),
}  # fmt: skip


class Tables:
    """A server with one table for each sort of key."""

    def __init__(self, server: MySQL | MariaDB) -> None:
        self.server, self.mariadb = server, isinstance(server, MariaDB)
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = '', time_zone = '+00:00', NAMES utf8mb4")
            cursor.execute(f"DROP DATABASE IF EXISTS {SCHEMA}")
            cursor.execute(f"CREATE DATABASE {SCHEMA}")
            for name, (columns, key, rows) in KEYS.items():
                table = f"{SCHEMA}.`{name}`"
                cursor.execute(f"CREATE TABLE {table} ({columns}, n INT, PRIMARY KEY ({key}))")
                for n, row in enumerate(rows):
                    cursor.execute(f"INSERT INTO {table} VALUES ({row}, {n})")
        tables = tuple(f"{SCHEMA}.{name}" for name in KEYS)
        self.settings = load({"mysql": server.url, "tables": tables}, {})
        with closing(connect(self.settings.mysql)) as connection:
            found = resolve_tables(connection, self.settings)
        self.tables = {table.name: table for table in found}
        self.reader = ChunkReader(
            lambda: chunk_connection(self.settings), mariadb=self.mariadb, gtid=not self.mariadb
        )

    def read(self, table: Table, first: Key = (), last: Key = (), limit: int = 3) -> list[Any]:
        """Read a range in chunks; return (key of its texts, n) of each row, in order."""
        codec = SelectCodec(table, mariadb=self.mariadb)
        n_at, parts = codec.indexes["n"], len(table.chunk_key)
        after: tuple[str, ...] = ()
        out = []
        while True:
            wanted = KeyRange(first=tuple(first), last=tuple(last), after=after)
            chunk = self.reader.read(table, codec, wanted, limit, LOW)
            for row in chunk.rows:
                key = tuple(bytes(part or b"").decode() for part in row[-parts:])
                out.append((key, int(bytes(row[n_at] or b""))))
            if chunk.done:
                return out
            assert chunk.after not in ((), after)
            after = chunk.after


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def tables(request: pytest.FixtureRequest) -> Iterator[Tables]:
    """Both servers, one after the other."""
    made = Tables(request.getfixturevalue(request.param))
    yield made
    made.reader.close()
    with made.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {SCHEMA}")


@pytest.mark.parametrize("name", KEYS)
def test_a_range_has_the_rows_between_its_ends(tables: Tables, name: str) -> None:
    """Both ends within, open ends, chunks of any size: as one ordered reading has them."""
    chance, table = seeded(), tables.tables[name]
    whole = tables.read(table, limit=100)
    assert sorted(n for _, n in whole) == list(range(len(KEYS[name][2])))
    for _ in range(RANGES):
        i = chance.randrange(len(whole))
        j = chance.randrange(i, len(whole))
        first = whole[i][0] if chance.random() < 0.8 else ()
        last = whole[j][0] if chance.random() < 0.8 else ()
        want = whole[i if first else 0 : j + 1 if last else None]
        assert tables.read(table, first, last, chance.choice(LIMITS)) == want
        ask_for_ranges(tables.settings, [table], {table.qualified: [(first, last)]})


def test_the_beginning_of_a_key_stands_for_all_that_begin_so(tables: Tables) -> None:
    """`--from 2 --to 2` of (a, b, c): every row whose a is 2."""
    table = tables.tables["composite"]
    whole = tables.read(table, limit=100)

    assert tables.read(table, ("2",), ("2",)) == [row for row in whole if row[0][0] == "2"]
    assert tables.read(table, ("1", "y"), ("2", "X")) == whole[2:8]


def test_a_key_that_is_none_is_refused_before_it_is_announced(tables: Tables) -> None:
    """Else the reader would meet it again at every start."""
    wrong = {"numbers": "1 OR 1", "binary": "xyz", "enums": "z"}
    if not tables.mariadb:  # which compares with what it makes of such a text
        wrong["days"] = "no day"
    for name, key in wrong.items():
        table = tables.tables[name]
        with pytest.raises(UsageError):
            ask_for_ranges(tables.settings, [table], {table.qualified: [((key,), ())]})


def test_a_server_says_about_how_many_rows_a_range_has(tables: Tables) -> None:
    """For the bar: an estimate, by the range's key."""
    chance = random.Random(1)
    with tables.server.connect(SCHEMA) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE many (id INT PRIMARY KEY, n INT)")
        rows = [(n, chance.random()) for n in range(1, 2001)]
        cursor.executemany("INSERT INTO many VALUES (%s, %s)", rows)
        cursor.execute("ANALYZE TABLE many")
    with closing(connect(tables.settings.mysql)) as found:
        settings = load({"mysql": tables.server.url, "tables": (f"{SCHEMA}.many",)}, {})
        (table,) = resolve_tables(found, settings)
    with closing(chunk_connection(tables.settings)) as connection:
        assert 1000 < about_rows(connection, table, KeyRange()) < 4000
        assert about_rows(connection, table, KeyRange(first=("11",), last=("20",))) <= 20
