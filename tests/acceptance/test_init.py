"""`cdc init`: what it writes is accepted as it is, and captures what can be captured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from cdc.demo.servers import PASSWORD, MariaDB, MySQL, Nats, Redis, start_together
from tests.support.pipeline import Process, wait_for

ODD = "od\"d*n.a'm\\e\n\x07ü日 [x]?"
TABLES = (
    "CREATE TABLE users (id INT PRIMARY KEY, name TEXT)",
    "CREATE TABLE crm.users (id INT PRIMARY KEY, name TEXT)",
    f"CREATE TABLE `{ODD}` (id INT PRIMARY KEY)",
    "CREATE TABLE no_key (a INT NOT NULL, b VARCHAR(9), t TEXT)",
    "CREATE TABLE part (k TEXT NOT NULL, UNIQUE (k(3)))",
    "CREATE TABLE uniq (a INT NOT NULL, UNIQUE (a))",
    "CREATE TABLE cdc (id INT PRIMARY KEY)",
    "CREATE TABLE hot (id INT PRIMARY KEY) ENGINE = MEMORY",
    "CREATE TABLE gen (id INT PRIMARY KEY, g INT AS (id + 1) STORED, p POINT)",
    "CREATE TABLE txt (id VARCHAR(50) PRIMARY KEY)",
    "CREATE TABLE `txt:a` (id INT PRIMARY KEY)",
    "CREATE TABLE old_text (id INT PRIMARY KEY, t TEXT CHARACTER SET gbk)",
    "CREATE VIEW v AS SELECT 1 AS a",
)


@dataclass
class Place:
    """Servers with odd tables, and an empty folder."""

    folder: Path
    mysql: MySQL | MariaDB
    nats: Nats
    redis: Redis

    def environment(self) -> dict[str, str]:
        return {
            "CDC_MYSQL_PASSWORD": PASSWORD,
            "CDC_NATS_URL": self.nats.url,
            "CDC_REDIS_URL": self.redis.url,
        }

    def cdc(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = {"PATH": os.environ["PATH"]}
        return subprocess.run(
            [sys.executable, "-P", "-m", "cdc", *arguments],
            env=path | self.environment() | env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def init(self, *arguments: str, user: str = "root", database: str = "") -> Any:
        url = f"mysql://{user}@127.0.0.1:{self.mysql.port}/{database}"
        return self.cdc("init", "--mysql", url, *arguments)

    def sql(self, *statements: str) -> None:
        with self.mysql.connect("shop") as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@pytest.fixture(scope="module", params=[MySQL, MariaDB])
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[MySQL | MariaDB, Nats, Redis]]:
    """One of each kind, with tables as odd as a schema may have them."""
    mysql, nats, server = request.param(), Nats(), Redis()
    with ExitStack() as stack:
        start_together(stack, mysql, nats, server)
        with mysql.connect() as connection, connection.cursor() as cursor:
            for name in ("shop", "crm"):
                cursor.execute(f"CREATE DATABASE {name}")
            cursor.execute("USE shop")
            for statement in TABLES:
                cursor.execute(statement)
            cursor.execute("INSERT INTO users VALUES (1, 'Ada')")
            cursor.execute("INSERT INTO crm.users VALUES (1, 'Bob')")
            cursor.execute(f"INSERT INTO `{ODD}` VALUES (5)")
            cursor.execute("INSERT INTO gen (id, p) VALUES (6, POINT(1, 2))")
        yield mysql, nats, server


@pytest.fixture
def place(servers: tuple[MySQL | MariaDB, Nats, Redis], tmp_path: Path) -> Place:
    """The servers, and a folder of the test's own."""
    return Place(tmp_path, *servers)


