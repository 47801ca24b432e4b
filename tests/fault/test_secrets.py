"""Passwords, certificates and credentials that are changed while it runs."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB, MySQL
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import Bench
from tests.support.certificates import Authority
from tests.support.commands import cdc
from tests.support.logins import end_connections
from tests.support.nats_accounts import Operator
from tests.support.ordeal import ordeal
from tests.support.pipeline import Process, descendants, wait_for
from tests.support.tally import seeded

pytestmark = pytest.mark.timeout(200)

FIRST, SECOND, THIRD = (f"{word}-{uuid.uuid4().hex}" for word in ("first", "second", "third"))
USERS = """
accounts {{ A {{ jetstream: enabled, users: [
  {{user: root, password: root}}
  {{user: cdc, password: "{password}"}}
] }} }}
no_auth_user: root
"""
WAITS = ('"waiting for a login"', '"sink waiting"')


@dataclass
class Kept:
    """A bench whose logins have their passwords in files, or elsewhere."""

    bench: Bench
    folder: Path

    def write(self, server: str, password: str) -> Path:
        """Put a password into its file, whole."""
        path = self.folder / f"{server}-password"
        new = path.with_suffix(".new")
        new.write_text(f"{password}\n")
        return new.rename(path)

    def change(self, server: str, password: str) -> None:
        """Let a server take another password alone, and end the connections of the old one."""
        {"mysql": self.of_mysql, "nats": self.of_nats, "redis": self.of_redis}[server](password)

    def of_mysql(self, password: str) -> None:
        """Change the account, and end its connections."""
        self.bench.execute(f"ALTER USER cdc@localhost IDENTIFIED BY '{password}'")
        end_connections(self.bench.mysql)

    def of_nats(self, password: str) -> None:
        """Let nats-server read its configuration again, which ends connections of that user."""
        self.reload(USERS.format(password=password))

    def reload(self, options: str) -> None:
        """Give nats-server other options."""
        nats = self.bench.nats
        conf = nats.folder / "nats-server.conf"
        conf.write_text(conf.read_text().replace(str(nats.options), options))
        nats.options = options
        os.kill(nats.pid, signal.SIGHUP)

    def of_redis(self, password: str) -> None:
        """Change the login, which ends no connection."""
        client = self.bench.client
        client.execute_command(f"ACL SETUSER cdc resetpass >{password}")  # type: ignore[no-untyped-call]
        client.client_kill_filter(skipme=True)


def made(mysql: MySQL | MariaDB, new_nats: NewNats, new_redis: NewRedis, folder: Path) -> Kept:
    """Return servers with logins whose passwords are in files."""
    bench = Bench(mysql, new_nats(USERS.format(password=FIRST)), new_redis(), folder)
    bench.execute(
        f"CREATE USER cdc@localhost IDENTIFIED BY '{FIRST}'",
        "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO cdc@localhost",
        "GRANT SELECT ON shop.* TO cdc@localhost",
    )
    if isinstance(mysql, MariaDB):
        bench.execute("GRANT SLAVE MONITOR ON *.* TO cdc@localhost")
    client = bench.client
    client.execute_command(f"ACL SETUSER cdc on >{FIRST} ~* +@all")  # type: ignore[no-untyped-call]
    kept = Kept(bench, folder)
    for server, running in bench.servers.items():
        url = f"{server}://cdc@127.0.0.1:{running.port}"
        bench.pipeline.environment[f"CDC_{server.upper()}_URL"] = url
        path = kept.write(server, FIRST)
        bench.pipeline.environment[f"CDC_{server.upper()}_PASSWORD_FILE"] = str(path)
    return kept


@pytest.fixture
def kept(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Kept:
    """Servers with logins, on MySQL."""
    return made(new_mysql(options=("--sync-binlog=0",)), new_nats, new_redis, tmp_path)


@pytest.fixture
def on_mariadb(new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Iterator[Kept]:
    """The same on MariaDB."""
    with ExitStack() as stack:
        yield made(stack.enter_context(MariaDB()), new_nats, new_redis, tmp_path)


def waits(process: Process) -> list[str]:
    """Return the log lines of a login that is waited for."""
    return [
        line
        for line in process.text().splitlines()
        if any(words in line for words in WAITS) and '"fix":"' in line
    ]


def heals(
    kept: Kept, change: Callable[[], object], mend: Callable[[], object], *words: str
) -> None:
    """Let a login be refused while changes come; it is waited for, and heals with the secret.

    Args:
        words: that a line of the log has about it.
    """
    bench, chance = kept.bench, seeded()
    with bench.pipeline:
        process = bench.pipeline.run()
        bench.wait_for_progress()
        with ordeal(bench, chance, process, pause_s=0.01) as writer:
            change()
            wait_for(
                "a word of it",
                lambda: (
                    any(all(word in line for word in words) for line in waits(process))
                    or not process.is_running()
                ),
            )
            assert process.is_running(), process.text()
            writer.wait_for_commits(20)
            mend()
            bench.recovered("a secret that was changed")
        assert not any(secret in process.text() for secret in (FIRST, SECOND, THIRD))


@pytest.mark.parametrize("server", ["mysql", "nats", "redis"])
def test_a_password_is_changed(kept: Kept, server: str) -> None:
    """It names the file and waits until that has it; put there before, nothing waits."""
    refused = {"nats": "Authorization Violation", "mysql": "(1045)", "redis": "(WRONGPASS)"}

    def mend() -> None:
        kept.write(server, SECOND)
        kept.bench.recovered("a password that was changed")
        seen = len(waits(process_of(kept)))
        kept.write(server, THIRD)
        kept.change(server, THIRD)
        kept.bench.recovered("a password that was changed at both ends")
        kept.bench.wait_for_progress()
        assert len(waits(process_of(kept))) == seen

    file = f"the file {kept.folder}/{server}-password (CDC_{server.upper()}_PASSWORD_FILE)"
    heals(kept, lambda: kept.change(server, SECOND), mend, refused[server], file)


def process_of(kept: Kept) -> Process:
    """Return the process that runs."""
    return kept.bench.pipeline._processes[-1]


def test_a_password_of_mariadb_is_changed(on_mariadb: Kept) -> None:
    """As MySQL's; a role that is killed meanwhile waits for it again."""

    def mend() -> None:
        for child in descendants(process_of(on_mariadb).pid):
            os.kill(child, signal.SIGKILL)
        wait_for("both roles", lambda: process_of(on_mariadb).text().count(" restarting") == 2)
        on_mariadb.write("mysql", SECOND)

    heals(
        on_mariadb,
        lambda: on_mariadb.change("mysql", SECOND),
        mend,
        "(1045)",
        "CDC_MYSQL_PASSWORD_FILE",
    )


