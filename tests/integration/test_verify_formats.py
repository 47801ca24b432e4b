"""What verify makes of a row is what the pipeline makes of it, for every type, on real servers.

Two codes that share nothing: `cdc_reader.rows.select_codec`, which test_decoders compares with the
binlog and with the values put in, and `cdc_verify.expected`, written from docs/message.md.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pymysql
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc.demo.servers import MariaDB, MySQL
from cdc.key import parse_template
from cdc.message import SnapshotRow
from cdc.mysql.session import SESSION_SQL
from cdc.table import Table
from cdc_verify.expected import Content, Expected
from cdc_verify.inverse import Inverse
from cdc_verify.mysql_rows import CONNECTION, MySqlRows
from cdc_verify.parted import expected_of
from cdc_verify.parts import Part, Places
from cdc_verify.select import Selects
from redis_sink.plan.row_hash import hash_fields
from tests.support.columns import FAMILIES, Family
from tests.support.shapes import shapes_of
from tests.support.sql_bench import SCHEMA, Bench

CASES = [
    pytest.param(server, family, id=f"{server}-{family.name}")
    for server in ("mysql", "mariadb")
    for family in FAMILIES
    if not (family.mysql_only and server == "mariadb")
]

Check = Callable[[list[tuple[Any, ...]]], None]


@dataclasses.dataclass
class Both:
    """One server, the pipeline's way of reading it, and verify's."""

    bench: Bench
    rows: MySqlRows


@pytest.fixture(scope="module")
def both(mysql: MySQL, mariadb: MariaDB) -> Iterator[dict[str, Both]]:
    """Both servers with a table for each family."""
    out: dict[str, Both] = {}
    for name, server in (("mysql", mysql), ("mariadb", mariadb)):
        bench = Bench(server)
        connect = functools.partial(
            pymysql.connect, **server.login, autocommit=True, init_command=SESSION_SQL, **CONNECTION
        )
        rows = MySqlRows(connect, _raised, mariadb=bench.mariadb, gtid=True)
        out[name] = Both(bench, rows)
        for family in FAMILIES:
            if not (family.mysql_only and bench.mariadb):
                columns = ", ".join(
                    f"{column} {kind.ddl}"
                    for column, kind in zip(family.columns, family.kinds, strict=True)
                )
                bench.execute(f"CREATE TABLE {family.name} (id INT PRIMARY KEY, {columns})")
    yield out
    for one in out.values():
        one.rows.close()
        one.bench.close()


def _raised(error: BaseException) -> Any:
    raise error


def write(bench: Bench, family: Family, rows: Sequence[Sequence[Any]]) -> None:
    """Put these rows in place of those that are there."""
    places = ", ".join(["(" + ", ".join(["%s"] * (len(family.columns) + 1)) + ")"] * len(rows))
    bench.execute(f"DELETE FROM {family.name}")
    bench.execute(
        f"INSERT INTO {family.name} VALUES {places}",
        [value for number, row in enumerate(rows) for value in (number, *row)],
    )


def expected(both: Both, table: Table) -> dict[str, Any]:
    """Return content by key as verify expects it, read in chunks of two."""
    make = Expected(table)
    selects = Selects(table, make)
    out: dict[str, Any] = {}
    after: tuple[str, ...] = ()
    while rows := both.rows.rows(selects.chunk(after, 2)):
        out |= {make.key(row).decode(): make.content(row) for row in rows}
        after = selects.key_text(rows[-1])
    return out


def for_rows_of(
    family: Family, *, examples: int, nulls: bool = True
) -> Callable[[Check], Callable[[], None]]:
    """Return the decorator that calls a function with one to five rows, again and again."""
    values = [st.none() | kind.values if nulls else kind.values for kind in family.kinds]
    rows = st.lists(st.tuples(*values), min_size=1, max_size=5)
    setting = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    return lambda check: setting(given(rows)(check))


@pytest.mark.parametrize(("server", "family"), CASES)
def test_both_ways_give_the_same_bytes(both: dict[str, Both], server: str, family: Family) -> None:
    """The row as JSON, as a hash, and each column alone."""
    one = both[server]

    @for_rows_of(family, examples=12)
    def check(rows: list[tuple[Any, ...]]) -> None:
        write(one.bench, family, rows)
        table = one.bench.table(family.name)
        pipeline = one.bench.select(table)
        assert expected(one, table) == {
            key: value.encode() for key, value in pipeline.items() if value is not None
        }
        as_hash = dataclasses.replace(table, model="hash")
        for key, fields in expected(one, as_hash).items():
            flat = [part if isinstance(part, bytes) else part.encode() for part in
                    hash_fields(pipeline[key] or "")]  # fmt: skip
            assert fields == dict(zip(flat[::2], flat[1::2], strict=True))
        column = dataclasses.replace(
            table, value_column=family.columns[len(rows) % len(family.columns)]
        )
        assert expected(one, column) == {
            key: None if value is None else value.encode()
            for key, value in one.bench.select(column).items()
        }

    check()


def as_places(row: SnapshotRow) -> dict[bytes, Content]:
    """Return each place of a row that the pipeline writes, and what it writes there."""
    key = row.key.encode()
    place = key if row.field is None else Part("hash", key, row.field.encode()).place
    out: dict[bytes, Content] = {place: None if row.value is None else row.value.encode()}
    for one in row.index or ():
        if one.set is not None:
            out[Part("set", one.set.encode(), one.member.encode()).place] = b""
        else:
            score = repr(float(one.score or "")).encode()
            out[Part("zset", (one.zset or "").encode(), one.member.encode()).place] = score
    return out


@pytest.mark.parametrize(("server", "family"), CASES)
def test_both_ways_give_the_same_places(both: dict[str, Both], server: str, family: Family) -> None:
    """Fields, members and scores of every type, masked and renamed; and each leads back."""
    one = both[server]

    @for_rows_of(family, examples=8)
    def check(rows: list[tuple[Any, ...]]) -> None:
        write(one.bench, family, rows)
        for table in shapes_of(one.bench.table(family.name)):
            make, places = expected_of(table), Places(table)
            selects = Selects(table, make)
            found = one.rows.rows(selects.chunk((), 10))
            mine = {place: content for row in found for place, content in make.places(row)}
            wanted = {p: c for row in one.bench.selected(table) for p, c in as_places(row).items()}
            assert mine == wanted
            for place in mine:
                condition = places.condition(place)
                assert condition is not None
                back = one.rows.found(selects, [condition])
                assert place in {p for row in back for p, _ in make.places(row)}

    check()


@pytest.mark.parametrize(
    ("server", "family"), [case for case in CASES if "documents" not in str(case.id)]
)
def test_a_key_of_every_type_leads_back_to_its_row(
    both: dict[str, Both], server: str, family: Family
) -> None:
    """The key is the pipeline's, and the template turned round finds the row that has it."""
    one = both[server]

    @for_rows_of(family, examples=12, nulls=False)
    def check(rows: list[tuple[Any, ...]]) -> None:
        write(one.bench, family, rows)
        for column in family.columns:
            for text in (f"t:{{{column}}}", f"t:{{{column}}}-{{id}}:x"):
                parsed = parse_template(text, schema=SCHEMA, table=family.name, pk=("id",))
                table = dataclasses.replace(one.bench.table(family.name), key=parsed)
                make, inverse = Expected(table), Inverse(table)
                selects = Selects(table, make)
                found = one.rows.rows(selects.chunk((), 100))
                keys = {make.key(row).decode() for row in found}
                assert keys == one.bench.select(table).keys()
                conditions = [inverse.condition(key) for key in sorted(keys)]
                assert None not in conditions
                for key, condition in zip(sorted(keys), conditions, strict=True):
                    assert condition is not None
                    back = one.rows.found(selects, [condition])
                    assert key in {make.key(row).decode() for row in back}, condition

    check()


