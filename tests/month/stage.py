"""The servers of a month: a primary and its replica, NATS and Redis, with TLS and passwords."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pymysql
import redis

from cdc.demo import fetch
from cdc.demo.ports import free_port
from cdc.demo.server import Server
from cdc.demo.servers import (
    MariaDB,
    MariaDB1011,
    MySQL,
    MySQL80,
    Nats,
    Redis70,
    start_together,
)
from tests.support.certificates import (
    Authority,
    mysql_options,
    nats_options,
    redis_options,
)
from tests.support.logins import end_connections
from tests.support.pair import Pair, Source
from tests.support.switch import Switch

QUICK = ("--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2", "--max-allowed-packet=64M")
"""They are killed, and never lose power."""
UNLOGGED = "SET SESSION sql_log_bin = 0"
"""A replica that logs what it did not receive does not follow any longer."""
LARGE_LOG = "--innodb-log-file-size=100M"
"""An early MySQL 8.0 refuses values larger than a tenth of both its log files."""


class _Movable(Server):
    """A server whose data may be a copy of another's, and whose program may be replaced."""

    origin: Path | None = None
    """The data folder of a server that is stopped."""

    def _prepare(self) -> None:
        if self.origin is None:
            return super()._prepare()
        shutil.copytree(self.origin, self.folder, dirs_exist_ok=True)
        (self.folder / "auto.cnf").unlink(missing_ok=True)  # server_uuid, made again
        return (self.folder.parent / "files").mkdir(mode=0o700)

    def become(self, name: str) -> None:
        """Run another program from the next start on: ``mariadb``."""
        self._program = fetch.bring(name)


class MovableMySQL(_Movable, MySQL):
    """MySQL 9.7."""


class MovableMySQL80(_Movable, MySQL80):
    """MySQL 8.0."""


class MovableMariaDB(_Movable, MariaDB):
    """MariaDB 11.8."""


class MovableMariaDB1011(_Movable, MariaDB1011):
    """MariaDB 10.11, until it is upgraded."""


class MovableRedis(_Movable, Redis70):
    """Redis 7, until it is upgraded."""


KINDS: dict[str, type[MySQL | MariaDB]] = {
    "mysql": MovableMySQL,
    "mysql80": MovableMySQL80,
    "mariadb": MovableMariaDB,
    "mariadb1011": MovableMariaDB1011,
}


