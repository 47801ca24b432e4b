"""Rows larger than NATS carries in one message go in parts and arrive whole, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB, MySQL, Nats, Redis
from tests.support.pipeline import Pipeline, Process, wait_for
from tests.support.place import Place

MB = 1_000_000
LARGEST_BYTES = 66 * MB
"""Of a text; its message is below `max_row_bytes`, 67,108,864."""
PEAK_BYTES = 600_000_000
TABLE = "CREATE TABLE t (id INT PRIMARY KEY, n INT, body LONGTEXT)"


@pytest.fixture
def place(
    any_server: MySQL | MariaDB, nats: Nats, redis_server: Redis, tmp_path: Path
) -> Iterator[Place]:
    """On each server that cdc reads from, with room for a large row."""
    yield from a_place(any_server, nats, redis_server, tmp_path)


@pytest.fixture
def on_mysql(mysql: MySQL, nats: Nats, redis_server: Redis, tmp_path: Path) -> Iterator[Place]:
    """On one server, for what does not depend on it."""
    yield from a_place(mysql, nats, redis_server, tmp_path)


def a_place(
    server: MySQL | MariaDB, nats: Nats, redis_server: Redis, folder: Path
) -> Iterator[Place]:
    """Make a place whose server takes large rows."""
    made = Place(server, nats, redis_server, folder)
    made.execute("SET GLOBAL max_allowed_packet = 1073741824")
    made.execute(TABLE)
    yield made
    made.close()


def filled(id_: int, size: int, sign: str = "x") -> str:
    """Return SQL of a row with a text of this size, made by the server."""
    return f"({id_}, 0, REPEAT('{sign}', {size}))"


def is_equal(place: Place) -> bool:
    """Whether Redis has each row and no other key of the table."""
    rows = place.execute("SELECT id, n, LENGTH(body) FROM t")
    if set(place.client.keys("t:*")) != {f"t:{id_}" for id_, *_ in rows}:
        return False
    for id_, n, size in rows:  # quick, and asked again and again
        if place.client.strlen(f"t:{id_}") != size + len(f'{{"id":{id_},"n":{n},"body":""}}'):
            return False
    rows = place.execute("SELECT id, n, LENGTH(body), SHA2(body, 256) FROM t")
    return all(found(place, id_) == (n, size, digest) for id_, n, size, digest in rows)


def found(place: Place, id_: int) -> tuple[int, int, str] | None:
    """Return number, length and digest of a row in Redis."""
    text = place.client.get(f"t:{id_}")
    if text is None:
        return None
    row = json.loads(str(text))
    return row["n"], len(row["body"]), hashlib.sha256(row["body"].encode()).hexdigest()


def started(pipeline: Pipeline) -> Process:
    """Run a pipeline; return when all rows are read."""
    process = pipeline.run()
    wait_for("all rows read", lambda: '"rows read"' in process.text())
    return process


def test_a_large_row_arrives_whole_by_every_way(place: Place) -> None:
    """Read, inserted, updated, with another key, deleted; small rows beside keep their order."""
    go_every_way(place, 1, (1_500_000, 17 * MB))


def test_a_large_row_arrives_whole_in_its_partition(on_mysql: Place) -> None:
    """The same; a key that leaves its partition is removed there after the whole row."""
    go_every_way(on_mysql, 3, (1_500_000, 3 * MB, 4 * MB))


def go_every_way(place: Place, partitions: int, sizes: tuple[int, ...]) -> None:
    """Do all to rows of these sizes, and compare after each step."""
    for n, size in enumerate(sizes):
        place.execute(f"INSERT INTO t VALUES {filled(n, size)}, {filled(10 + n, 9)}")
    pipeline = place.pipeline(f"partitions = {partitions}\n{{t}}\n")
    process = started(pipeline)
    wait_for("the rows", lambda: is_equal(place), 60)
    for n, size in enumerate(sizes):
        place.execute(
            "BEGIN",
            f"INSERT INTO t VALUES {filled(20 + n, size, 'y')}, {filled(30 + n, 9)}",
            f"UPDATE t SET n = n + 1, body = REPEAT('z', {size + 7}) WHERE id IN ({n}, {20 + n})",
            f"UPDATE t SET id = {40 + n} WHERE id = {20 + n}",
            f"DELETE FROM t WHERE id = {n}",
            "UPDATE t SET n = n + 1 WHERE id >= 10",
            "COMMIT",
        )
    wait_for("the changes", lambda: is_equal(place), 60)
    assert f"equal   {3 * len(sizes)} rows" in place.cdc(pipeline, "verify")
    place.execute("UPDATE t SET n = n + 1 WHERE id = 40")
    wait_for("one more", lambda: is_equal(place), 60)
    assert process.stop() == 0, process.text()
    assert "no dead letters" in place.cdc(pipeline, "dead", "list")


def test_a_row_beyond_the_limit_is_a_dead_letter_and_absent(on_mysql: Place) -> None:
    """Read, inserted, updated: never an older value; smaller again, it is applied as usual."""
    place = on_mysql
    place.execute(
        f"INSERT INTO t VALUES {filled(1, 9)}, {filled(2, 3 * MB)}, {filled(3, 9)}, {filled(4, 9)}"
    )
    pipeline = place.pipeline("max_row_bytes = 2000000\n{t}\n")
    process = started(pipeline)
    wait_for("the rows", lambda: set(place.client.keys("t:*")) == {"t:1", "t:3", "t:4"}, 30)
    place.execute(
        f"UPDATE t SET body = REPEAT('y', {4 * MB}) WHERE id = 1",
        f"UPDATE t SET id = 5, body = REPEAT('y', {2 * MB}) WHERE id = 3",
        f"INSERT INTO t VALUES {filled(6, 3 * MB)}",
        "UPDATE t SET n = 7 WHERE id = 4",
    )
    wait_for("the last row", lambda: (found(place, 4) or (0,))[0] == 7, 30)
    assert place.client.keys("t:*") == ["t:4"]
    listed = place.cdc(pipeline, "dead", "list")
    letters = [line.split()[3] for line in listed.splitlines()[1:] if "too large" in line]
    assert letters == ["t:2", "t:1", "t:5", "t:6"]
    assert "would have 3,000,2" in listed
    assert "the limit is 2,000,000; key removed" in listed
    assert "becomes a dead letter" in process.text()
    said = place.cdc(pipeline, "verify", code=1)
    assert "4 dead letters of it are kept" in said
    assert "t.t:1" not in said

    place.execute("UPDATE t SET body = 'small' WHERE id = 1", "DELETE FROM t WHERE id IN (2, 5)")
    wait_for("the smaller row", lambda: found(place, 1) is not None, 30)
    assert process.stop() == 0, process.text()
    process = pipeline.run("--max-row-bytes", "9000000")
    place.cdc(pipeline, "dead", "retry", "--all", "--max-row-bytes", "9000000")
    wait_for("the row that was too large", lambda: is_equal(place), 30)
    assert "no dead letters" in place.cdc(pipeline, "dead", "list")
    assert process.stop() == 0, process.text()


def test_large_rows_of_a_hash_and_their_entries_in_indexes(on_mysql: Place) -> None:
    """Whole or absent, and no entry of an index leads to a row that is absent."""
    place = on_mysql
    place.execute(f"INSERT INTO t VALUES {filled(1, 3 * MB)}, {filled(2, 9)}, {filled(3, 9)}")
    settings = 'max_row_bytes = 5000000\n{t}\nas = "hash"\nindex = [{set = "of:{n}"}]\n'
    process = place.pipeline(settings.replace("{t}", f'[tables."{place.schema}.t"]')).run()
    wait_for("the rows", lambda: place.client.scard("of:0") == 3, 30)
    place.execute(
        f"UPDATE t SET n = 1, body = REPEAT('y', {4 * MB}) WHERE id = 1",
        f"UPDATE t SET body = REPEAT('y', {6 * MB}) WHERE id = 2",
        "UPDATE t SET n = 2 WHERE id = 2",
        "UPDATE t SET n = 9 WHERE id = 3",
    )
    wait_for("the last row", lambda: place.client.smembers("of:9") == {"t:3"}, 30)
    assert place.client.hgetall("t:1") == {"id": "1", "n": "1", "body": "y" * 4 * MB}
    assert place.client.smembers("of:1") == {"t:1"}
    assert place.client.exists("of:0", "of:2", "t:2") == 0
    place.execute("UPDATE t SET body = 'small' WHERE id = 2")
    wait_for("the smaller row", lambda: place.client.smembers("of:2") == {"t:2"}, 30)
    assert place.client.hget("t:2", "body") == "small"
    assert process.stop() == 0, process.text()


def test_large_rows_that_the_binlog_has_in_part_are_read_a_few_at_a_time(on_mysql: Place) -> None:
    """Their keys are read again in smaller pieces, until one read holds little."""
    place = on_mysql
    place.execute("INSERT INTO t VALUES " + ", ".join(filled(n, 2 * MB) for n in range(30)))
    process = started(place.pipeline("{t}\n"))
    wait_for("the rows", lambda: is_equal(place), 60)
    place.execute("SET SESSION binlog_row_image = 'NOBLOB'", "UPDATE t SET n = n + 1")
    wait_for("the changes", lambda: is_equal(place), 60)
    peaks = process.peak_bytes()
    assert process.stop() == 0, process.text()

    print({pid: peak >> 20 for pid, peak in peaks.items()})
    assert max(peaks.values()) < 180_000_000


@pytest.mark.timeout(180)
def test_a_row_of_64_mb_takes_a_bounded_memory(on_mysql: Place) -> None:
    """Read and updated, beside small rows: each role holds such a row a few times over."""
    place = on_mysql
    place.execute(f"INSERT INTO t VALUES {filled(1, LARGEST_BYTES)}, {filled(9, 9)}")
    pipeline = place.pipeline("{t}\n")
    process = started(pipeline)
    wait_for("the row", lambda: place.client.strlen("t:1") > LARGEST_BYTES, 100)
    place.execute("UPDATE t SET n = n + 1, body = CONCAT(body, 'more')")
    changed = LARGEST_BYTES + len("more")
    wait_for(
        "the change", lambda: place.client.strlen("t:1") > changed + len('{"id":1,"n":1}'), 100
    )
    wait_for("the row beside", lambda: (found(place, 9) or (0,))[0] == 1, 100)
    peaks = process.peak_bytes()
    assert is_equal(place)
    assert process.stop() == 0, process.text()

    print({pid: peak >> 20 for pid, peak in peaks.items()})
    assert max(peaks.values()) < PEAK_BYTES