def test_what_it_writes_is_checked_and_run_as_it_is(place: Place) -> None:
    """Every table is in it: captured, without a key, or excluded with its reason."""
    done = place.init("--json")
    about = json.loads(done.stdout)
    states = {one["table"]: one["state"] for one in about["tables"]}
    path = place.folder / "cdc.toml"
    text = path.read_text("utf-8")
    sections = tomllib.loads(text)["tables"]

    assert done.returncode == 0, done.stderr
    captured = {"users", ODD, "uniq", "cdc", "gen", "txt", "old_text"}
    assert states == {
        "crm.users": "captured",
        **{f"shop.{name}": "captured" for name in captured},
        "shop.no_key": "needs key",
        "shop.part": "needs key",
        **{f"shop.{name}": "excluded" for name in ("hot", "v", "txt:a")},
    }
    assert len(sections) == len(captured) + 1
    generated = ["g"] if isinstance(place.mysql, MariaDB) else []
    assert sorted(sections["shop.gen"]["exclude"]) == [*generated, "p"]
    assert sections["shop.old_text"] == {"exclude": ["t"]}
    assert '#[tables."shop.no_key"]\n#key = "{table}:{a}"\n' in text
    assert "shop.v is a view" in text
    assert "ENGINE = MEMORY" in text
    client = "BINLOG MONITOR" if isinstance(place.mysql, MariaDB) else "REPLICATION CLIENT"
    assert f"#   GRANT REPLICATION SLAVE, {client} ON *.* TO 'cdc'@'%';" in text
    assert "#   GRANT SELECT ON `shop`.`users` TO 'cdc'@'%';" in text
    assert PASSWORD not in text
    assert "export CDC_MYSQL_PASSWORD_FILE=" in text
    checked = place.cdc("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    environment = place.environment() | {"CDC_CONFIG": str(path)}
    process = Process(["run"], environment, place.folder / "run.log").start()
    client_of_redis: Any = redis.Redis(port=place.redis.port)
    keys = (f"{ODD}:5", "shop.users:1", "crm.users:1", "gen:6")
    try:
        wait_for("the rows", lambda: client_of_redis.exists(*keys) == len(keys))
        assert json.loads(client_of_redis.get("gen:6")) == {"id": 6} | (
            {} if generated else {"g": 7}
        )
        assert process.stop() == 0, process.text()
    finally:
        process.close()
        print(process.text()[-3000:])


def test_a_file_is_never_overwritten_unasked(place: Place) -> None:
    """2 and the fix; --force overwrites it, also where it was broken."""
    path = place.folder / "cdc.toml"
    path.write_text("= broken")
    refused = place.init(database="shop")
    assert (refused.returncode, path.read_text()) == (2, "= broken")
    assert "cdc init --force" in refused.stderr
    done = place.init("--force", database="shop")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("wrote cdc.toml: 7 tables captured, 2 need a key, ")
    assert "crm" not in path.read_text("utf-8")


def test_what_is_looked_at_and_where_it_goes_can_be_chosen(place: Place) -> None:
    """--table, --exclude-table, --output; other settings are written down."""
    shown = place.init("--table", "*.u*", "--exclude-table", "crm.*", "--output", "-")
    found = tomllib.loads(shown.stdout)
    assert list(found["tables"]) == ["shop.uniq", "shop.users"]
    assert list(place.folder.iterdir()) == []
    other = place.init("--table", "shop.uniq", "--output", "a.toml", "--partitions", "4")
    assert other.stdout.endswith("cdc check --config a.toml\n")
    written = tomllib.loads((place.folder / "a.toml").read_text())
    assert (written["partitions"], list(written["tables"])) == (4, ["shop.uniq"])
    keyed = place.init("--key", "k:{schema}:{table}:{pk}", "--output", "-", database="crm")
    assert tomllib.loads(keyed.stdout)["tables"]["crm.users"]["key"] == "k:{schema}:{table}:{pk}"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--table", "shop.usres*"), 2, "did you mean 'shop.users'"),
        (("--table", "shop.v"), 2, "is a view"),
        (("--output", "no/such/folder.toml"), 2, "cannot be written"),
        (("--output", "-", "--json"), 2, "keep one"),
        (("--config", "x.toml"), 2, "reads no settings file"),
        (("--mysql", "mysql://root@127.0.0.1:1"), 69, "refuses the connection"),
    ],
)
def test_what_cannot_be_is_one_error(
    place: Place, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """With its exit code, and nothing is written."""
    refused = place.init(*arguments)

    assert (refused.returncode, refused.stdout) == (code, "")
    assert words in refused.stderr
    assert list(place.folder.iterdir()) == []


def test_a_login_that_sees_no_table_is_told_why(place: Place) -> None:
    """information_schema shows only what a login has a right on."""
    place.sql(f"CREATE USER IF NOT EXISTS nobody IDENTIFIED BY '{PASSWORD}'")
    refused = place.init(user="nobody")

    assert refused.returncode == 2
    assert "shows this login no table" in refused.stderr


def test_the_grants_it_writes_are_enough(place: Place) -> None:
    """Run as they are, they give a login what check and run need."""
    done = place.init("--table", "shop.users", "--output", "-")
    grants = [
        line.removeprefix("#   ")
        for line in done.stdout.splitlines()
        if line.startswith(("#   GRANT ", "#   CREATE USER "))
    ]
    assert len(grants) == 3
    place.sql(*(grant.replace("choose-a-password", PASSWORD) for grant in grants))
    own = place.init("--table", "shop.users", user="cdc", database="shop")

    assert own.returncode == 0, own.stderr
    text = (place.folder / "cdc.toml").read_text()
    assert "CREATE USER" not in text
    assert "GRANT SELECT ON `shop`.`users` TO 'cdc'@'%';" in text
    checked = place.cdc("check")
    assert checked.returncode == 0, checked.stdout
