"""Row images that lack columns, as each server writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cdc.demo.servers import MariaDB, MariaDB1011, MySQL
from cdc.message import KeyRange
from cdc.table import Table
from cdc_reader.binlog.event import PARTIAL_UPDATE_ROWS
from cdc_reader.binlog.table_map import parse_table_map
from cdc_reader.rows.partial_rows import PartialRow
from cdc_reader.rows.row_codec import Op, RowCodec
from cdc_reader.rows.select_codec import SelectCodec
from cdc_reader.rows.shape import target_of
from cdc_reader.snapshot.key_range import select_of
from cdc_reader.snapshot.snapshot import KEYS_AT_ONCE
from tests.support.sql_bench import ROWS_EVENTS, Bench, Taken

MINIMAL = "SET SESSION binlog_row_image = 'MINIMAL'"
FULL = "SET SESSION binlog_row_image = 'FULL'"
WHOLE = PartialRow("update")
"""In place of rows that need no second look."""


@pytest.fixture(scope="module")
def bench(any_server: MySQL | MariaDB) -> Iterator[Bench]:
    """Each server, with a schema of its own."""
    bench = Bench(any_server)
    yield bench
    bench.close()


def written(bench: Bench, table: Table, *statements: str) -> list[PartialRow]:
    """Return what becomes of the rows of statements that are written with other images."""
    place = bench.place()
    for statement in statements:
        bench.execute(statement)
    bench.execute(FULL)
    if not bench.mariadb:
        bench.execute("SET SESSION binlog_row_value_options = ''")
    return rows_of(bench.events(place, library=False), table, mariadb=bench.mariadb)


def rows_of(taken: Taken, table: Table, *, mariadb: bool) -> list[PartialRow]:
    """Return what becomes of each row of the table's events."""
    codec: RowCodec | None = None
    out: list[PartialRow] = []
    for kind, body in taken.raw:
        if kind == 19:
            codec = RowCodec(parse_table_map(body, mariadb=mariadb), target_of(table))
        elif kind in ROWS_EVENTS or kind == PARTIAL_UPDATE_ROWS:
            assert codec is not None
            op: Op = ROWS_EVENTS.get(kind, "update")
            at = 8 if kind < 30 else 8 + (body[8] | body[9] << 8)
            partial = codec.partial(op, body, at, has_options=kind == PARTIAL_UPDATE_ROWS)
            if partial is None:
                out.append(WHOLE._replace(op=op))
            else:
                out += codec.partial_rows(partial, op, body, at, len(body))
    return out


def described(bench: Bench, ddl: str) -> Table:
    """Make table ``t``; return it, with its generated columns and its primary key."""
    bench.execute("DROP TABLE IF EXISTS t")
    bench.execute(ddl)
    table = bench.table("t")
    extra = dict(
        bench.execute(
            "SELECT column_name, extra FROM information_schema.columns"
            " WHERE table_schema = 'decoders' AND table_name = 't'"
        )
    )
    columns = tuple(replace(column, extra=extra[column.name]) for column in table.columns)
    return replace(table, columns=columns)