def test_long_rows_and_many_of_them(both: dict[str, Both]) -> None:
    """Rows of several packets, and lengths of one, two, three and more bytes."""
    for one in both.values():
        one.bench.execute("SET GLOBAL max_allowed_packet = 1 << 26")
        one.bench.execute("DROP TABLE IF EXISTS long_rows")
        one.bench.execute("CREATE TABLE long_rows (id INT PRIMARY KEY, c LONGTEXT)")
        sizes = (0, 1, 250, 251, 252, 65_535, 65_536, (1 << 24) - 20, 1 << 24, (1 << 24) + 20)
        with (
            pymysql.connect(
                **one.bench.server.login,
                autocommit=True,
                database=SCHEMA,
                max_allowed_packet=1 << 26,
            ) as connection,
            connection.cursor() as cursor,
        ):
            for number, size in enumerate(sizes):
                sql = "INSERT INTO long_rows VALUES (%s, REPEAT('x', %s))"
                cursor.execute(sql, (number, size))
        one.rows.close()
        make = Expected(one.bench.table("long_rows"))
        rows = one.rows.rows(Selects(one.bench.table("long_rows"), make).chunk((), 100))

        assert [len(row[1] or b"") for row in rows] == list(sizes)
        chunk = Selects(one.bench.table("long_rows"), make).chunk((), 100)
        for most_bytes, count in ((1, 1), (1 << 20, 7), (17 << 20, 8), (1 << 30, 10)):
            first, is_cut = one.rows.first_rows(chunk, most_bytes)
            assert first == rows[: len(first)]
            assert (len(first) >= count, is_cut) == (True, len(first) < 10)
        one.rows.close()
