"""Files of a real server's binlog: written in other ways, rotated, purged while nobody reads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cdc.demo.servers import MariaDB, MariaDB1011, MySQL, MySQL80
from tests.support.assembled import read_binlog
from tests.support.sql_bench import Bench
from tests.support.tally import seeded

KINDS = (MySQL, MySQL80, MariaDB, MariaDB1011)


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A server of this module's own, whose globals may be changed, with a captured table."""
    with ExitStack() as stack:
        server: MySQL | MariaDB = request.param()
        stack.enter_context(server)
        bench = Bench(server)
        stack.callback(bench.close)
        bench.execute("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT)")
        yield bench


@pytest.fixture(autouse=True)
def as_it_was(bench: Bench) -> Iterator[None]:
    """Give the servers their own checksums back."""
    yield
    bench.execute("SET GLOBAL binlog_checksum = CRC32")


@pytest.mark.parametrize("first", ["NONE", "CRC32"])
@pytest.mark.parametrize("last", ["NONE", "CRC32"])
def test_each_file_is_read_with_its_own_checksum(bench: Bench, first: str, last: str) -> None:
    """Whatever a reading begins and ends in, and whatever the server writes by then."""
    places = []
    for checksum in (first, "NONE", "CRC32", "NONE", "CRC32", last):
        bench.execute(f"SET GLOBAL binlog_checksum = {checksum}")
        places.append(bench.place())
        bench.execute("INSERT INTO t (a) VALUES (1), (2)")
    for left, place in enumerate(reversed(places), 1):
        assert len(read_binlog(bench.server, place, [bench.table("t")]).changes) == 2 * left


def test_checksums_that_change_again_and_again_lose_nothing(bench: Bench) -> None:
    """Many files of both kinds, rotated by hand between them: every row comes."""
    chance: random.Random = seeded()
    place, rows = bench.place(), 0
    for _ in range(20):
        checksum = chance.choice(("NONE", "CRC32"))
        bench.execute(f"SET GLOBAL binlog_checksum = {checksum}")
        for _ in range(chance.randrange(3)):
            bench.execute("INSERT INTO t (a) VALUES (1)")
            rows += 1
        if chance.random() < 0.5:
            bench.execute("FLUSH BINARY LOGS")

    assert len(read_binlog(bench.server, place, [bench.table("t")]).changes) == rows
