"""Large values beside what is captured: they pass, and take no memory."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from cdc.demo.servers import MariaDB, MySQL, Nats, Redis, start_together
from tests.support.pipeline import Pipeline, wait_for

VALUE_BYTES = 80_000_000
PEAK_BYTES = 100_000_000
"""A process that held one value once would come to 130 MB."""
MAX_PACKET = "--max-allowed-packet=1G"
COMMON = (MAX_PACKET, "--skip-innodb-doublewrite", "--sync-binlog=0")


def servers() -> list[MySQL | MariaDB]:
    """Return servers that take such values, not started."""
    return [
        MySQL(options=(*COMMON, "--innodb-redo-log-capacity=4G")),
        MariaDB((*COMMON, "--innodb-log-file-size=3G")),
    ]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", [0, 1], ids=["MySQL", "MariaDB"])
def test_a_large_value_in_a_table_that_is_not_captured_takes_no_memory(
    kind: int, tmp_path: Path
) -> None:
    """Its row, the text of its statement, and both inside a compressed transaction."""
    server, nats, redis_server = servers()[kind], Nats(), Redis()
    with ExitStack() as stack:
        start_together(stack, server, nats, redis_server)
        client = redis.Redis(port=redis_server.port)
        connection = stack.enter_context(server.connect())
        cursor = stack.enter_context(connection.cursor())
        cursor.execute("CREATE DATABASE shop")
        cursor.execute("USE shop")
        cursor.execute("CREATE TABLE marks (id INT PRIMARY KEY, n INT)")
        cursor.execute("CREATE TABLE beside (id INT PRIMARY KEY, b LONGTEXT CHARACTER SET latin1)")
        pipeline = stack.enter_context(
            Pipeline(
                tmp_path, mysql=server.url, nats=nats.url, redis=redis_server.url, tables="marks"
            )
        )
        process = pipeline.run()
        wait_for("all tables", lambda: '"rows read"' in process.text())

        cursor.execute("INSERT INTO marks VALUES (1, 0)")
        if kind == 0:
            cursor.execute("SET SESSION binlog_rows_query_log_events = ON")
        text = f"CONCAT('INSERT INTO beside VALUES (1, ''', REPEAT('x', {VALUE_BYTES}), ''')')"
        # The server's own PREPARE: the text comes from here by no network.
        cursor.execute(f"SET @text = {text}")
        cursor.execute("PREPARE large FROM @text")
        cursor.execute("SET @text = NULL")
        changes = [
            "EXECUTE large",
            f"INSERT INTO beside VALUES (2, REPEAT('x', {VALUE_BYTES}))",
            "DELETE FROM beside",
        ]
        number = 1
        for compressed in (False, True)[: 2 - kind]:
            if compressed:
                cursor.execute("SET SESSION binlog_transaction_compression = ON")
            for change in changes:
                number += 1
                cursor.execute("BEGIN")
                cursor.execute("INSERT INTO marks VALUES (%s, 1)", (number,))
                cursor.execute(change)
                cursor.execute("UPDATE marks SET n = n + 1")
                cursor.execute("COMMIT")
        wait_for("the last row", lambda: client.get(f"marks:{number}") is not None, 120)
        last = f'{{"id":1,"n":{number - 1}}}'.encode()
        wait_for("the last change", lambda: client.get("marks:1") == last, 120)
        peaks = process.peak_bytes()
        assert process.stop() == 0, process.text()
        got = {client.get(f"marks:{id_}") for id_ in range(1, number + 1)}
        cursor.execute("SELECT CONCAT('{\"id\":', id, ',\"n\":', n, '}') FROM marks")
        assert got == {row[0].encode() for row in cursor.fetchall()}

    print({pid: peak >> 20 for pid, peak in peaks.items()})
    assert max(peaks.values()) < PEAK_BYTES
