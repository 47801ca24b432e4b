"""`cdc verify` beside an application: what it takes of MySQL, and rows that share a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc.demo.servers import Nats, Redis
from tests.support.pipeline import wait_for
from tests.support.place import Place

TABLES = 12


@pytest.fixture(params=["mysql", "mariadb"])
def place(
    request: pytest.FixtureRequest, nats: Nats, redis_server: Redis, tmp_path: Path
) -> Iterator[Place]:
    """On a server of each kind."""
    made = Place(request.getfixturevalue(request.param), nats, redis_server, tmp_path)
    yield made
    made.close()


def test_connections_do_not_grow_with_the_tables(place: Place) -> None:
    """Walking and settling take one each, whatever is compared; the application has the rest."""
    names = [f"t{n}" for n in range(TABLES)]
    for name in names:
        place.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY)", f"INSERT INTO {name} VALUES (1)")
    pipeline = place.pipeline("")
    pipeline.environment["CDC_TABLES"] = ",".join(names)
    process = pipeline.run()
    wait_for("all rows", lambda: place.client.exists(*(f"{name}:1" for name in names)) == TABLES)
    place.client.delete(*(f"{name}:1" for name in names))  # each has something to settle
    place.execute("FLUSH STATUS")
    ((_, before),) = place.execute("SHOW GLOBAL STATUS LIKE 'Max_used_connections'")
    said = place.json(pipeline, "verify", code=1)
    ((_, after),) = place.execute("SHOW GLOBAL STATUS LIKE 'Max_used_connections'")

    assert [table["missing"] for table in said["tables"]] == [1] * TABLES
    # One more is the test's own, and one may be the reader's.
    assert int(after) - int(before) <= 4, (before, after)
    assert process.stop() == 0, process.text()


@pytest.mark.parametrize("columns", ['["at"]', '["id", "at"]'])
def test_rows_that_share_a_key_are_a_difference(place: Place, columns: str) -> None:
    """Redis holds one of them: whether their contents are equal or not, nothing is equal."""
    place.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, at DATETIME)",
        "INSERT INTO t VALUES (0, '2026-01-01 00:00:00'), "
        + ", ".join(f"({n}, '2026-01-02 00:00:00')" for n in range(1, 1000)),
    )
    pipeline = place.pipeline(f'{{t}}\nkey = "{{table}}:{{at}}"\ncolumns = {columns}\n')
    assert "contains no unique key" in place.cdc(pipeline, "check")
    process = pipeline.run()
    wait_for("all rows", lambda: "rows read" in process.text())
    wait_for("both keys", lambda: place.client.exists(*KEYS) == len(KEYS))
    (table,) = place.json(pipeline, "verify", code=1)["tables"]
    said = place.cdc(pipeline, "verify", "--repair", code=3)

    assert (table["rows"], table["shared"], table["missing"], table["stale"]) == (1000, 1, 0, 0)
    assert table["differences"] == [{"kind": "shared", "key": KEYS[1]}]
    assert "1 keys of" in said
    assert "are shared by several rows" in said
    assert "contains no unique key" not in said  # cdc run and cdc check have said that
    assert process.stop() == 0, process.text()


KEYS = ("t:2026-01-01T00:00:00", "t:2026-01-02T00:00:00")


def test_rows_that_only_seem_to_share_a_key_do_not(place: Place) -> None:
    """MySQL finds both rows by either text, in the SELECT of another thousand keys as well."""
    place.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(9) NOT NULL)",
        "INSERT INTO t VALUES " + ", ".join(f"({n}, 'a{n}')" for n in range(600)),
        "INSERT INTO t SELECT id + 600, UPPER(name) FROM t",
    )
    pipeline = place.pipeline('{t}\nkey = "{table}:{name}"\n')
    process = pipeline.run()
    wait_for("all rows", lambda: len(place.client.keys("t:*")) == 1200)
    assert "equal   1,200 rows" in place.cdc(pipeline, "verify")
    place.client.delete(*place.client.keys("t:*"))
    (table,) = place.json(pipeline, "verify", code=1)["tables"]

    assert (table["missing"], table["shared"]) == (1200, 0)
    assert process.stop() == 0, process.text()
