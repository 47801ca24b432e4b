"""A NATS of three servers: leaders change, servers go and come back with less than they had."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdc.demo.servers import Nats
from cdc.errors import UnavailableError
from cdc.jetstream.stream import (
    Connection,
    api,
    close,
    connect,
    declare_dead_letters,
    declare_stream,
)
from cdc.settings import Settings
from cdc.url import parse_url
from tests.conftest import NewMySQL, NewRedis
from tests.support.bench import Bench
from tests.support.depth import by_depth
from tests.support.lost_writes import Saved
from tests.support.nats_cluster import NODES, NatsCluster
from tests.support.ordeal import ordeal
from tests.support.sinking import LOG
from tests.support.tally import TALLY, seeded

pytestmark = pytest.mark.timeout(300)

ROUNDS = by_depth(1, full=3)
"""Of making streams."""
WHOLE = ("--stream-replicas", "3")


@dataclass
class Three:
    """A pipeline on a cluster."""

    bench: Bench
    cluster: NatsCluster


@pytest.fixture
def three(new_mysql: NewMySQL, new_redis: NewRedis, tmp_path: Path) -> Iterator[Three]:
    """The pipeline knows the addresses of all three."""
    with ExitStack() as stack:
        cluster = NatsCluster(stack)
        mysql = new_mysql(options=("--sync-binlog=0",))
        bench = Bench(mysql, cluster.nodes[0], new_redis(), tmp_path)
        bench.pipeline.environment["CDC_NATS_URL"] = cluster.url
        yield Three(bench, cluster)


@pytest.mark.parametrize("partitions", [1, 3])
def test_leaders_that_die_freeze_and_step_down(three: Three, partitions: int) -> None:
    """The two others go on with all that was acknowledged; the third catches up."""
    bench, cluster, chance = three.bench, three.cluster, seeded()
    faults = ["a NATS leader killed", "a NATS leader frozen", "a NATS leader stepped down"]
    chance.shuffle(faults)
    with bench.pipeline as pipeline:
        process = pipeline.run(*WHOLE, "--partitions", str(partitions))
        bench.wait_for_progress()
        with ordeal(bench, chance, process, pause_s=0.005) as writer:
            for fault in faults:
                writer.wait_for_commits(chance.randint(20, 200))
                leader = cluster.leader(asked=cluster.nodes[0])
                if fault.endswith("down"):
                    cluster.step_down(asked=leader)
                    bench.recovered(fault)
                    continue
                if fault.endswith("killed"):
                    leader.kill()
                    TALLY.count("SIGKILL")
                else:
                    leader.pause()
                bench.recovered(fault)
                if fault.endswith("killed"):
                    leader.start()
                    TALLY.count("restart")
                else:
                    leader.resume()
                cluster.wait_until_whole()


def test_many_that_make_the_streams_of_a_cluster_at_once(three: Three) -> None:
    """A cluster names a stream before it can be asked about it; all end with the same ones."""
    nodes = three.cluster.nodes

    async def declare(nc: Connection, node: Nats) -> tuple[str, str]:
        url = parse_url(node.url, ("nats",))
        settings = Settings(nats=url, stream_replicas=NODES)
        while True:  # as both roles do where a server does not answer
            with suppress(UnavailableError):
                created = (await declare_stream(nc, settings)).created
                return created, await declare_dead_letters(nc, settings)

    async def run() -> None:
        async with AsyncExitStack() as stack, asyncio.timeout(120):
            processes = []
            for node in nodes * 4:
                nc = await connect(node.url, name="test", inbox_prefix="_INBOX_test", log=LOG)
                stack.push_async_callback(close, nc)
                processes.append((nc, node))
            for _ in range(ROUNDS):
                calls = (declare(nc, node) for nc, node in processes)
                assert len(set(await asyncio.gather(*calls))) == 1
                for name in ("MYSQL", "MYSQL_DEAD"):
                    await api(processes[0][0], f"STREAM.DELETE.{name}")

    asyncio.run(run())


def test_two_of_three_go_and_one_comes_back_with_less(three: Three, tmp_path: Path) -> None:
    """Without a majority nothing is acknowledged; an old copy of one is overruled by the others."""
    bench, cluster, chance = three.bench, three.cluster, seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run(*WHOLE)
        bench.wait_for_progress()
        with ordeal(bench, chance, process, pause_s=0.005) as writer:
            cluster.wait_until_whole()
            leader = cluster.leader(asked=cluster.nodes[0])
            saved = Saved(leader, tmp_path / "node")
            writer.wait_for_commits(chance.randint(50, 200))
            bench.wait_for_progress()
            other = chance.choice(cluster.others(leader))
            other.kill()
            TALLY.count("SIGKILL")
            saved.put_back()  # one intact, one behind, one away
            writer.wait_for_commits(20)
            other.start()
            TALLY.count("restart")
            bench.recovered("two of three NATS servers away, one with an older copy")
