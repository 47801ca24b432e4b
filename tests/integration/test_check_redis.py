"""Every finding about Redis, provoked for real, and gone once its fix has been run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from cdc.check.finding import Finding
from cdc.demo.servers import MySQL, Redis, start_together
from cdc.settings import Settings
from redis_sink.plan.applied import Applied, encode
from tests.support.checking import check, found, redis_cli

ROWS = 2000


@dataclass
class Place:
    """A Redis of these tests, and a MySQL with a table."""

    redis: Redis
    mysql: MySQL
    table: str

    def client(self) -> Any:
        return redis.Redis(port=self.redis.port, decode_responses=True)

    def findings(self, *urls: Redis | str, **flags: Any) -> dict[str, Finding]:
        report = check(self.mysql, *(urls or (self.redis,)), tables=(self.table,), **flags)
        return found(report, "redis")


@pytest.fixture(scope="module")
def servers() -> Iterator[Redis]:
    """One Redis for all tests that leave it as it was."""
    with ExitStack() as stack:
        server = Redis()
        start_together(stack, server)
        yield server


@pytest.fixture
def place(servers: Redis, mysql: MySQL, fresh_schema: str) -> Place:
    """A table with rows, and an empty Redis."""
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {fresh_schema}.users (id INT PRIMARY KEY, name TEXT)")
        rows = [(n, "x" * 900) for n in range(ROWS)]
        cursor.executemany(f"INSERT INTO {fresh_schema}.users VALUES (%s, %s)", rows)
    made = Place(servers, mysql, f"{fresh_schema}.users")
    made.client().flushall()
    return made


def test_a_redis_that_is_set_up_well_has_no_findings(place: Place) -> None:
    """Also with all its rights in one login."""
    assert place.findings() == {}


def test_eviction(place: Place) -> None:
    """The command switches it off."""
    place.client().config_set("maxmemory-policy", "allkeys-lru")
    (finding,) = place.findings().values()

    assert (finding.id, finding.stops) == ("redis.eviction", False)
    redis_cli(place.redis, finding)
    assert place.findings() == {}


def test_memory(place: Place) -> None:
    """Less than the estimate of 2000 rows of 900 bytes; the command gives room."""
    used = int(place.client().info("memory")["used_memory"])
    place.client().config_set("maxmemory", str(used + 1_000_000))
    try:
        (finding,) = place.findings().values()
        assert (finding.id, finding.stops) == ("redis.memory", False)
        redis_cli(place.redis, finding)
        assert place.findings() == {}
    finally:
        place.client().config_set("maxmemory", "0")


def test_the_estimate_of_memory_is_near(place: Place) -> None:
    """The rows as cdc would write them take between half and all of the estimate."""
    report = check(place.mysql, place.redis, tables=(place.table,))
    estimated = report.sizes[place.table].redis_bytes
    client = place.client()
    before = int(client.info("memory")["used_memory"])
    values = {f"users:{n}": f'{{"id":{n},"name":"{"x" * 900}"}}' for n in range(ROWS)}
    client.mset(values)
    taken = int(client.info("memory")["used_memory"]) - before

    assert estimated / 2 < taken <= estimated


def test_persistence(place: Place) -> None:
    """Neither file; the command makes one.  With only snapshots it is no finding."""
    place.client().config_set("appendonly", "no")
    (finding,) = place.findings().values()

    assert (finding.id, finding.stops) == ("redis.persistence", False)
    redis_cli(place.redis, finding)
    assert place.findings() == {}
    place.client().config_set("appendonly", "no")
    place.client().config_set("save", "3600 1")
    assert place.findings() == {}
    place.client().config_set("appendonly", "yes")
    place.client().config_set("save", "")


def test_keys_of_somebody_else(place: Place) -> None:
    """They stop a first start; --adopt takes them over, another template stays away."""
    place.client().set("users:1", "legacy")
    place.client().set("user:1", "legacy")
    (finding,) = place.findings().values()

    assert (finding.id, finding.stops) == ("redis.foreign-keys", True)
    assert "1 key exists in Redis already" in finding.seen
    assert place.findings(adopt=True) == {}
    assert place.findings(key="u:{id}") == {}
    assert place.client().dbsize() == 2


def test_keys_of_ours_are_not_foreign(place: Place) -> None:
    """Where a position of this pipeline and stream stands, nothing is looked for."""
    place.client().set("users:1", "ours")
    at = Applied(stream=Settings().stream, created="2026-11-23T12:00:06.98Z", seq=1)
    place.client().set("cdc:default:position", encode(at))

    assert place.findings() == {}


def test_a_position_that_is_not_this_pipeline_s(place: Place) -> None:
    """Of another stream, of another number of partitions, or no position at all."""
    at = Applied(stream="OTHER", created="2026-11-23T12:00:06.98Z", seq=1)
    place.client().set("cdc:default:position", encode(at))
    (finding,) = place.findings().values()

    assert (finding.id, finding.stops) == ("redis.position", True)
    assert "set stream to OTHER" in finding.fix.text()
    assert finding.error().exit_code == 65
    assert place.findings(stream="OTHER") == {}
    place.client().set("cdc:default:position", "junk")
    assert set(place.findings()) == {"redis.position"}
    assert place.findings(pipeline="two") == {}


# -- rights ----------------------------------------------------------------------------

LOGIN = "+multi +exec +watch +get +role +select +client|setname +info +scan"


def login(place: Place, rights: str) -> str:
    """Return the URL of a user with these rights."""
    words = f"ACL SETUSER cdc reset on >pw {rights}"
    place.client().execute_command(*words.split())
    return f"redis://cdc:pw@127.0.0.1:{place.redis.port}/0"


def test_rights(place: Place) -> None:
    """Nothing is written while they are tried; the command gives what lacks, and no more."""
    url = login(place, f"~* {LOGIN}")
    report = check(place.mysql, url, tables=(place.table,))
    lacking = [f for f in report.findings if f.id == "redis.rights"]

    assert [f.stops for f in lacking] == [True, False]
    assert place.client().dbsize() == 0
    for finding in lacking:
        redis_cli(place.redis, finding)
    assert place.findings(url) == {}
    granted = place.client().acl_getuser("cdc")["commands"]
    assert "+hset" not in granted
    assert {"+set", "+mset", "+unlink", "+hincrby", "+sadd", "+smismember"} <= set(granted)
    client: Any = redis.Redis(port=place.redis.port, username="cdc", password="pw")
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.flushall()


def test_rights_on_keys(place: Place) -> None:
    """All commands and other keys: the keys of the table and of the pipeline lack."""
    url = login(place, f"~other:* +set +mset +unlink +hset +hincrby +sadd +smismember {LOGIN}")
    (finding,) = place.findings(url).values()  # not even WATCH of the position
    assert (finding.id, finding.error().exit_code) == ("redis.rights", 77)
    redis_cli(place.redis, finding)
    assert place.findings(url) == {}

    url = login(place, f"~cdc:* +@write +smismember {LOGIN}")
    (finding,) = place.findings(url).values()
    assert (finding.id, finding.stops) == ("redis.rights", True)
    assert "'~users:*'" in finding.fix.command
    redis_cli(place.redis, finding)
    assert place.findings(url) == {}


def test_a_login_without_any_right(place: Place) -> None:
    """One command gives all that cdc needs, and nothing else."""
    url = login(place, "")
    (finding,) = place.findings(url).values()

    assert (finding.id, finding.stops) == ("redis.rights", True)
    redis_cli(place.redis, finding)
    assert place.findings(url) == {}
    client: Any = redis.Redis(port=place.redis.port, username="cdc", password="pw")
    for command in (("FLUSHALL",), ("GET", "other:1"), ("KEYS", "*"), ("CONFIG", "GET", "*")):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)


def test_rights_of_hashes(place: Place) -> None:
    """The model hash needs HSET."""
    url = login(place, f"~* +@write -hset +smismember {LOGIN}")

    assert place.findings(url) == {}
    (finding,) = place.findings(url, **{"as": "hash"}).values()
    assert "HSET" in finding.seen
    redis_cli(place.redis, finding)
    assert place.findings(url, **{"as": "hash"}) == {}


def test_without_info(place: Place) -> None:
    """What INFO would have said is not checked, and that is said."""
    url = login(place, f"~* +@write +smismember {LOGIN} -info")
    (finding,) = place.findings(url).values()

    assert (finding.id, finding.stops) == ("redis.info", False)
    redis_cli(place.redis, finding)
    assert place.findings(url) == {}


def test_a_refused_login_and_a_server_that_is_away(place: Place) -> None:
    """Each is one finding."""
    assert set(place.findings(f"redis://x:y@127.0.0.1:{place.redis.port}/0")) == {"redis.refused"}
    assert set(place.findings("redis://127.0.0.1:1/0")) == {"redis.unreachable"}


# -- what the server is ------------------------------------------------------------------


def test_a_replica(place: Place) -> None:
    """The command makes it a master; the master's address is told."""
    with Redis() as replica:
        client: Any = redis.Redis(port=replica.port)
        client.execute_command("REPLICAOF", "127.0.0.1", str(place.redis.port))
        (finding,) = place.findings(replica).values()

        assert (finding.id, finding.stops) == ("redis.role", True)
        assert f"127.0.0.1:{place.redis.port}" in finding.fix.text()
        redis_cli(replica, finding)
        assert place.findings(replica) == {}


def test_a_cluster(place: Place) -> None:
    """Restarted with the line, it is none."""
    with Redis(("--cluster-enabled", "yes")) as server:
        (finding,) = place.findings(server).values()
        assert (finding.id, finding.stops) == ("redis.cluster", True)
        assert finding.fix.file is not None
        assert finding.fix.file[0] == "redis.conf"
        server.stop()
        server.args += tuple(f"--{finding.fix.file[1]}".split())
        server.start()
        assert place.findings(server) == {}
