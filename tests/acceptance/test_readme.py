"""The way that the README shows, from a MySQL URL to a verified mirror, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from cdc.demo.ports import free_port
from cdc.demo.servers import MySQL, Redis
from tests.conftest import NewMySQL, NewRedis
from tests.support.certificates import Authority, mysql_options, redis_options
from tests.support.pipeline import wait_for
from tests.support.proxy import Proxy

README = Path(__file__).parents[2] / "README.md"
PASSWORD = "choose-a-password"
ROWS = 500
DELAY_S = 0.005
"""Each way."""


def blocks(kind: str) -> list[str]:
    """Return the section's blocks of a kind, such as ``sh``."""
    text = README.read_text("utf-8")
    section = text.split("## From a MySQL URL to a verified mirror\n")[1].split("\n## ")[0]
    return re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Both servers, and how a user reaches them."""

    mysql: MySQL
    redis: Redis
    mysql_at: str
    """What stands in a URL behind the login, ``127.0.0.1:3306/shop``."""
    redis_url: str


@pytest.fixture(params=["here", "elsewhere"])
def place(
    request: pytest.FixtureRequest, new_mysql: NewMySQL, new_redis: NewRedis, tmp_path: Path
) -> Iterator[Place]:
    """Servers beside us; and such that are reached over verified TLS, with a delay."""
    default = ("--binlog-row-metadata=MINIMAL",)
    if request.param == "here":
        mysql, server = new_mysql(options=default), new_redis()
        here = f"127.0.0.1:{mysql.port}/shop"
        yield Place(mysql, server, here, f"redis://127.0.0.1:{server.port}/0")
        return
    authority = Authority(tmp_path / "certificates")
    files, tls_port = authority.issue("server"), free_port()
    mysql = new_mysql(options=(*default, *mysql_options(files, authority)))
    server = new_redis(redis_options(tls_port, files, authority))
    with Proxy(mysql.port) as to_mysql, Proxy(tls_port) as to_redis:
        to_mysql.delay_s = to_redis.delay_s = DELAY_S
        verified = f"?ssl-ca={authority.file}&ssl-mode=verify-identity"
        far = f"127.0.0.1:{to_mysql.port}/shop{verified}"
        url = f"rediss://127.0.0.1:{to_redis.port}/0?ssl-ca={authority.file}"
        yield Place(mysql, server, far, url)


def exported(place: Place, folder: Path) -> dict[str, str]:
    """Return the environment of step 2, with this machine's addresses."""
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    here = {
        "mysql://cdc@db.example/shop": f"mysql://cdc@{place.mysql_at}",
        "/run/secrets/mysql": str(secret),
        "redis://127.0.0.1:6379/0": place.redis_url,
    }
    block = blocks("sh")[1]
    for there, instead in here.items():
        assert there in block
        block = block.replace(there, instead)
    pairs = (line.removeprefix("export ").split("=", 1) for line in block.splitlines())
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, **dict(pairs), "PATH": programs}


def as_administrator(mysql: MySQL, block: str) -> None:
    """Run the statements of a block."""
    with mysql.connect() as connection, connection.cursor() as cursor:
        for statement in block.split(";\n"):
            if statement.strip():
                cursor.execute(statement)


@contextmanager
def running(command: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a command beside, which ends well when it is told to."""
    log = folder / "run.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command.split(), cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(30) == 0, log.read_text()


def test_from_a_mysql_url_to_a_verified_mirror(place: Place, tmp_path: Path) -> None:
    """A server with MySQL's defaults and a table of years: step by step, nothing else needed."""
    mysql, server = place.mysql, redis.Redis(port=place.redis.port)
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE shop")
        cursor.execute("CREATE TABLE shop.users (id INT PRIMARY KEY, name VARCHAR(40))")
        rows = [(n, f"name {n}") for n in range(ROWS)]
        cursor.executemany("INSERT INTO shop.users VALUES (%s, %s)", rows)
    environment = exported(place, tmp_path)

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command.split(),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    login, fix = blocks("sql")
    as_administrator(mysql, login)
    check, dry_run = blocks("sh")[2].splitlines()
    refused = run(check)
    assert refused.returncode == 3
    assert fix.strip() in refused.stdout
    assert fix.strip() in run(f"{check} --fix-sql").stdout
    as_administrator(mysql, fix)
    assert run(check).returncode == 0
    rehearsed = run(dry_run)
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert not server.dbsize()

    with running(blocks("sh")[3], tmp_path, environment):
        wait_for("the rows", lambda: server.exists(f"users:{ROWS - 1}") == 1)
        status, verify = blocks("sh")[4].splitlines()
        said = run(status)
        assert said.returncode == 0, said.stderr
        assert "shop.users" in said.stdout
        proved = run(verify)
        assert proved.returncode == 0, proved.stderr
        server.set("users:7", "wrong")
        assert run(verify).returncode == 1
        assert run(f"{verify} --repair").returncode == 0
        assert run(verify).returncode == 0
