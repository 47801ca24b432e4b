"""The commands of docs/quickstart.md and of the README, from a MySQL URL to a verified copy."""

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

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "docs/quickstart.md"
README = ROOT / "README.md"
PASSWORD = "choose-a-password"
ROWS = 500
DELAY_S = 0.005
"""Each way."""


def blocks(kind: str, path: Path = QUICKSTART, section: str = "Steps") -> list[str]:
    """Return the blocks of a kind, such as ``sh``, of a document's section."""
    text = path.read_text("utf-8").split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


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


def exported(block: str, place: Place, folder: Path) -> dict[str, str]:
    """Return the environment that a block exports, with this machine's addresses."""
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    here = {
        "mysql://cdc@db.example/shop": f"mysql://cdc@{place.mysql_at}",
        "/run/secrets/mysql": str(secret),
        "redis://127.0.0.1:6379/0": place.redis_url,
    }
    for there, instead in here.items():
        assert there in block
        block = block.replace(there, instead)
    words = block.replace("export ", "").split()
    pairs = (word.split("=", 1) for word in words)
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


def make_users(mysql: MySQL) -> None:
    """Make a table of years."""
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE shop")
        cursor.execute("CREATE TABLE shop.users (id INT PRIMARY KEY, name VARCHAR(40))")
        rows = [(n, f"name {n}") for n in range(ROWS)]
        cursor.executemany("INSERT INTO shop.users VALUES (%s, %s)", rows)


def finished(
    command: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_quick_start_of_the_readme(
    new_mysql: NewMySQL, new_redis: NewRedis, tmp_path: Path
) -> None:
    """Its commands, with the login that it links, and a MySQL as it is installed."""
    mysql, redis_server = new_mysql(options=("--binlog-row-metadata=MINIMAL",)), new_redis()
    make_users(mysql)
    here = f"127.0.0.1:{mysql.port}/shop"
    place = Place(mysql, redis_server, here, f"redis://127.0.0.1:{redis_server.port}/0")
    exports, commands = blocks("sh", README, "Quick start")
    environment = exported(exports, place, tmp_path)
    (login,) = blocks("sql")
    as_administrator(mysql, login)
    lines = (line.partition("#")[0].strip() for line in commands.splitlines())
    install, check, run, verify = lines
    server = redis.Redis(port=redis_server.port)

    assert install == "pip install '.[embedded]'"
    assert finished(check, tmp_path, environment).returncode == 0
    with running(run, tmp_path, environment):
        wait_for("the rows", lambda: server.exists(f"users:{ROWS - 1}") == 1)
        verified = finished(verify, tmp_path, environment)
        assert verified.returncode == 0, verified.stderr
        server.set("users:7", "wrong")
        assert finished(verify, tmp_path, environment).returncode == 1


def test_from_a_mysql_url_to_a_verified_copy(place: Place, tmp_path: Path) -> None:
    """A server with MySQL's defaults and a table of years: step by step, nothing else needed."""
    mysql, server = place.mysql, redis.Redis(port=place.redis.port)
    make_users(mysql)
    environment = exported(blocks("sh")[1], place, tmp_path)

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return finished(command, tmp_path, environment)

    (login,) = blocks("sql")
    as_administrator(mysql, login)
    check, dry_run = blocks("sh")[2].splitlines()
    assert run(check).returncode == 0
    done = run(dry_run)
    assert done.returncode == 0, done.stderr
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