@pytest.mark.parametrize("server", ["nats", "redis"])
def test_a_password_is_changed_under_partitions(kept: Kept, server: str) -> None:
    """Every partition waits, and so do the leases of both sinks."""
    kept.bench.pipeline.environment |= {"CDC_PARTITIONS": "4", "CDC_SINKS": "2"}
    heals(
        kept,
        lambda: kept.change(server, SECOND),
        lambda: kept.write(server, SECOND),
        "leases: " if server == "nats" else "(WRONGPASS)",
        f"CDC_{server.upper()}_PASSWORD_FILE",
    )


def test_an_account_that_is_locked_out_is_waited_for(kept: Kept) -> None:
    """MySQL locks an account after attempts that fail; unlocked, it is taken again."""

    def lock() -> None:
        kept.bench.execute(
            "ALTER USER cdc@localhost FAILED_LOGIN_ATTEMPTS 2 PASSWORD_LOCK_TIME UNBOUNDED"
        )
        kept.change("mysql", SECOND)

    def mend() -> None:
        kept.write("mysql", SECOND)
        kept.bench.execute("ALTER USER cdc@localhost ACCOUNT UNLOCK")

    heals(kept, lock, mend, "(3955)")


def test_credentials_of_nats_are_revoked(
    new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """The file of another user takes their place, and the roles read it."""
    operator, creds = Operator(), tmp_path / "cdc.creds"
    operator.credentials(creds)
    mysql = new_mysql(options=("--sync-binlog=0",))
    bench = Bench(mysql, new_nats(operator.options), new_redis(), tmp_path)
    bench.pipeline.environment["CDC_NATS_URL"] = f"{bench.nats.url}?creds={creds}"
    with bench.pipeline:
        process = bench.caught_up()
        operator.revoke()
        Kept(bench, tmp_path).reload(operator.options)
        wait_for("a word of it", lambda: len(waits(process)) >= 2 or not process.is_running())
        assert process.is_running(), process.text()
        assert all(
            "Authorization Violation" in line and "?creds=" in line for line in waits(process)
        )
        bench.execute("UPDATE users SET ver = ver + 1")
        operator.credentials(creds)
        bench.recovered("credentials of NATS revoked")
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()


@pytest.mark.parametrize("replaced", ["server's", "clients'"])
def test_certificates_are_replaced(
    new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path, replaced: str
) -> None:
    """By those of another authority, at the server first; it heals with the files that fit."""
    server, client, other = (Authority(tmp_path / name, name) for name in ("s", "c", "other"))
    of_server = tuple(tmp_path / f"server-{name}.pem" for name in ("cert", "key", "ca"))
    of_client = tuple(tmp_path / f"client-{name}.pem" for name in ("cert", "key", "ca"))
    tmp_path.chmod(0o755)

    def put(paths: tuple[Path, ...], issuer: Authority, *trusted: Authority) -> None:
        cert, key = issuer.issue("one")
        contents = [cert.read_bytes(), key.read_bytes()]
        contents.append(b"".join(authority.file.read_bytes() for authority in trusted))
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)

    # MySQL refuses a certificate of its own that it would not trust.
    put(of_server, server, server, client)
    put(of_client, client, server)
    names = ("ssl-cert", "ssl-key", "ssl-ca")
    options = [f"--{name}={path}" for name, path in zip(names, of_server, strict=True)]
    mysql = new_mysql(options=("--sync-binlog=0", *options))
    kept = made(mysql, new_nats, new_redis, tmp_path)
    bench = kept.bench
    bench.execute("ALTER USER cdc@localhost REQUIRE X509")
    queries = [f"{name}={path}" for name, path in zip(names, of_client, strict=True)]
    bench.pipeline.environment["CDC_MYSQL_URL"] += "?" + "&".join(queries)
    is_server = replaced == "server's"

    def change() -> None:
        if is_server:
            put(of_server, other, other, client)
        else:
            put(of_server, server, server, other)
        bench.execute("ALTER INSTANCE RELOAD TLS")
        end_connections(kept.bench.mysql)

    def mend() -> None:
        # As files are for a moment that are not replaced whole.
        of_client[1].write_bytes(b"")
        wait_for("a word of it", lambda: "hold no certificate" in process_of(kept).text())
        if is_server:
            put(of_client, client, other)
        else:
            put(of_client, other, server)

    refused = "its TLS certificate is refused" if is_server else "refuses the client certificate"
    heals(kept, change, mend, refused)


