"""Which columns of a table are carried: the same by rows that are read and rows that change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB, MySQL, Nats, Redis
from tests.support.pipeline import wait_for
from tests.support.place import Place


@pytest.fixture
def place(
    any_server: MySQL | MariaDB, nats: Nats, redis_server: Redis, tmp_path: Path
) -> Iterator[Place]:
    """On each server that cdc reads from."""
    made = Place(any_server, nats, redis_server, tmp_path)
    yield made
    made.close()


def test_a_list_of_columns_stays_closed(place: Place) -> None:
    """It names all columns of today; what is added later reaches neither NATS nor Redis."""
    place.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(9))", "INSERT INTO t VALUES (1, 'a')"
    )
    wanted = 'on_schema_change = "continue"\n{t}\ncolumns = ["id", "name"]\n'
    pipeline = place.pipeline(wanted)
    process = pipeline.run()
    place.shown("t:1", '{"id":1,"name":"a"}')
    place.execute(
        "ALTER TABLE t ADD secret VARCHAR(9) DEFAULT 'geheim'",
        "INSERT INTO t (id, name) VALUES (2, 'b')",
        "ALTER TABLE t ADD place POINT",
        "INSERT INTO t (id, name, place) VALUES (3, 'c', POINT(1, 2))",
        "UPDATE t SET name = 'd', secret = 'neu' WHERE id = 1",
    )
    place.shown("t:1", '{"id":1,"name":"d"}')
    assert process.stop() == 0, process.text()
    process = pipeline.run()
    place.execute("UPDATE t SET name = 'e', secret = 'neuer' WHERE id = 1")
    place.shown("t:1", '{"id":1,"name":"e"}')
    place.cdc(pipeline, "snapshot", "--table", "t", "--from", "2", "--to", "2")
    assert "equal   3 rows" in place.cdc(pipeline, "verify")
    assert place.client.mget("t:2", "t:3") == ['{"id":2,"name":"b"}', '{"id":3,"name":"c"}']
    assert process.stop() == 0, process.text()
    stored = place.cdc(pipeline, "tail", "--from", "earliest", "--format", "json", "--limit", "5")
    assert "geheim" not in stored
    assert "neu" not in stored


def test_columns_that_only_the_server_knows_are_in_no_row(place: Place) -> None:
    """What SELECT * shows is what both paths carry: no hash of MariaDB's, no key of MySQL's."""
    if place.dialect.mariadb:
        define = ["CREATE TABLE t (id INT PRIMARY KEY, a TEXT, UNIQUE (a))"]
        rows = ["INSERT INTO t VALUES (1, 'x'), (2, 'y')"]
    elif place.dialect.version < (8, 0, 30):
        define = ["CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9))"]
        rows = ["INSERT INTO t VALUES (1, 'x'), (2, 'y')"]
    else:
        hidden = "show_gipk_in_create_table_and_information_schema"
        place.execute(f"SET GLOBAL {hidden} = OFF")
        place.stack.callback(place.execute, f"SET GLOBAL {hidden} = ON")
        define = [
            "SET SESSION sql_generate_invisible_primary_key = ON",
            "CREATE TABLE t (id INT, a VARCHAR(9))",
        ]
        rows = ["INSERT INTO t VALUES (1, 'x'), (2, 'y')"]
    place.execute(*define, *rows)
    settings = '{t}\nindex = [{set = "all"}]\n'
    for wanted in ("", settings):
        pipeline = place.pipeline(wanted)
        place.client.flushdb()
        place.cdc(pipeline, "check")
        process = pipeline.run()
        place.shown("t:2", '{"id":2,"a":"y"}')
        place.execute(
            "INSERT INTO t VALUES (3, 'z')",
            "UPDATE t SET a = 'v' WHERE id = 1",
            "UPDATE t SET a = 'w' WHERE id = 2",
            "DELETE FROM t WHERE id = 1",
        )
        place.shown("t:2", '{"id":2,"a":"w"}')
        wait_for("the delete", lambda: place.client.exists("t:1") == 0)
        assert place.client.get("t:3") == '{"id":3,"a":"z"}'
        assert "equal   2 rows" in place.cdc(pipeline, "verify")
        assert process.stop() == 0, process.text()
        place.execute("DELETE FROM t", "ALTER TABLE t AUTO_INCREMENT = 1", *rows)


def test_generated_columns(place: Place) -> None:
    """Carried where the binlog has them; refused by name where not, and what is printed works."""
    place.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, v INT AS (a + 1) VIRTUAL,"
        " s INT AS (a + 2) STORED)",
        "INSERT INTO t (id, a) VALUES (1, 1)",
    )
    pipeline, omitted = place.pipeline(""), place.dialect.omits_generated
    if omitted:
        said = place.cdc(pipeline, "check", code=3)
        assert "has generated columns: v, s\n" in said
        line = f'exclude = ["v", "s"] in [tables."{place.schema}.t"]'
        assert line in said
        assert line in place.cdc(pipeline, "run", code=3)
        pipeline = place.pipeline('{t}\nexclude = ["v", "s"]\n')
        place.cdc(pipeline, "check")
    process = pipeline.run()

    def row(a: int) -> str:
        generated = "" if omitted else f',"v":{a + 1},"s":{a + 2}'
        return f'{{"id":1,"a":{a}{generated}}}'

    place.shown("t:1", row(1))
    place.execute("UPDATE t SET a = 5", "INSERT INTO t (id, a) VALUES (2, 2)")
    place.execute("DELETE FROM t WHERE id = 2", "INSERT INTO t (id, a) VALUES (3, 3)")
    place.shown("t:1", row(5))
    wait_for("the last row", lambda: place.client.exists("t:3") == 1)
    assert place.client.exists("t:2") == 0
    assert "equal   2 rows" in place.cdc(pipeline, "verify")
    assert process.stop() == 0, process.text()
