"""Servers are restarted in the middle of transactions, and frozen for longer than anybody waits."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from cdc.url import parse_url
from cdc_reader.binlog.source import Source
from cdc_reader.resume.server_log import read_server_log
from tests.support.bench import Bench
from tests.support.depth import by_depth
from tests.support.ordeal import ordeal
from tests.support.pipeline import wait_for
from tests.support.tally import seeded

pytestmark = pytest.mark.timeout(400)

ROUNDS = by_depth(4, full=18)
"""Each restarts NATS and Redis, every second one MySQL too."""
FROZEN_S = 18.0
"""Longer than any of our timeouts."""
FREEZES = by_depth(2, full=6)
DUMPS_KILLED = by_depth(2, full=8)
UNREAD_MIB = 24


def test_servers_restarted_again_and_again(bench: Bench) -> None:
    """SIGTERM and SIGKILL in turn, in the middle of transactions of 300 rows."""
    chance = seeded()
    with bench.pipeline as pipeline:
        processes = pipeline.impatient()
        bench.wait_for_progress()
        with ordeal(bench, chance, *processes, pause_s=0.005, sizes=(1, 5, 300)) as writer:
            for number in range(ROUNDS):
                kill = bool(number // 2 % 2)
                for server in chance.sample([bench.nats, bench.redis], k=2):
                    bench.restart(server, kill=kill)
                    bench.wait_for_progress()
                if number % 2:
                    bench.restart(bench.mysql, kill=kill)
                    writer.wait_for_commits(2)
                    bench.wait_for_progress()
            bench.recovered("servers restarted again and again")


def test_servers_frozen_for_longer_than_anybody_waits(bench: Bench) -> None:
    """SIGSTOP of all three: each is given up, said so, and gone on with when it wakes up."""
    chance = seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_for_progress()
        with ordeal(bench, chance, process, pause_s=0.01) as writer:
            bench.wait_for_progress()
            servers = list(bench.servers.values())
            for server in servers:
                server.pause()
            end_s = time.monotonic() + FROZEN_S
            # What is proved is that this time has passed.
            wait_for("the time to pass", lambda: time.monotonic() > end_s)
            said = process.text()
            chance.shuffle(servers)
            for server in servers:
                server.resume()
            assert "waiting for a server" in said
            assert "sink waiting" in said
            bench.recovered("servers frozen for 18 s")
            writer.wait_for_commits()


def test_a_frozen_reader_is_fenced_when_it_wakes_up(bench: Bench) -> None:
    """While it is frozen another one goes on; what it held in its hands is refused."""
    chance = seeded()
    with bench.pipeline as pipeline:
        sink = pipeline.process("--role", "sink", name="sink").start()
        readers = [
            pipeline.process("--role", "reader", name=f"reader-{n}-").start() for n in (0, 1)
        ]
        bench.wait_for_progress()
        with ordeal(bench, chance, sink, *readers) as writer:
            for frozen in itertools.islice(itertools.cycle(readers), FREEZES):
                bench.wait_for_progress()
                frozen.freeze()
                writer.wait_for_commits(20)
                bench.recovered("the other reader frozen")
                frozen.thaw()
                writer.wait_for_commits(5)
            wait_for(
                "a refused flush",
                lambda: any("another reader publishes" in reader.text() for reader in readers),
            )


def test_a_reader_that_does_not_read_is_dropped_by_mysql_and_goes_on(bench: Bench) -> None:
    """Frozen until MySQL ends the dump that it cannot write; its memory stays as it was."""
    chance = seeded()
    with bench.mysql.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE beside (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)")
    with bench.pipeline as pipeline:
        sink = pipeline.process("--role", "sink", name="sink").start()
        reader = pipeline.process("--role", "reader", name="reader").start()
        bench.wait_for_progress()
        with ordeal(bench, chance, sink, reader, pause_s=0.02) as writer:
            reader.freeze()
            with bench.mysql.connect("shop") as connection, connection.cursor() as cursor:
                for _ in range(UNREAD_MIB):
                    cursor.execute("INSERT INTO beside (b) VALUES (REPEAT('x', 1 << 20))")
                # As net_write_timeout does, which our session sets to 120 s.
                wait_for("MySQL to end the dump", lambda: not bench.kill_dumps())
            writer.wait_for_commits()
            reader.thaw()
            bench.recovered("a reader frozen until its dump was closed")
            (peak_bytes,) = reader.peak_bytes().values()
            assert peak_bytes < 250 << 20


def test_dump_threads_killed_in_a_loop(bench: Bench) -> None:
    """The end of a dump is no success: each time it goes on where it was."""
    chance = seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_for_progress()
        with ordeal(bench, chance, process, pause_s=0.005):
            killed = 0
            while killed < DUMPS_KILLED:
                killed += bench.kill_dumps()
                bench.wait_for_progress()
            bench.recovered("dump threads killed in a loop")
        assert "MySQL ended the binlog dump" in process.text() or "closed" in process.text()


OUR_ID = 4711
TWINS = by_depth(1, full=3)


async def _dump_with_our_id(bench: Bench) -> int:
    """Read a dump as another client with the same server_id does; return how much came."""
    with bench.mysql.connect() as connection:
        log = read_server_log(connection, mariadb=False, gtid=True, server="")
    url = parse_url(bench.mysql.url, ("mysql",))
    twin = await Source.open(url, log.newest, mariadb=False, server_id=OUR_ID)
    try:
        return len(await twin.read(5.0))
    finally:
        twin.close()


def test_a_twin_with_our_server_id_changes_nothing(bench: Bench) -> None:
    """Two dumps with one id: the servers tell them apart, and an ended dump is begun again."""
    chance = seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run("--server-id", str(OUR_ID))
        bench.wait_for_progress()
        with ordeal(bench, chance, process, pause_s=0.01):
            for _ in range(TWINS):
                assert asyncio.run(_dump_with_our_id(bench)) > 0
                bench.recovered("another client with our server_id")
