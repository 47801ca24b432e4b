"""A Redis that leaves commands out, as managed ones do, or whose login lacks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from cdc.demo.servers import MySQL, Nats, Redis, Redis70
from tests.support.checking import check, found
from tests.support.commands import assert_every_command_works

LEFT_OUT = ("ROLE", "CLIENT", "CONFIG", "MEMORY", "WAIT")
RENAMED = tuple(word for name in LEFT_OUT for word in ("--rename-command", name, ""))


@pytest.fixture
def followed(mysql: MySQL, fresh_schema: str) -> str:
    """Name of a schema with `your_table`."""
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {fresh_schema}.your_table (id INT PRIMARY KEY, name TEXT)")
    return fresh_schema


def environment(mysql: MySQL, nats: Nats, schema: str, url: str) -> dict[str, str]:
    """Return what cdc needs, with a stream and a pipeline of this test's own."""
    return {
        "CDC_MYSQL_URL": f"{mysql.url}/{schema}",
        "CDC_NATS_URL": nats.url,
        "CDC_REDIS_URL": url,
        "CDC_STREAM": schema,
        "CDC_SUBJECT_PREFIX": schema,
        "CDC_PIPELINE": schema,
        "CDC_TABLES": f"{schema}.your_table",
    }


@pytest.mark.parametrize(
    ("server", "rights", "warnings"),
    [
        (Redis(RENAMED), "", ()),
        (Redis70(), "-role -client -config -info", ("does not tell what it is",)),
    ],
    ids=["left out", "denied"],
)
def test_every_command_works_without_what_managed_servers_leave_out(
    server: Redis,
    rights: str,
    warnings: tuple[str, ...],
    mysql: MySQL,
    nats: Nats,
    followed: str,
    tmp_path: Path,
) -> None:
    """Neither ROLE nor CLIENT, CONFIG and INFO are needed; what is not known then is said."""

    def write(statement: str) -> None:
        with mysql.connect(followed) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    with server:
        client: Any = redis.Redis(port=server.port)
        url = server.url
        if rights:
            client.execute_command(
                "ACL", "SETUSER", "cdc", "on", ">pw", "~*", "+@all", *rights.split()
            )
            url = f"redis://cdc:pw@127.0.0.1:{server.port}/0"
        told = environment(mysql, nats, followed, url)
        assert_every_command_works(told, tmp_path, client=client, write=write, warnings=warnings)


def test_a_replica_is_found_without_role(mysql: MySQL, followed: str) -> None:
    """INFO says it too."""
    with Redis() as master, Redis(RENAMED) as replica:
        client: Any = redis.Redis(port=replica.port)
        client.execute_command("REPLICAOF", "127.0.0.1", str(master.port))
        (finding,) = found(
            check(mysql, replica, tables=(f"{followed}.your_table",)), "redis"
        ).values()
    assert finding.id == "redis.role"
    assert f"127.0.0.1:{master.port}" in finding.fix.text()


@pytest.mark.parametrize("name", ["WATCH", "SCAN", "HINCRBY", "UNLINK"])
def test_a_command_that_is_needed_and_left_out_is_named(
    name: str, mysql: MySQL, followed: str
) -> None:
    """Not as a bug of cdc, and before a role starts."""
    with Redis(("--rename-command", name, "")) as server:
        report = check(mysql, server, tables=(f"{followed}.your_table",))
    seen = [one.seen for one in report.findings if one.id.startswith("redis") and one.stops]
    assert len(seen) == 1, seen
    assert name in seen[0]