class Stage:
    """All servers of one month; cdc reaches MySQL by an address that is switched over."""

    def __init__(self, kind: str, stack: ExitStack, folder: Path, chance: random.Random) -> None:
        """Start them; the stack closes them."""
        self.kind, self.folder, self.chance, self._stack = kind, folder, chance, stack
        folder.chmod(0o755)
        self.passwords = {name: f"{name}-0" for name in ("mysql", "nats", "redis")}
        self._made = 0
        self._authorities = {name: self._authority() for name in self.passwords}
        for name in self.passwords:
            (folder / name).mkdir()
            self._write(folder / name / "password", self.passwords[name])
            self._issue(name, self._authorities[name])
        self._servers_made = 0
        one, other = self.new_source(), self.new_source()
        self.nats = Nats(self._of_nats())
        self.redis = MovableRedis(self._of_redis())
        start_together(stack, one, other, self.nats, self.redis)
        self.switch = stack.enter_context(Switch(one.port))
        self.pair = Pair(one, other, self.switch)
        self.is_mariadb = self.pair.is_mariadb
        self.pair.replicate()

    # -- addresses -------------------------------------------------------------------

    def url(self, name: str, path: str = "") -> str:
        """Return cdc's address of one of them: ``redis``."""
        scheme = {"mysql": "mysql", "nats": "tls", "redis": "rediss"}[name]
        port = {"mysql": self.switch.port, "nats": self.nats.port, "redis": self._tls_port}[name]
        query = f"ssl-ca={self.folder}/{name}/ca.pem"
        if name == "mysql":
            query += "&ssl-mode=verify-ca"
        return f"{scheme}://cdc@127.0.0.1:{port}{path}?{query}"

    def client(self) -> redis.Redis:
        """Return a connection of our own to Redis."""
        return redis.Redis(port=self.redis.port, socket_timeout=20)

    # -- the servers -----------------------------------------------------------------

    def new_source(self) -> Source:
        """Return one more server of the kind, not started."""
        self._servers_made += 1
        authority = self._authorities["mysql"]
        files = (self.folder / "mysql/cert.pem", self.folder / "mysql/key.pem")
        options = [*QUICK, *mysql_options(files, authority)[:2]]
        options += [f"--ssl-ca={self.folder}/mysql/ca.pem"]
        options += [f"--server-id={10 + self._servers_made}"]
        if self.kind.startswith("mariadb"):
            options.append("--log-slave-updates=ON")
        if self.kind == "mysql80":
            options.append(LARGE_LOG)
        return KINDS[self.kind](options=tuple(options))

    def fail_over(self, *, killed: bool) -> None:
        """Make the replica the primary; the application rests meanwhile."""
        self.pair.wait_for_the_replica()
        old = self.pair.primary
        if killed:
            old.kill()
        self.pair.stop_replicating()
        self.pair.promote()
        if killed:
            old.start()
        self.pair.replicate()

    def copy(self) -> Source:
        """Return a new server that follows the primary, from a copy of the replica's data."""
        self.pair.wait_for_the_replica()
        self.pair.stop_replicating()
        self.pair.replica.stop()
        green = self.new_source()
        assert isinstance(green, _Movable)
        green.origin = self.pair.replica.folder
        if self.is_upgraded:
            green.become("mariadb")
        self._stack.callback(green.close)
        green.start()
        purge(green)
        self.pair.replica.start()
        self.pair.replicate()
        return green

    def blue_green(self, green: Source) -> None:
        """Switch over to a copy; the application rests meanwhile.  The old primary is gone."""
        blue, replica = self.pair.primary, self.pair.replica
        self.pair.wait_for_the_replica()
        self.pair.stop_replicating()
        self.pair.replica = green
        self.pair.wait_for_the_replica()
        self.pair.stop_replicating()
        self.pair.promote()
        self.pair.replica = replica
        self.pair.replicate()
        blue.close()

    def follow(self, green: Source) -> None:
        """Let a copy follow the primary."""
        Pair(self.pair.primary, green, self.switch).replicate()

    @property
    def is_upgraded(self) -> bool:
        """Whether MariaDB 10.11 has become 11.8."""
        return self.kind == "mariadb1011" and not self.pair.replica.version.startswith("10.")

    def upgrade(self) -> None:
        """Let MariaDB 10.11 become 11.8: the replica, the switch, then the old primary."""
        self.pair.wait_for_the_replica()
        self._become(self.pair.replica, "mariadb")
        self.pair.wait_for_the_replica()
        self.pair.stop_replicating()
        self.pair.promote()
        self._become(self.pair.replica, "mariadb")
        self.pair.replicate()

    def _become(self, server: Source, name: str) -> None:
        assert isinstance(server, _Movable)
        server.stop()
        server.become(name)
        server.start()

    def upgrade_redis(self) -> None:
        """Let Redis 7 become 8, with its data."""
        self.redis.stop()
        self.redis.become("redis")
        self.redis.start()

    # -- secrets ---------------------------------------------------------------------

    def change_password(self, name: str, *, first: bool, pause_s: float) -> None:
        """Change one at the server, and in cdc's file before or after that.

        Args:
            first: the server takes it before the file has it.
            pause_s: between the two.
        """
        self._made += 1
        word = self.passwords[name] = f"{name}-{self._made}"
        steps: list[Callable[[], None]] = [
            {"mysql": self._at_mysql, "nats": self._at_nats, "redis": self._at_redis}[name],
            lambda: self._write(self.folder / name / "password", word),
        ]
        for step in steps if first else reversed(steps):
            step()
            time.sleep(pause_s)

    def change_certificate(self, name: str, *, other: bool, first: bool, pause_s: float) -> None:
        """Replace a server's certificate, by one of another authority too.

        Args:
            other: by one that cdc does not trust yet.
            first: the server has it before cdc's file has the authority.
            pause_s: between the two.
        """
        old = self._authorities[name]
        new = self._authorities[name] = self._authority() if other else old
        if first:
            self._issue(name, new, old)
            self._take_certificate(name)
            time.sleep(pause_s)
            self._trust(name, new)
            if name == "mysql":
                self._take_certificate(name)  # it refused one that its own file did not vouch for
        else:
            self._trust(name, old, new)
            time.sleep(pause_s)
            self._issue(name, new, old, new)
            self._take_certificate(name)
            self._trust(name, new)

    def _authority(self) -> Authority:
        self._made += 1
        return Authority(self.folder / f"authority{self._made}", f"a{self._made}")

    def _write(self, path: Path, text: str | bytes) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(text if isinstance(text, bytes) else text.encode())
        new.rename(path)

    def _trust(self, name: str, *authorities: Authority) -> None:
        text = b"".join(one.file.read_bytes() for one in dict.fromkeys(authorities))
        self._write(self.folder / name / "ca.pem", text)

    def _issue(self, name: str, authority: Authority, *trusted: Authority) -> None:
        cert, key = authority.issue(f"{name}{self._made}", is_rsa=self.kind == "mysql80")
        self._write(self.folder / name / "cert.pem", cert.read_bytes())
        self._write(self.folder / name / "key.pem", key.read_bytes())
        self._trust(name, *(trusted or (authority,)))

    def _take_certificate(self, name: str) -> None:
        if name == "mysql":
            if self.kind == "mysql80":  # 8.0.16 was the first to read it again
                self.pair.primary.stop()
                self.pair.primary.start()
                return
            words = "FLUSH LOCAL SSL" if self.is_mariadb else "ALTER INSTANCE RELOAD TLS"
            for server in (self.pair.primary, self.pair.replica):
                # MySQL refuses a certificate of its own that its authorities do not vouch for.
                with suppress(pymysql.MySQLError):
                    self.pair.execute(server, UNLOGGED, words)
            end_connections(self.pair.primary)
        elif name == "nats":
            os.kill(self.nats.pid, signal.SIGHUP)
        else:
            files = [str(self.folder / "redis" / part) for part in ("cert.pem", "key.pem")]
            client: Any = self.client()
            client.config_set("tls-cert-file", files[0], "tls-key-file", files[1])
            client.client_kill_filter(_type="normal", skipme=True)

    def _at_mysql(self) -> None:
        word = self.passwords["mysql"]
        self.pair.execute(self.pair.primary, f"ALTER USER cdc@'%' IDENTIFIED BY '{word}'")
        end_connections(self.pair.primary)

    def _at_nats(self) -> None:
        conf = self.nats.folder / "nats-server.conf"
        before, self.nats.options = str(self.nats.options), self._of_nats()
        conf.write_text(conf.read_text().replace(before, self.nats.options))
        os.kill(self.nats.pid, signal.SIGHUP)

    def _at_redis(self) -> None:
        client: Any = self.client()
        client.execute_command(f"ACL SETUSER cdc resetpass >{self.passwords['redis']}")
        client.execute_command("ACL SAVE")
        client.client_kill_filter(_type="normal", skipme=True)

    def _of_nats(self) -> str:
        files = (self.folder / "nats/cert.pem", self.folder / "nats/key.pem")
        login = f'user: cdc, password: "{self.passwords["nats"]}"'
        return nats_options(files, self._authorities["nats"]) + f"\nauthorization {{ {login} }}"

    def _of_redis(self) -> tuple[str, ...]:
        users = self.folder / "redis/users.acl"
        users.write_text(
            "user default on nopass ~* &* +@all\n"
            f"user cdc on >{self.passwords['redis']} ~* &* +@all\n"
        )
        files = (self.folder / "redis/cert.pem", self.folder / "redis/key.pem")
        self._tls_port = free_port()
        options = redis_options(self._tls_port, files, self._authorities["redis"])
        return (*options, "--aclfile", str(users))


def purge(server: Source) -> None:
    """Remove all of a server's binlog files but the newest."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(UNLOGGED)
        cursor.execute("FLUSH LOCAL BINARY LOGS")
        with suppress(pymysql.MySQLError):  # MariaDB 11 keeps what no replica has asked for
            cursor.execute("SET GLOBAL slave_connections_needed_for_purge = 0")
        cursor.execute("SHOW BINARY LOGS")
        newest = cursor.fetchall()[-1][0]
        cursor.execute(f"PURGE BINARY LOGS TO '{newest}'")
