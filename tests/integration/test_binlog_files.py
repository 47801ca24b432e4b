"""Files of a real server's binlog, written in other ways and rotated: read as they are."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from cdc.demo.servers import MariaDB, MariaDB1011, MySQL, MySQL80
from tests.support.following import Follower
from tests.support.tally import seeded


@pytest.fixture(scope="module", params=(MySQL, MySQL80, MariaDB, MariaDB1011))
def follower(request: pytest.FixtureRequest) -> Iterator[Follower]:
    """A captured table on a server of this module's own, whose globals may be changed."""
    server: MySQL | MariaDB = request.param()
    with server, Follower(server) as follower:
        follower.execute("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT)")
        follower.capture("t")
        yield follower


@pytest.fixture(autouse=True)
def as_it_was(follower: Follower) -> Iterator[None]:
    """Give the servers their own checksums back."""
    yield
    follower.execute("SET GLOBAL binlog_checksum = CRC32")


@pytest.mark.parametrize("first", ["NONE", "CRC32"])
@pytest.mark.parametrize("last", ["NONE", "CRC32"])
def test_each_file_is_read_with_its_own_checksum(follower: Follower, first: str, last: str) -> None:
    """Wherever reading begins and ends, and with any events that the server writes meanwhile."""
    places = []
    for checksum in (first, "NONE", "CRC32", "NONE", "CRC32", last):
        follower.execute(f"SET GLOBAL binlog_checksum = {checksum}")
        places.append(follower.newest())
        follower.execute("INSERT INTO t (a) VALUES (1), (2)")
    for left, place in enumerate(reversed(places), 1):
        follower.position = place
        assert len(follower.read()) == 2 * left


def test_checksums_that_change_again_and_again_lose_nothing(follower: Follower) -> None:
    """Many files of both kinds, rotated by hand between them: every row comes."""
    chance: random.Random = seeded()
    follower.position, rows = follower.newest(), 0
    for _ in range(20):
        checksum = chance.choice(("NONE", "CRC32"))
        follower.execute(f"SET GLOBAL binlog_checksum = {checksum}")
        for _ in range(chance.randrange(3)):
            follower.execute("INSERT INTO t (a) VALUES (1)")
            rows += 1
        if chance.random() < 0.5:
            follower.execute("FLUSH BINARY LOGS")

    assert len(follower.read()) == rows