GIVE = """\
import redis, sys, uuid
with open({mode!r}) as file: mode = file.read().strip()
if mode == "fail":
    print("the vault is sealed", file=sys.stderr)
    print({secret!r})
    sys.exit(3)
if mode == "nothing":
    sys.exit(0)
token = uuid.uuid4().hex
redis.Redis(port={port}).execute_command("ACL", "SETUSER", "cdc", ">" + token)
with open({given!r}, "a") as file: file.write(token + "\\n")
print(token)
"""


@pytest.mark.parametrize(
    ("mode", "words"),
    [("fail", "ended with exit code 3: the vault is sealed"), ("nothing", "printed nothing")],
)
def test_a_program_gives_another_token_each_time(kept: Kept, mode: str, words: str) -> None:
    """Each connection takes a new one; while the program fails, it is waited for and run again."""
    bench, folder = kept.bench, kept.folder
    program, mode_file, given = folder / "give.py", folder / "mode", folder / "given"
    mode_file.write_text("give")
    about = {"mode": str(mode_file), "given": str(given), "secret": SECOND}
    program.write_text(GIVE.format(port=bench.redis.port, **about))
    environment = bench.pipeline.environment
    del environment["CDC_REDIS_PASSWORD_FILE"]
    environment["CDC_REDIS_PASSWORD_COMMAND"] = f"{sys.executable} {program}"
    before: list[int] = []

    def tokens() -> set[str]:
        return set(given.read_text().split())

    def change() -> None:
        before.append(len(tokens()))
        mode_file.write_text(mode)
        kept.of_redis(THIRD)

    heals(kept, change, lambda: mode_file.write_text("give"), words)
    assert len(tokens()) > before[0] >= 2
    log = process_of(kept).text()
    assert not [token for token in tokens() if token in log]


