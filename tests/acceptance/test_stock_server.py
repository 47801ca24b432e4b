"""A server as it is installed, which does not name columns in the binlog."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc.demo.servers import MariaDB, MySQL, Nats, Redis
from tests.support.pipeline import wait_for
from tests.support.place import Place

FIRST = 18446744073709551610
LABELS = ("it''s", "a,b", "\\\\", "ü", "(")


@pytest.fixture
def place(
    any_server: MySQL | MariaDB, nats: Nats, redis_server: Redis, tmp_path: Path
) -> Iterator[Place]:
    """On each server that cdc reads from, with its default of binlog_row_metadata."""
    made = Place(any_server, nats, redis_server, tmp_path)
    default = "NO_LOG" if isinstance(any_server, MariaDB) else "MINIMAL"
    made.execute(f"SET GLOBAL binlog_row_metadata = '{default}'")
    made.stack.callback(made.execute, "SET GLOBAL binlog_row_metadata = 'FULL'")
    yield made
    made.close()


def test_a_table_with_all_that_the_binlog_does_not_tell(place: Place) -> None:
    """Labels, signs, character sets, hidden and invisible columns; also after an instant ALTER."""
    labels = ", ".join(f"'{label}'" for label in LABELS)
    mariadb = place.dialect.mariadb
    more = ["a TEXT, UNIQUE (a)", "h BIGINT"] if mariadb else ["a VARCHAR(9)"]
    if mariadb or place.dialect.version >= (8, 0, 23):
        more.append("v INT UNSIGNED DEFAULT 4000000000 INVISIBLE")
    if not mariadb and place.dialect.version >= (8, 0, 18):
        more.append("INDEX ((UPPER(a)))")
    if not place.dialect.omits_generated:
        more.append("g BIGINT AS (n * 2) STORED")
    place.execute(
        "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, gone INT, n INT UNSIGNED,"
        f" e ENUM({labels}) CHARACTER SET latin1, s SET('x','y'),"
        " l VARCHAR(9) CHARACTER SET latin1,"
        f" b BINARY(4), d DECIMAL(9,2), {', '.join(more)})"
    )
    pipeline = place.pipeline("")
    assert "binlog_row_metadata = " in place.cdc(pipeline, "check")
    process = pipeline.run()
    wait_for("the reader", lambda: "streaming" in process.text())
    rows = [
        f"({FIRST + n}, {4000000000 + n}, '{label}', 'x,y', 'é', 'a', '1.50', 'k{n}')"
        for n, label in enumerate(LABELS)
    ]
    insert = "INSERT INTO t (id, n, e, s, l, b, d, a) VALUES "
    place.execute(insert + rows[0], insert + rows[1], *instant(place), insert + ", ".join(rows[2:]))
    place.execute("UPDATE t SET l = 'ÿ' WHERE id = 18446744073709551610")
    place.execute("UPDATE t SET n = 1, e = '(', s = '' WHERE id = 18446744073709551611")
    wait_for("all rows", lambda: len(place.client.keys("t:*")) == len(LABELS))
    wait_for("them equal", lambda: verified(pipeline) == 0)
    place.execute("DELETE FROM t WHERE id = 18446744073709551612", "UPDATE t SET late = 7")
    wait_for("the last", lambda: len(place.client.keys("t:*")) == len(LABELS) - 1)
    wait_for("them equal", lambda: verified(pipeline) == 0)
    assert "set aside" not in process.text()
    assert process.stop() == 0, process.text()
    row = json.loads(str(place.client.get("t:18446744073709551610")))
    assert (row["n"], row["e"], row["l"]) == (4000000000, "it's", "ÿ")


def instant(place: Place) -> list[str]:
    """Return statements that change the columns and leave the rows as they are."""
    is_new = not place.dialect.mariadb and place.dialect.version >= (8, 0, 29)
    way = ", ALGORITHM = INSTANT" if is_new else ""
    return ["ALTER TABLE t ADD COLUMN late BIGINT", f"ALTER TABLE t DROP COLUMN gone{way}"]


def verified(pipeline: Any) -> int:
    """Return the exit code of cdc verify."""
    done = subprocess.run(
        [sys.executable, "-m", "cdc", "verify"],
        env=os.environ | pipeline.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return done.returncode


def test_tail_and_dry_run_show_rows_of_now_and_tell_of_others(place: Place) -> None:
    """What was written before an ALTER has columns that are not known any more."""
    place.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT)", "INSERT INTO t VALUES (1,1,-1)"
    )
    pipeline = place.pipeline("")
    shown = place.cdc(pipeline, "tail", "--from", "earliest", "--limit", "1")
    assert '{"id":1,"a":1,"b":-1}' in shown

    place.execute(
        "ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a",
        "INSERT INTO t (id, a, b) VALUES (2, 2, -2)",
    )
    shown = place.cdc(pipeline, "tail", "--from", "earliest", "--limit", "2")
    assert "t:1" not in shown
    assert '{"id":2,"b":-2,"a":2}' in shown
    assert f"note: {place.schema}.t: rows before its last ALTER are not shown" in shown

    about = place.json(pipeline, "run", "--dry-run")["dry_run"]
    assert about["changes"] == 2, "the ALTER and the row after it"
    (note,) = [note for note in about["notes"] if "does not name their columns" in note]
    assert f"{place.schema}.t" in note


def test_a_label_that_the_catalog_cannot_show_sets_the_table_aside(place: Place) -> None:
    """It is read where the binlog writes labels; never guessed."""
    place.execute("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a', '😀') CHARACTER SET utf8mb4)")
    pipeline = place.pipeline("")
    process = pipeline.run()
    wait_for("the reader", lambda: "streaming" in process.text())
    place.execute("INSERT INTO t VALUES (1, '😀')")
    wait_for("the table aside", lambda: "table set aside" in process.text())
    assert "shows as a question mark" in process.text()
    place.execute("SET GLOBAL binlog_row_metadata = 'FULL'", "ALTER TABLE t COMMENT = 'again'")
    place.shown("t:1", '{"id":1,"e":"😀"}')
    place.execute("INSERT INTO t VALUES (2, '😀')")
    place.shown("t:2", '{"id":2,"e":"😀"}')
    assert process.stop() == 0, process.text()
