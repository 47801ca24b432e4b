"""Rights that are taken away while it runs, and given again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import Bench
from tests.support.ordeal import end_well, ordeal
from tests.support.pipeline import Process, wait_for
from tests.support.tally import seeded

pytestmark = pytest.mark.timeout(200)

NO_RIGHT = 77
PUBLISH = ("mysql.>", "cdc.dead.>", "cdc.sink.>", "$JS.API.>")
USERS = """
accounts {{ A {{ jetstream: enabled, users: [
  {{user: root, password: root}}
  {{user: cdc, password: geheim, permissions: {{
    publish: {{allow: [{allow}], deny: [{deny}]}}, subscribe: ">"}}}}
] }} }}
no_auth_user: root
"""


def users(*denied: str) -> str:
    """Return the logins of NATS: one with all rights, and that of cdc."""
    allow, deny = (", ".join(f'"{subject}"' for subject in of) for of in (PUBLISH, denied))
    return USERS.format(allow=allow, deny=deny)


@pytest.fixture
def bench(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Bench:
    """Servers on which the pipeline has a login with what it needs."""
    mysql = new_mysql(options=("--sync-binlog=0",))
    out = Bench(mysql, new_nats(users()), new_redis(), tmp_path)
    out.execute("CREATE USER cdc@localhost IDENTIFIED BY 'geheim'", *grants("GRANT", "TO"))
    acl(out, "on >geheim ~* +@all")
    out.pipeline.environment |= {
        "CDC_MYSQL_URL": f"mysql://cdc:geheim@127.0.0.1:{mysql.port}",
        "CDC_NATS_URL": f"nats://cdc:geheim@127.0.0.1:{out.nats.port}",
        "CDC_REDIS_URL": f"redis://cdc:geheim@127.0.0.1:{out.redis.port}/0",
    }
    return out


def acl(bench: Bench, rules: str) -> None:
    """Change the login of Redis."""
    bench.client.execute_command(f"ACL SETUSER cdc {rules}")  # type: ignore[no-untyped-call]


def grants(verb: str, whom: str) -> list[str]:
    """Return the statements that give the rights, or take them away."""
    rights = ("REPLICATION SLAVE, REPLICATION CLIENT ON *.*", "SELECT ON shop.*")
    return [f"{verb} {right} {whom} cdc@localhost" for right in rights]


def reload(bench: Bench, *denied: str) -> None:
    """Let NATS read its configuration again, with other rights of cdc."""
    conf = bench.nats.folder / "nats-server.conf"
    text = conf.read_text()
    conf.write_text(text[: text.index("accounts {")] + users(*denied))
    os.kill(bench.nats.pid, signal.SIGHUP)


def go_on(bench: Bench, fault: str) -> Process:
    """Start again with the right, and see a change come through."""
    process = bench.pipeline.run()
    bench.recovered(fault)
    return process


def test_rights_of_mysql(bench: Bench) -> None:
    """What has been read needs no SELECT; at the next connection it ends with 77 and the GRANT."""
    chance = seeded()
    with bench.pipeline, ordeal(bench, chance, pause_s=0.01) as writer:
        process = bench.pipeline.run()
        wait_for("the snapshot", lambda: process.text().count('"rows read"') == 2)
        bench.execute(*grants("REVOKE", "FROM"))
        bench.passes("a change behind the REVOKE")
        assert bench.kill_dumps() == 1
        assert process.wait() == NO_RIGHT, process.text()
        assert "GRANT REPLICATION SLAVE" in process.text()
        writer.wait_for_commits(10)
        bench.execute(*grants("GRANT", "TO"))
        process = go_on(bench, "rights of MySQL taken away")
        writer.stop()
        end_well(bench, process)


@pytest.mark.parametrize("lost", ["mysql.>", "mysql.delete"])
def test_rights_to_publish(bench: Bench, lost: str) -> None:
    """The reader ends with 77 and names the subject; started with the right it goes on."""
    chance = seeded()
    with bench.pipeline, ordeal(bench, chance, pause_s=0.01) as writer:
        process = bench.pipeline.run()
        bench.wait_for_progress()
        reload(bench, lost)
        assert process.wait() == NO_RIGHT, process.text()
        assert f"the right to publish to {lost.removesuffix('>')}" in process.text()
        writer.wait_for_commits(10)
        reload(bench)
        process = go_on(bench, "rights of NATS taken away")
        writer.stop()
        end_well(bench, process)


def test_rights_to_consume(bench: Bench) -> None:
    """The sink waits and says so; with the right it goes on by itself."""
    chance = seeded()
    with bench.pipeline:
        process = bench.pipeline.run()
        bench.wait_for_progress()
        with ordeal(bench, chance, process, pause_s=0.01):
            reload(bench, "$JS.API.CONSUMER.>")
            wait_for("a word of it", lambda: "to publish to $JS.API.CONSUMER." in process.text())
            assert process.is_running(), process.text()
            reload(bench)
            bench.recovered("rights of NATS taken away")


@pytest.mark.parametrize(
    ("taken", "given", "said"),
    [
        ("-@write", "+@all", "lacks a right"),
        ("resetkeys ~cdc:*", "~*", "lacks a right"),
        ("off", "on", "refuses the login"),
        (">other <geheim", ">geheim", "refuses the login"),
    ],
    ids=["commands", "keys", "login", "password"],
)
def test_rights_of_redis(bench: Bench, taken: str, given: str, said: str) -> None:
    """It waits and says so, nothing is applied in part; with the right it goes on by itself."""
    chance = seeded()
    with bench.pipeline:
        process = bench.pipeline.run()
        bench.wait_for_progress()
        with ordeal(bench, chance, process, pause_s=0.01) as writer:
            bench.wait_for_progress()
            acl(bench, taken)
            bench.client.client_kill_filter(skipme=True)  # a login is asked for once
            wait_for("a word of it", lambda: said in process.text())
            writer.wait_for_commits(50)
            assert process.is_running(), process.text()
            acl(bench, given)
            bench.recovered("rights of Redis taken away")
