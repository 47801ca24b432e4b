"""The servers of cdc.demo: they start, keep their data, stop by id and end with us."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import nats
import pymysql
import pytest
import redis
from pymysql.constants import ER

from cdc.demo.servers import (
    PASSWORD,
    MariaDB,
    MariaDB1011,
    MySQL,
    MySQL80,
    Nats,
    Redis,
    Server,
    ServerFailed,
)
from tests.conftest import NewMySQL, NewNats, NewRedis

DEADLINE_S = 20.0
KINDS: tuple[type[Server], ...] = (MySQL, MySQL80, MariaDB, MariaDB1011, Nats, Redis)


@pytest.fixture(params=KINDS, ids=lambda kind: str(kind.name))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One running server of each kind."""
    with request.param() as running:
        yield running


def test_server_answers_the_version_of_its_program(server: Server) -> None:
    """What a client reads from the port is the version that the program says of itself."""
    assert server.version in _version_seen_by_a_client(server)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_data_and_address_stay_over_a_restart(server: Server, end: str) -> None:
    """After stop or kill, start gives the same URL and everything that was acknowledged."""
    url, first = server.url, server.pid
    _write(server)
    _make_durable(server)

    getattr(server, end)()
    assert not _exists(first)
    server.start()

    assert url == server.url
    assert first != server.pid
    assert _written(server)


def test_close_ends_the_process_and_removes_the_data(server: Server) -> None:
    """Closing leaves neither process nor folder, and may be done twice."""
    pid, folder = server.pid, server.folder

    server.close()
    server.close()

    assert not _exists(pid)
    assert not folder.exists()


def test_a_frozen_server_goes_on_where_it_was(server: Server) -> None:
    """A paused server is there and silent; stopping it works too."""
    server.pause()
    _wait_until(lambda: _state(server.pid) == "T")
    server.resume()
    _wait_until(lambda: _state(server.pid) != "T")
    assert server.version in _version_seen_by_a_client(server)

    server.pause()
    server.stop(DEADLINE_S)

    assert not server.is_running


def test_stop_kills_what_does_not_end_by_the_deadline(server: Server) -> None:
    """A deadline of nothing still ends the server."""
    server.stop(deadline_s=0)

    assert not server.is_running


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_a_killed_parent_leaves_no_child_behind(kind: type[Server]) -> None:
    """SIGKILL of the process that started a server ends the server as well."""
    script = f"from cdc.demo.servers import {kind.__name__} as kind\nimport threading\n"
    script += "server = kind()\nstarter = threading.Thread(target=server.start)\n"
    script += "starter.start()\nstarter.join()\nprint(server.pid, flush=True)\ninput()\n"
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _exists(child), "the end of the thread that called start must not end the server"

        parent.kill()

        _wait_until(lambda: not _exists(child))


def test_a_server_that_ends_while_starting_shows_its_log() -> None:
    """The error carries what the server printed, and nothing stays behind."""
    server = Redis(("--appendfsync", "sometimes"))

    with pytest.raises(ServerFailed, match="appendfsync"), server:
        pass

    assert not server.is_running


def test_an_old_release_is_the_one_that_it_is_named_for(
    mysql80: MySQL80, mariadb1011: MariaDB1011
) -> None:
    """Whatever else is on PATH."""
    assert str(_variables(mysql80, ["version"])["version"]).startswith("8.0.")
    assert str(_variables(mariadb1011, ["version"])["version"]).startswith("10.11.")


def test_a_server_has_the_binlog_that_cdc_needs(any_server: MySQL | MariaDB) -> None:
    """Row-based with full images and full metadata, GTIDs in order, durable at each commit."""
    expected: dict[str, object] = {
        "binlog_format": "ROW",
        "binlog_row_image": "FULL",
        "binlog_row_metadata": "FULL",
        "log_bin": 1,
    }
    if isinstance(any_server, MariaDB):
        expected |= {"gtid_strict_mode": 1}
    else:
        expected |= {
            "gtid_mode": "ON",
            "enforce_gtid_consistency": "ON",
            "sync_binlog": 1,
            "innodb_flush_log_at_trx_commit": 1,
            "character_set_server": "utf8mb4",
        }

    assert expected == _variables(any_server, expected)