KEYS = {
    "INT": ("1", "-2"),
    "BIGINT UNSIGNED": ("18446744073709551615", "3"),
    "DECIMAL(12,3)": ("1.500", "-7.25"),
    "VARCHAR(20)": ("'a''b'", "'日本'"),
    "CHAR(5)": ("'x'", "'y%'"),
    "VARBINARY(9)": ("X'00FF'", "X'27'"),
    "BINARY(4)": ("X'00FF0000'", "X'41'"),
    "DATE": ("'2026-02-03'", "'1999-12-31'"),
    "DATETIME(3)": ("'2026-02-03 04:05:06.007'", "'1999-12-31 00:00:00'"),
    "TIMESTAMP(6)": ("'2026-02-03 04:05:06.000007'", "'1999-12-31 00:00:01'"),
    "TIME(2)": ("'-12:13:14.5'", "'00:00:01'"),
    "YEAR": ("2026", "1999"),
    "BIT(9)": ("b'101'", "b'100000001'"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_row_in_part_is_found_by_its_key(bench: Bench, kind: str) -> None:
    """The key that the image has, as text, selects exactly this row, whatever its type."""
    table = described(bench, f"CREATE TABLE t (id {kind} PRIMARY KEY, n INT, m INT)")
    one, other = KEYS[kind]
    bench.execute(f"INSERT INTO t VALUES ({one}, 1, 1), ({other}, 2, 2)")
    rows = written(bench, table, MINIMAL, f"UPDATE t SET n = n + 40 WHERE id = {one}")

    assert [(row.op, row.is_lost) for row in rows] == [("", False)]
    (key,) = (row.key for row in rows)
    assert key is not None
    codec = SelectCodec(table, mariadb=bench.mariadb)
    sql, bound = select_of(table, codec, KeyRange(), 0, [KeyRange(first=key, last=key)])
    with bench.reader.cursor() as cursor:
        cursor.execute(sql, tuple(bound))
        found = cursor.fetchall()
    assert [int(row[codec.indexes["n"]]) for row in found] == [41]


@pytest.mark.parametrize("key", [("id",), ("id", "n")])
def test_as_many_keys_as_are_read_at_once_are_one_statement(
    bench: Bench, key: tuple[str, ...]
) -> None:
    """The server takes them, finds each, and looks at no other row."""
    bench.execute("DROP TABLE IF EXISTS t")
    bench.execute(f"CREATE TABLE t (id INT, n VARCHAR(9), PRIMARY KEY ({', '.join(key)}))")
    table = replace(bench.table("t"), chunk_key=key)
    rows = [(str(id_), f"n{id_}") for id_ in range(20 * KEYS_AT_ONCE)]
    values = ", ".join(f"({id_}, '{n}')" for id_, n in rows)
    bench.execute(f"INSERT INTO t VALUES {values}")
    keys = [KeyRange(first=row[: len(key)], last=row[: len(key)]) for row in rows[::20]]
    codec = SelectCodec(table, mariadb=bench.mariadb)
    sql, bound = select_of(table, codec, KeyRange(), 0, keys)
    with bench.reader.cursor() as cursor:
        cursor.execute("ANALYZE TABLE t")
        cursor.fetchall()
        cursor.execute(sql, tuple(bound))
        found = cursor.fetchall()
        cursor.execute("EXPLAIN FORMAT=TRADITIONAL " + sql, tuple(bound))
        (plan,) = cursor.fetchall()
        names = [column[0].lower() for column in cursor.description]
    about = dict(zip(names, plan, strict=True))

    assert [row[0] for row in found] == [row[0].encode() for row in rows[::20]]
    assert (about["type"], about["key"]) == (b"range", b"PRIMARY")
    assert int(about["rows"]) <= KEYS_AT_ONCE


@pytest.mark.parametrize("kind", ["FLOAT", "ENUM('a','b')"])
def test_a_key_that_has_no_certain_text_has_its_table_read(bench: Bench, kind: str) -> None:
    """A number that is compared as another one would find no row, or another row."""
    table = described(bench, f"CREATE TABLE t (id {kind} PRIMARY KEY, n INT, m INT)")
    bench.execute("INSERT INTO t VALUES (1, 1, 1)")

    assert written(bench, table, MINIMAL, "UPDATE t SET n = 5") == [PartialRow(is_lost=True)]


def test_what_a_minimal_image_has_is_published(bench: Bench) -> None:
    """A delete, and the old key of a row whose key changes; the rest is read by its key."""
    ddl = "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, n INT DEFAULT 3, m TEXT)"
    table = described(bench, ddl)
    rows = written(
        bench,
        table,
        MINIMAL,
        "INSERT INTO t (n) VALUES (1), (2)",
        "UPDATE t SET m = 'x'",
        "UPDATE t SET id = 9 WHERE id = 1",
        "DELETE FROM t WHERE id = 9",
    )
    by_key = [(row.op, row.old and row.old.key, row.key) for row in rows if row.op != "insert"]

    # A server may write a row that an INSERT gives in part whole.
    assert by_key[-4:] == [
        ("", None, ("1",)),
        ("", None, ("2",)),
        ("delete", "t:1", ("9",)),
        ("delete", None, None),
    ]
    assert not any(row.is_lost for row in rows)


def test_a_key_of_other_columns_is_not_guessed(bench: Bench) -> None:
    """The old name is in no minimal image: the table is read, and what nobody mentions removed."""
    table = described(bench, "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(9), n INT, m INT)")
    table = replace(table, key=bench.table("t", key="t:{name}").key)
    bench.execute("INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'b', 2, 2)")
    rows = written(
        bench,
        table,
        MINIMAL,
        "UPDATE t SET n = 5 WHERE id = 1",
        "UPDATE t SET name = 'c' WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
    )

    assert [row.is_lost for row in rows] == [False, True, True]
    assert rows[0].key == ("1",)


@pytest.mark.parametrize("any_server", ["mariadb"], indirect=True)
def test_an_after_image_of_changed_columns_is_completed(bench: Bench) -> None:
    """Together with a full one of before it has the row, but for generated columns."""
    ddl = "CREATE TABLE t (id INT PRIMARY KEY, n INT, m VARCHAR(9), b BLOB, j JSON, d DECIMAL(5,2))"
    table = described(bench, ddl)
    bench.execute("INSERT INTO t VALUES (1, 1, NULL, 'x', '[1]', 1.5), (2, 2, 'é', NULL, '{}', 0)")
    nodup = "SET SESSION binlog_row_image = 'FULL_NODUP'"
    rows = written(bench, table, nodup, "UPDATE t SET n = NULL", "UPDATE t SET id = 7 WHERE id = 2")

    assert [(r.op, r.key, r.is_lost) for r in rows] == [("update", None, False)] * 3
    made = {row.new.place.key: row.new.value for row in rows if row.new is not None}
    del made["t:2"]
    assert made == bench.select(table)


def test_generated_columns_are_not_taken_from_before(bench: Bench) -> None:
    """They change without being in an after image, on some servers."""
    ddl = (
        "CREATE TABLE t (id INT PRIMARY KEY, n INT, s INT GENERATED ALWAYS AS (n + 1) STORED,"
        " v INT GENERATED ALWAYS AS (n + 2) VIRTUAL, m INT)"
    )
    table = described(bench, ddl)
    bench.execute("INSERT INTO t (id, n, m) VALUES (1, 1, 1)")
    images = ["MINIMAL", "NOBLOB"]
    if bench.mariadb and not isinstance(bench.server, MariaDB1011):
        images.append("FULL_NODUP")
    for image in images:
        one = f"SET SESSION binlog_row_image = '{image}'"
        (row,) = written(bench, table, one, "UPDATE t SET n = n + 1")
        if row.new is not None:
            assert row.new.value == bench.select(table)["t:1"]
        else:
            assert row == WHOLE or row.key == ("1",)


@pytest.mark.parametrize("any_server", ["mysql", "mysql80"], indirect=True)
def test_differences_of_json_are_read_by_key(bench: Bench) -> None:
    """Only rows with a difference; several JSON columns, NULL and a minimal image beside it."""
    table = described(
        bench, "CREATE TABLE t (id INT PRIMARY KEY, j JSON, n INT, k JSON, m TEXT, l JSON)"
    )
    document = '{"a": [1, 2, 3], "b": "' + "x" * 100 + '"}'
    values = ", ".join(f"({i}, '{document}', 1, '{document}', 'm', NULL)" for i in range(1, 5))
    bench.execute(f"INSERT INTO t VALUES {values}")
    options = "SET SESSION binlog_row_value_options = 'PARTIAL_JSON'"
    change = "j = JSON_SET(j, '$.a[1]', {0}), k = JSON_REPLACE(k, '$.b', 'y{0}'), m = 'z{0}'"
    for n, image in enumerate((FULL, MINIMAL, FULL.replace("FULL", "NOBLOB")), 70):
        rows = written(
            bench,
            table,
            options,
            image,
            f"UPDATE t SET {change.format(n)} WHERE id < 3",
            f"UPDATE t SET k = JSON_SET(k, '$.a[0]', {n}), id = id + 10 WHERE id = 3",
            f"UPDATE t SET l = '[{n}]' WHERE id = 4",
            "UPDATE t SET id = 3, l = NULL WHERE id = 13",
        )
        # JSON that did not change is an empty difference.
        assert [(r.op, r.key) for r in rows] == [
            ("", ("1",)),
            ("", ("2",)),
            ("delete", ("13",)),
            ("", ("4",)),
            ("delete", ("3",)),
        ]
        assert not any(row.is_lost for row in rows)