def test_a_program_that_fails_at_the_start_ends_with_78(kept: Kept) -> None:
    """With its exit code and its words; a refused login ends with 77, at once too."""
    environment = kept.bench.pipeline.environment
    del environment["CDC_MYSQL_PASSWORD_FILE"]
    script = f"sh -c 'echo {SECOND}; echo the vault is sealed >&2; exit 5'"
    failing = cdc(environment | {"CDC_MYSQL_PASSWORD_COMMAND": script}, "run")
    refused = cdc(environment | {"CDC_MYSQL_PASSWORD_COMMAND": f"echo {SECOND}"}, "run")

    assert (failing.returncode, refused.returncode) == (78, 77)
    assert (
        "the program sh (mysql_password_command) ended with exit code 5: the vault is sealed"
        in (failing.stderr)
    )
    assert "the password is read from the program echo (mysql_password_command)" in refused.stderr
    assert SECOND not in failing.stderr + refused.stderr


def test_a_wait_outlasts_a_new_password_of_redis(kept: Kept) -> None:
    """`cdc wait` reads the file again too, as often as the login is refused."""
    bench, pipeline = kept.bench, kept.bench.pipeline

    def asked(*command: str) -> str:
        return str(bench.client.execute_command(*command))  # type: ignore[no-untyped-call]

    with pipeline:
        assert bench.caught_up().stop() == 0
        with bench.mysql.connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE users SET ver = ver + 1 WHERE id = 1")
            cursor.execute("SELECT @@global.gtid_executed")
            ((gtid,),) = cursor.fetchall()
        log, arguments = kept.folder / "wait.log", ["wait", "--gtid", gtid, "--timeout", "60"]
        with closing(Process(arguments, pipeline.environment, log).start()) as waiting:
            wait_for("its connection", lambda: "name=cdc-wait-default" in asked("CLIENT", "LIST"))
            kept.change("redis", SECOND)
            wait_for("a refused login", lambda: "auth" in asked("ACL", "LOG"))
            kept.write("redis", SECOND)
            wait_for("its connection", lambda: "name=cdc-wait-default" in asked("CLIENT", "LIST"))
            assert waiting.is_running(), waiting.text()
            process = pipeline.run()
            assert waiting.wait() == 0, waiting.text()
            assert process.stop() == 0
    bench.wait_until_equal()


def test_all_passwords_are_changed_while_cdc_run_verifies(kept: Kept) -> None:
    """Those of all three servers at once; the next verify logs in with the new ones."""
    bench, pipeline = kept.bench, kept.bench.pipeline
    pipeline.environment["CDC_VERIFY_EVERY_S"] = "0.5"

    def equal() -> int:
        return process.text().count("verified: equal")

    with pipeline:
        process = bench.caught_up()
        wait_for("a verify of both tables", lambda: equal() >= 2)
        for server in bench.servers:
            kept.change(server, SECOND)
        wait_for("a verify that is refused", lambda: '"verify failed"' in process.text())
        for server in bench.servers:
            kept.write(server, SECOND)
        bench.recovered("all passwords that were changed")
        seen = equal()
        wait_for("another verify of both tables", lambda: equal() >= seen + 2)
        assert process.stop() == 0, process.text()
    bench.wait_until_equal()
