"""The dump connection on real servers: where it begins, and what it sees of each kind.

Each once on loopback in plain text, and once over TLS through a link that has a delay: there a
read finds nothing, half a record, or more than it asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from cdc.demo.servers import PASSWORD, MariaDB, MySQL
from cdc.errors import UnavailableError
from cdc.position import GtidSet, Position
from cdc.url import Url, parse_url
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.source import Source
from cdc_reader.publish.transaction import Assembler
from cdc_reader.resume.resume import Resume, parsed_gtid_set
from tests.conftest import NewMySQL
from tests.support.pipeline import wait_for
from tests.support.proxy import Proxy

Followed = tuple[Assembler, list[int]]
Follow = Callable[[MySQL | MariaDB, Position, str], Followed]


@pytest.fixture(params=[None, 0.001, 0.003], ids=["plain", "TLS, 1 ms", "TLS, 3 ms"])
def follow(request: pytest.FixtureRequest) -> Iterator[Follow]:
    """Read from a position until the GTID set is reached, or the newest place without GTIDs."""
    with ExitStack() as stack:

        def over_the_link(server: MySQL | MariaDB, position: Position, until: str) -> Followed:
            url = parse_url(server.url, ("mysql",))
            if request.param is not None:
                proxy = stack.enter_context(Proxy(server.port))
                proxy.delay_s = request.param
                url = replace(
                    url, hosts=(("127.0.0.1", proxy.port),), options=(("ssl-mode", "required"),)
                )
            return followed(server, url, position, until)

        yield over_the_link


def statements(server: MySQL | MariaDB, *texts: str) -> str:
    """Run statements in one session; return the GTID set after them."""
    with server.connect() as connection, connection.cursor() as cursor:
        for text in texts:
            cursor.execute(text)
        variable = "gtid_binlog_pos" if isinstance(server, MariaDB) else "gtid_executed"
        cursor.execute(f"SELECT @@global.{variable}")
        (gtid_set,) = cursor.fetchone() or ("",)
        return str(gtid_set).replace("\n", "")


def newest(server: MySQL | MariaDB) -> tuple[str, int]:
    """Return file and offset of the newest place."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(server.newest_place_sql)
        file, offset, *_ = cursor.fetchone() or ("", 0)
        return str(file), int(offset)


def followed(server: MySQL | MariaDB, url: Url, position: Position, until: str) -> Followed:
    """Read as `follow` does."""
    mariadb = isinstance(server, MariaDB)
    gtid_set: GtidSet | None = parsed_gtid_set(position, mariadb=mariadb)

    async def read() -> Followed:
        source = await Source.open(url, position, mariadb=mariadb)
        assembler = Assembler(
            resume=Resume(epoch=1, position=position, last=""),
            gtid_set=gtid_set,
            targets={},
            mariadb=mariadb,
            on_schema_change="stop",
        )
        kinds: list[int] = []
        try:
            async with asyncio.timeout(20):
                while not _reached(assembler.position, until, newest(server)):
                    taken = len(kinds)
                    while taken == len(kinds):
                        for event in source.packets.feed(await source.read(0.2)):
                            assembler.take(event)
                            kinds.append(event.kind)
        finally:
            source.close()
        return assembler, kinds

    return asyncio.run(read())


def _reached(position: Position, until: str, place: tuple[str, int]) -> bool:
    if position.gtid_set is not None:
        return position.gtid_set == until
    return (position.file, position.offset) == place


def count(kinds: Iterable[int], *wanted: int) -> int:
    """Return how many events are of these kinds."""
    return sum(kind in wanted for kind in kinds)


def test_a_server_without_a_single_transaction_is_followed_from_its_beginning(
    new_mysql: NewMySQL, follow: Follow
) -> None:
    """The library takes an empty set for no set, and would begin at the end of the log."""
    server = new_mysql()
    until = statements(server, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)")
    file, _ = newest(server)
    _, kinds = follow(server, Position(file=file, offset=4, gtid_set=""), until)

    assert count(kinds, ev.GTID) == 2


