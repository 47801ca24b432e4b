"""A NATS of three servers: leaders change, servers go and come back with less than they had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import NewMySQL, NewRedis
from tests.support.bench import Bench
from tests.support.lost_writes import Saved
from tests.support.nats_cluster import NatsCluster
from tests.support.ordeal import ordeal
from tests.support.tally import TALLY, seeded

pytestmark = pytest.mark.timeout(300)

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
