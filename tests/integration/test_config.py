"""The shipped configurations on real servers, and the least-privilege logins in a real run."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from cdc.demo import fetch
from cdc.demo.ports import free_port
from cdc.demo.process import Child
from cdc.demo.servers import MySQL
from cdc.settings import SPECS
from tests.conftest import NewMySQL
from tests.support.commands import assert_every_command_works
from tests.support.pipeline import Pipeline, wait_for

CONFIG = Path(__file__).parents[2] / "config"
# Digits alone, and a sign that means something in URLs.
PASSWORDS = {"mysql": "12345678", "cdc": "0123", "reader": "12e4", "sink": "p:@/%", "redis": "77"}


@dataclass
class ShippedRedis:
    """Redis as the shipped file configures it."""

    redis_port: int

    def client(self) -> redis.Redis:
        """Return Redis with the login of cdc."""
        return redis.Redis(port=self.redis_port, username="cdc", password=PASSWORDS["redis"])


@dataclass
class Shipped(ShippedRedis):
    """The three servers as the shipped files configure them."""

    mysql: MySQL
    nats_port: int

    def environment(self, nats_user: str) -> dict[str, str]:
        """Return what `cdc run` needs to log in."""
        return {
            "CDC_MYSQL_URL": f"mysql://cdc@127.0.0.1:{self.mysql.port}/shop",
            "CDC_MYSQL_PASSWORD": PASSWORDS["mysql"],
            "CDC_NATS_URL": f"nats://{nats_user}@127.0.0.1:{self.nats_port}",
            "CDC_NATS_PASSWORD": PASSWORDS[nats_user],
            "CDC_REDIS_URL": f"redis://cdc@127.0.0.1:{self.redis_port}/0",
            "CDC_REDIS_PASSWORD": PASSWORDS["redis"],
            "CDC_TABLES": "shop.your_table",
        }

    def of_compose(self, folder: Path) -> dict[str, str]:
        """Return cdc's environment in docker-compose.yml; addresses and files are the test's."""
        compose = yaml.safe_load((CONFIG.parent / "docker-compose.yml").read_text())
        environment: dict[str, str] = dict(compose["services"]["cdc"]["environment"])
        ports = {"mysql": self.mysql.port, "nats": self.nats_port, "redis": self.redis_port}
        passwords = PASSWORDS | {"nats": PASSWORDS["cdc"]}
        environment["CDC_CONFIG"] = str(CONFIG / "compose.toml")
        for name, port in ports.items():
            url = environment[f"CDC_{name.upper()}_URL"]
            host = f"@{name}:{SPECS[name].default.port}"
            assert host in url
            environment[f"CDC_{name.upper()}_URL"] = url.replace(host, f"@127.0.0.1:{port}")
            (folder / f"{name}_password").write_text(passwords[name] + "\n")
            environment[f"CDC_{name.upper()}_PASSWORD_FILE"] = str(folder / f"{name}_password")
        return environment


def settings_of(path: Path) -> dict[str, str]:
    """Return ``name = value`` lines of a MySQL option file."""
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    pairs = [line.partition("=") for line in lines if "=" in line]
    return {name.strip(): value.strip() for name, _, value in pairs}


def run_script(server: MySQL, path: Path) -> None:
    """Run a file of SQL statements as root, as the image's first start does."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("--"))
    with server.connect() as connection, connection.cursor() as cursor:
        for statement in text.split(";\n"):
            if statement.strip():
                cursor.execute(statement)