def test_another_user_of_the_machine_gets_nowhere(any_server: MySQL | MariaDB) -> None:
    """Root has a password that no command line shows, and SQL has a folder of its own for files."""
    for user in ("root", ""):
        with pytest.raises(pymysql.err.OperationalError) as refused:
            pymysql.connect(host="127.0.0.1", port=any_server.port, user=user)
        assert refused.value.args[0] == ER.ACCESS_DENIED_ERROR
    assert PASSWORD.encode() not in Path(f"/proc/{any_server.pid}/cmdline").read_bytes()
    top = any_server.folder.parent
    assert top.stat().st_mode & 0o077 == 0
    (socket,) = any_server.folder.glob("*.sock")
    assert socket.is_socket()
    assert list(top.glob("*.sql")) == []
    with any_server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT LOAD_FILE('/etc/passwd')")
        assert cursor.fetchall() == ((None,),)
        with pytest.raises(pymysql.MySQLError, match="secure-file-priv"):
            cursor.execute(f"SELECT 'x' INTO OUTFILE '{top / 'here'}'")
        cursor.execute("SELECT @@secure_file_priv")
        ((folder,),) = cursor.fetchall()
        cursor.execute(f"SELECT 'x' INTO OUTFILE '{folder}/{uuid.uuid4().hex}'")


def test_two_mysql_servers_differ_in_their_uuid(mysql: MySQL, new_mysql: NewMySQL) -> None:
    """Copies of one fresh data folder are different servers; options win over defaults."""
    other = new_mysql(gtid=False, options=("--sync-binlog=0",))

    assert _variables(mysql, ["server_uuid"]) != _variables(other, ["server_uuid"])
    assert {"gtid_mode": "OFF", "sync_binlog": 0} == _variables(other, ["gtid_mode", "sync_binlog"])


@pytest.mark.parametrize("options", [{"max_payload": 4096}, "max_payload: 4096"])
def test_nats_takes_options_as_mapping_and_as_text(
    new_nats: NewNats, options: dict[str, object] | str
) -> None:
    """Both forms reach the server."""
    server = new_nats(options)

    async def max_payload_bytes() -> int:
        async with await nats.connect(server.url) as client:
            return client.max_payload

    assert 4096 == asyncio.run(max_payload_bytes())


def test_redis_takes_arguments(new_redis: NewRedis) -> None:
    """Arguments are those of redis-server."""
    server = new_redis(("--maxmemory", "8mb"))

    with redis.Redis.from_url(server.url) as client:
        assert {"maxmemory": str(8 * 1024 * 1024)} == client.config_get("maxmemory")


def test_fresh_schema_is_empty(mysql: MySQL, fresh_schema: str) -> None:
    """The database is there and has no table."""
    with mysql.connect(fresh_schema) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES")

        assert () == cursor.fetchall()


def _variables(server: MySQL | MariaDB, names: object) -> dict[str, object]:
    assert isinstance(names, (list, dict))
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"@@{name}" for name in names))
        row = cursor.fetchone()
    return dict(zip(names, row or (), strict=True))


def _version_seen_by_a_client(server: Server) -> str:
    match server:
        case MySQL() | MariaDB():
            return str(_variables(server, ["version"])["version"])
        case Redis():
            with redis.Redis.from_url(server.url) as client:
                return str(client.info("server")["redis_version"])
        case _:
            return asyncio.run(_nats_version(server.url))


async def _nats_version(url: str) -> str:
    async with await nats.connect(url) as client:
        return str(client.connected_server_version)


def _write(server: Server) -> None:
    match server:
        case MySQL() | MariaDB():
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE kept")
                cursor.execute("CREATE TABLE kept.kept (id INT PRIMARY KEY)")
                cursor.execute("INSERT INTO kept.kept VALUES (42)")
        case Redis():
            with redis.Redis.from_url(server.url) as client:
                client.set("kept", "42")
        case _:
            asyncio.run(_nats_write(server.url))


async def _nats_write(url: str) -> None:
    async with await nats.connect(url) as client:
        jetstream = client.jetstream()
        await jetstream.add_stream(name="KEPT", subjects=["kept"])
        await jetstream.publish("kept", b"42")


def _make_durable(server: Server) -> None:
    """Wait for what a server writes later than it acknowledges."""
    if isinstance(server, Redis):
        with redis.Redis.from_url(server.url) as client:
            client.execute_command("WAITAOF", 1, 0, int(DEADLINE_S * 1000))


def _written(server: Server) -> bool:
    match server:
        case MySQL() | MariaDB():
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SELECT id FROM kept.kept")
                return cursor.fetchall() == ((42,),)
        case Redis():
            with redis.Redis.from_url(server.url) as client:
                return bool(client.get("kept") == b"42")
        case _:
            return asyncio.run(_nats_read(server.url)) == b"42"


async def _nats_read(url: str) -> bytes | None:
    async with await nats.connect(url) as client:
        message = await client.jetstream().get_msg("KEPT", 1)
        return message.data


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return _state(pid) not in {"Z", None}


def _state(pid: int) -> str | None:
    """Return the letter of the process's state, ``T`` when it is frozen; None when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)