def test_tagged_and_compressed_transactions_are_seen_and_remembered(
    new_mysql: NewMySQL, follow: Follow
) -> None:
    """A tag, or a session that compresses, hides no transaction from the reader."""
    server = new_mysql()
    start = statements(server, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)")
    file, offset = newest(server)
    until = statements(
        server,
        "SET gtid_next = 'AUTOMATIC:mytag'",
        "INSERT INTO d.t VALUES (1)",
        "SET gtid_next = 'AUTOMATIC'",
        "SET binlog_transaction_compression = ON",
        "INSERT INTO d.t VALUES (2)",
    )
    assembler, kinds = follow(server, Position(file=file, offset=offset, gtid_set=start), until)

    assert ":mytag:1" in until
    assert count(kinds, ev.GTID_TAGGED) == 1
    assert count(kinds, ev.TRANSACTION_PAYLOAD) == 1
    assert (assembler.position.file, assembler.position.offset) == newest(server)
    after = statements(server, "INSERT INTO d.t VALUES (3)")
    _, kinds = follow(server, assembler.position, after)

    assert count(kinds, ev.GTID, ev.GTID_TAGGED) == 1


def test_without_gtids_file_and_offset_lead_over_rotations(
    new_mysql: NewMySQL, follow: Follow
) -> None:
    """The boundary follows FLUSH LOGS to the new file, also while nothing is written."""
    server = new_mysql(gtid=False)
    file, offset = newest(server)
    statements(server, "CREATE DATABASE d", "FLUSH BINARY LOGS", "CREATE DATABASE e")
    statements(server, "FLUSH BINARY LOGS")
    assembler, _ = follow(server, Position(file=file, offset=offset, gtid_set=None), "")

    assert assembler.position.file == "binlog.000003"
    assert (assembler.position.file, assembler.position.offset) == newest(server)


def test_a_server_is_followed_by_its_gtids(any_server: MySQL | MariaDB, follow: Follow) -> None:
    """The position is the set that the server has, and ends where the server reports.

    An event of more than one packet (16 MiB) comes whole.
    """
    start = statements(any_server, "CREATE DATABASE d_source")
    file, offset = newest(any_server)
    until = statements(
        any_server,
        "CREATE TABLE d_source.t (id INT PRIMARY KEY, a LONGTEXT, b LONGTEXT)",
        "INSERT INTO d_source.t (id) VALUES (1), (2)",
        "INSERT INTO d_source.t VALUES (3, REPEAT('a', 9 << 20), REPEAT('b', 9 << 20))",
        "DROP DATABASE d_source",
    )
    begin = Position(file=file, offset=offset, gtid_set=start)
    assembler, kinds = follow(any_server, begin, until)

    assert count(kinds, ev.GTID, ev.MARIADB_GTID) == 4
    assert (assembler.position.file, assembler.position.offset) == newest(any_server)


def test_a_connection_that_is_reset_behind_the_dump_command_is_waited_for(mysql: MySQL) -> None:
    """The socket is taken over from the library: what breaks then is the connection, no bug."""
    position = Position(file="binlog.000001", offset=4, gtid_set="")

    async def open_it(proxy: Proxy) -> Source:
        url = parse_url(f"mysql://root:{PASSWORD}@127.0.0.1:{proxy.port}", ("mysql",))
        return await Source.open(url, position, mariadb=False)

    async def whole(proxy: Proxy) -> int:
        source = await open_it(proxy)
        assert await source.read(10)
        sent_bytes = proxy.passed("up")
        source.close()
        return sent_bytes

    async def reset_behind(proxy: Proxy) -> None:
        opening = asyncio.create_task(open_it(proxy))
        await asyncio.sleep(0)  # its thread begins, and this one holds the loop
        wait_for("the cut", lambda: proxy.cuts == 1)
        assert proxy.cut() == 0  # the proxy's loop has been round: the RST is out
        with pytest.raises(UnavailableError, match="broke"):
            await opening

    with Proxy(mysql.port) as proxy:
        sent_bytes = asyncio.run(whole(proxy))
        proxy.cut_next = lambda: ("up", sent_bytes, True)
        asyncio.run(reset_behind(proxy))