@pytest.fixture
def shipped(
    new_mysql: NewMySQL,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Shipped]:
    """MySQL, NATS and Redis from config/; ports and folders alone are the test's."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "mysql_cdc_password").write_text(f"{PASSWORDS['mysql']}\n")
    options = settings_of(CONFIG / "mysql/my.cnf") | {"secure_file_priv": str(secrets)}
    mysql = new_mysql(options=[f"--{name}={value}" for name, value in options.items()])
    run_script(mysql, CONFIG / "mysql/init.sql")
    for who in ("cdc", "reader", "sink"):
        monkeypatch.setenv(f"NATS_{who.upper()}_PASSWORD", f"'{PASSWORDS[who]}'")
    with ExitStack() as stack:
        start = starter(stack, tmp_path)
        program = getattr(request, "param", "redis")
        redis_port = start(program, redis_arguments)
        yield Shipped(redis_port, mysql, start("nats", nats_arguments))


@pytest.fixture
def shipped_redis(tmp_path: Path) -> Iterator[ShippedRedis]:
    """Redis alone from config/."""
    with ExitStack() as stack:
        yield ShippedRedis(starter(stack, tmp_path)("redis", redis_arguments))


def starter(
    stack: ExitStack, tmp_path: Path
) -> Callable[[str, Callable[[Path, int], list[str]]], int]:
    """Return a function that starts a program, waits until it listens and returns its port."""

    def start(name: str, arguments: Callable[[Path, int], list[str]]) -> int:
        folder, port = tmp_path / name, free_port()
        folder.mkdir()
        command = fetch.bring(name).command(*arguments(folder, port))
        child = Child(command, tmp_path / f"{name}.log", folder=folder)
        stack.callback(child.kill)

        def listens() -> bool:
            assert child.exit_code() is None, child.log_tail()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_for(f"{name} to listen", listens)
        return port

    return start


def nats_arguments(folder: Path, port: int) -> list[str]:
    text = (CONFIG / "nats/nats-server.conf").read_text()
    assert "store_dir: /data" in text
    (folder / "nats.conf").write_text(text.replace("store_dir: /data", f"store_dir: {folder}"))
    return ["-c", f"{folder}/nats.conf", "-a", "127.0.0.1", "-p", f"{port}", "-m", f"{free_port()}"]


def redis_arguments(folder: Path, port: int) -> list[str]:
    digest = hashlib.sha256(PASSWORDS["redis"].encode()).hexdigest()
    users = (CONFIG / "redis/users.acl").read_text().replace("CDC_PASSWORD_SHA256", digest)
    # A second pipeline, as config/README.md says to add one.
    (line,) = (line for line in users.splitlines() if line.startswith("user cdc "))
    users += line.replace("user cdc ", "user other ").replace("~cdc:default:", "~cdc:other:") + "\n"
    (folder / "users.acl").write_text(users)
    text = (CONFIG / "redis/redis.conf").read_text()
    for ours, tests in (("dir /data", f"dir {folder}"), ("/tmp/users.acl", f"{folder}/users.acl")):
        assert ours in text
        text = text.replace(ours, tests)
    (folder / "redis.conf").write_text(text)
    return [f"{folder}/redis.conf", "--port", f"{port}", "--bind", "127.0.0.1"]


def write(server: MySQL, statement: str) -> None:
    with server.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("spread", [(), ("--partitions", "3", "--sinks", "2")], ids=["1", "3"])
def test_the_shipped_logins_suffice_for_both_roles_in_one(
    shipped: Shipped, tmp_path: Path, spread: tuple[str, ...]
) -> None:
    """`cdc run` with the login cdc: snapshot, change and delete arrive; nothing is warned of."""
    write(shipped.mysql, "INSERT INTO your_table VALUES (1, 'Ada')")
    with Pipeline(tmp_path, mysql="", nats="", redis="", tables="") as pipeline:
        pipeline.environment = shipped.environment("cdc")
        process = pipeline.run(*spread)
        wait_until(shipped, {b"your_table:1": b'{"id":1,"name":"Ada"}'})
        write(shipped.mysql, "UPDATE your_table SET name = 'Eve'")
        wait_until(shipped, {b"your_table:1": b'{"id":1,"name":"Eve"}'})
        write(shipped.mysql, "DELETE FROM your_table")
        wait_until(shipped, {})
        assert process.stop() == 0
        assert '"level":"warning"' not in process.text(), process.text()
        assert '"level":"error"' not in process.text(), process.text()


@pytest.mark.parametrize("spread", [(), ("--partitions", "3")], ids=["1", "3"])
def test_the_shipped_logins_suffice_for_each_role_alone(
    shipped: Shipped, tmp_path: Path, spread: tuple[str, ...]
) -> None:
    """The logins reader and sink each do their half."""
    with Pipeline(tmp_path, mysql="", nats="", redis="", tables="") as pipeline:
        for role in ("reader", "sink"):
            pipeline.environment = shipped.environment(role)
            pipeline.run("--role", role, *spread)
        write(shipped.mysql, "INSERT INTO your_table VALUES (7, 'Grace')")
        wait_until(shipped, {b"your_table:7": b'{"id":7,"name":"Grace"}'})
        assert "warning" not in pipeline.logs(), pipeline.logs()


def wait_until(shipped: Shipped, expected: dict[bytes, bytes]) -> None:
    client = shipped.client()

    def holds() -> bool:
        keys = list(client.scan_iter(match="your_table:*"))
        found: dict[bytes, Any] = {key: client.get(key) for key in keys}
        return found == expected

    wait_for(f"Redis to hold {expected}", holds)


@pytest.mark.parametrize(
    "command", [("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("GET", "other:1")]
)
def test_the_login_of_redis_reaches_its_own_keys_alone(
    shipped_redis: ShippedRedis, command: tuple[str, ...]
) -> None:
    """What cdc does not need, its login may not do."""
    client: Any = shipped_redis.client()
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)


def test_no_pipeline_reaches_what_another_one_keeps(shipped_redis: ShippedRedis) -> None:
    """In both directions: the shipped line, and the same line for another pipeline."""
    logins = {
        "default": shipped_redis.client(),
        "other": redis.Redis(
            port=shipped_redis.redis_port, username="other", password=PASSWORDS["redis"]
        ),
    }
    for own, foreign in (("default", "other"), ("other", "default")):
        client: Any = logins[own]
        for name in ("position", "position:1", "counts", "error", "verify:shop.users", "form"):
            client.set(f"cdc:{own}:{name}", "mine")
            for command in ("SET", "GET", "UNLINK", "HSET", "SADD"):
                arguments = {"SET": ["x"], "HSET": ["f", "x"], "SADD": ["x"]}.get(command, [])
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(command, f"cdc:{foreign}:{name}", *arguments)
            client.unlink(f"cdc:{own}:{name}")


@pytest.mark.parametrize("shipped", ["redis", "redis70"], indirect=True)
def test_every_command_has_all_the_rights_that_it_needs(shipped: Shipped, tmp_path: Path) -> None:
    """With the settings of docker-compose.yml, the logins that are shipped, and nothing else."""
    assert_every_command_works(
        shipped.of_compose(tmp_path),
        tmp_path,
        client=shipped.client(),
        write=lambda statement: write(shipped.mysql, statement),
    )
