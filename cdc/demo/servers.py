"""Start and stop real servers: MySQL, MariaDB, NATS and Redis, on loopback.

Each has a port and a data folder of its own, kept over ``stop``/``kill`` and ``start``
and gone with ``close``.  They are stopped by process id, never by name, and end with
this process whatever happens to it.

``python -m cdc.demo.servers`` starts all four and prints their URLs until Ctrl-C.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import string
import sys
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pymysql

from cdc.demo import datadir
from cdc.demo.server import Server, ServerFailed
from cdc.errors import CdcError

__all__ = [
    "MariaDB",
    "MariaDB1011",
    "MySQL",
    "MySQL80",
    "Nats",
    "Redis",
    "Server",
    "ServerFailed",
    "start_together",
]

PROBE_DEADLINE_S = 2.0
PASSWORD = "".join(secrets.choice(string.ascii_lowercase) for _ in range(24))
"""Of root on every server that this process starts, new with each process: whoever else is on
the machine reaches the port, and root of MySQL reads and writes files as the one who started it.
Letters alone, so that it is the same in an address, in SQL and in a configuration file."""
PID_FILE = "mysqld.pid"
CLIENT_ERRORS = range(2000, 3000)
"""MySQL error numbers of the client side: no server has answered."""


class _SqlServer(Server):
    """What MySQL and MariaDB share: protocol, arguments, a copied data folder."""

    share: ClassVar[tuple[str, ...]]
    """Names that the folder with messages and character sets may have."""

    newest_place_sql: ClassVar[str] = "SHOW MASTER STATUS"
    """Answers the binlog's file and offset, and more."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        """Add options as on the command line; the last one wins: ``("--sync-binlog=0",)``."""
        super().__init__()
        self.options = tuple(options)

    @property
    def url(self) -> str:
        """Address of root: ``mysql://root:PASSWORD@127.0.0.1:20123``."""
        return f"mysql://root:{PASSWORD}@127.0.0.1:{self.port}"

    @property
    def login(self) -> dict[str, Any]:
        """Root's login, as `pymysql.connect` takes it.

        Without TLS, which costs 30 ms of CPU a connection: the server listens on loopback only.
        """
        about = {"host": "127.0.0.1", "port": self.port, "ssl_disabled": True}
        return about | {"user": "root", "password": PASSWORD}

    def connect(self, database: str | None = None) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """Return a new autocommit connection of root."""
        return pymysql.connect(**self.login, database=database, autocommit=True)

    def start(self) -> None:
        """Start it; see `Server.start`.  With the first start root gets a password."""
        super().start()
        self._first_sql.unlink(missing_ok=True)

    def _prepare(self) -> None:
        datadir.copy_template(self.program, self._initialise, self.folder)
        self._files.mkdir(mode=0o700)
        # Run before the server listens, in no binlog.  Source: MySQL manual, init_file.
        self._first_sql.touch(mode=0o600)
        self._first_sql.write_text("\n".join(["SET sql_log_bin = 0;", *self._root_sql(), ""]))

    @property
    def _files(self) -> Path:
        """The only folder that SQL may read from and write to, in one that is ours alone."""
        return self.folder.parent / "files"

    @property
    def _first_sql(self) -> Path:
        return self.folder.parent / "first.sql"

    def _root_sql(self) -> list[str]:
        """Return the statements, a line each, that leave root with the password."""
        return [f"ALTER USER root@localhost IDENTIFIED BY '{PASSWORD}';"]

    @abstractmethod
    def _initialise(self, folder: Path) -> None:
        """Make a fresh data folder."""

    def _common_arguments(self, folder: Path) -> list[str]:
        arguments = ["--no-defaults", f"--datadir={folder}", "--innodb-buffer-pool-size=64M"]
        # A server that starts removes what stands in tmpdir as a temporary table: in a folder
        # that several share, those of others that run.  Source: sql_base.cc, mysql_rm_tmp_tables.
        arguments.append(f"--tmpdir={folder}")
        if os.geteuid() == 0:
            # Both refuse to run as root unless told to; the data folder is root's own.
            arguments.append("--user=root")
        if self.program.root is not None:
            usr = self.program.prefix()
            share = next(path for name in self.share if (path := usr / "share" / name).exists())
            arguments += [
                f"--basedir={usr}",
                f"--lc-messages-dir={share}",
                f"--character-sets-dir={share / 'charsets'}",
                f"--plugin-dir={usr / 'lib/mysql/plugin'}",
            ]
        return arguments

    def _arguments(self) -> Sequence[str]:
        return [
            *self._common_arguments(self.folder),
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            # Relative to the data folder: an absolute path may be too long for a socket.
            "--socket=mysqld.sock",
            f"--pid-file={PID_FILE}",
            f"--secure-file-priv={self._files}",
            *([f"--init-file={self._first_sql}"] if self._first_sql.exists() else []),
            "--log-bin=binlog",
            "--binlog-format=ROW",
            "--binlog-row-image=FULL",
            "--binlog-row-metadata=FULL",
            "--character-set-server=utf8mb4",
            *self._own_arguments(),
            *self.options,
        ]

    @abstractmethod
    def _own_arguments(self) -> list[str]:
        """Return what this kind needs beside the common arguments."""

    def _answers(self) -> bool:
        """Ask for its data folder: another server may have got the port first."""
        try:
            connection = pymysql.connect(
                **self.login,
                connect_timeout=PROBE_DEADLINE_S,
                read_timeout=PROBE_DEADLINE_S,
            )
        except pymysql.err.OperationalError as error:
            # A test may have taken root's login away; a refusal is an answer too, if it is ours.
            return error.args[0] not in CLIENT_ERRORS and self._says_its_id()
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@datadir")
            row = cursor.fetchone()
        return row is not None and Path(row[0]) == self.folder

    def _says_its_id(self) -> bool:
        """Return whether it got the port; it writes its process id down after that."""
        try:
            return self.is_running and int((self.folder / PID_FILE).read_text()) == self.pid
        except (OSError, ValueError):
            return False


class MySQL(_SqlServer):
    """mysqld with the row-based binlog that cdc needs, GTIDs on."""

    name = "mysql"
    share = ("mysql",)
    newest_place_sql = "SHOW BINARY LOG STATUS"
    initial: ClassVar[tuple[str, ...]] = ("--innodb-redo-log-capacity=8M",)
    """Of a fresh data folder, which each server copies: half as large, and it grows when needed."""

    def __init__(self, gtid: bool = True, options: Sequence[str] = ()) -> None:
        """Choose GTIDs or file and offset; ``options`` as on mysqld's command line."""
        super().__init__(options)
        self.gtid = gtid

    def _initialise(self, folder: Path) -> None:
        # Without binlog here: each server's first file is binlog.000001.
        arguments = ("--initialize-insecure", "--disable-log-bin", "--mysqlx=OFF", *self.initial)
        datadir.run(self.program.command(*self._common_arguments(folder), *arguments))
        # Holds server_uuid, which mysqld makes anew where the file is missing.
        (folder / "auto.cnf").unlink()

    def _own_arguments(self) -> list[str]:
        mode = "ON" if self.gtid else "OFF"
        return [
            "--mysqlx=OFF",
            # It takes 240 MB and a quarter of a start's CPU time; pass ON where it is asked.
            "--performance-schema=OFF",
            "--server-id=1",
            f"--gtid-mode={mode}",
            f"--enforce-gtid-consistency={mode}",
        ]


class MySQL80(MySQL):
    """An early 8.0: other statements, and other flaws, than today's."""

    name = "mysql80"
    share = ("",)
    newest_place_sql = "SHOW MASTER STATUS"
    initial = ()


class MariaDB(_SqlServer):
    """mariadbd with the row-based binlog that cdc needs; its GTIDs are always on."""

    name = "mariadb"
    share = ("mariadb", "mysql")

    def _initialise(self, folder: Path) -> None:
        share = self.program.prefix() / "share"
        script = ["CREATE DATABASE mysql;", "USE mysql;", "SET @auth_root_socket = NULL;"]
        for part in ("system_tables", "performance_tables", "system_tables_data"):
            names = [share / f"{kind}/{kind}_{part}.sql" for kind in ("mariadb", "mysql")]
            found = [path for path in names if path.exists()]
            if not found:
                raise ServerFailed(
                    f"MariaDB's {names[0]} is not there",
                    fix="install the package mariadb-server",
                )
            script.append(found[0].read_text())
        command = self.program.command(*self._common_arguments(folder), "--bootstrap")
        datadir.run(command, "\n".join(script))
        # Without one, MariaDB 11 makes an RSA key at each start: two thirds of its CPU time.
        from cdc.demo.certificate import make_certificate

        make_certificate(folder)

    def _root_sql(self) -> list[str]:
        hosts = ("localhost", "127.0.0.1", "::1")
        keeps = ", ".join(f"'{host}'" for host in hosts)
        return [
            f"DELETE FROM mysql.global_priv WHERE User = 'root' AND Host NOT IN ({keeps});",
            "FLUSH PRIVILEGES;",
            *(f"ALTER USER root@'{host}' IDENTIFIED BY '{PASSWORD}';" for host in hosts),
        ]

    def _own_arguments(self) -> list[str]:
        certificate, key = self.folder / "server-cert.pem", self.folder / "server-key.pem"
        tls = [f"--ssl-cert={certificate}", f"--ssl-key={key}"]
        return ["--server-id=2", "--gtid-strict-mode=ON", *tls]


class MariaDB1011(MariaDB):
    """The long-term release of 2023, as Debian 12 has it."""

    name = "mariadb1011"


class Nats(Server):
    """nats-server with JetStream, its store in the data folder."""

    name = "nats"

    def __init__(
        self, options: Mapping[str, object] | str = "", *, has_password: bool = False
    ) -> None:
        """Add settings, as a mapping or as text of its configuration language.

        ``Nats({"max_payload": 65536})``, ``Nats("max_payload: 64KB")``
        """
        super().__init__()
        self.options = options
        self.has_password = has_password

    @property
    def url(self) -> str:
        """Address: ``nats://127.0.0.1:20124``, with the login where it has a password."""
        return f"nats://{f'cdc:{PASSWORD}@' if self.has_password else ''}127.0.0.1:{self.port}"

    @property
    def _server_name(self) -> str:
        return self.folder.name

    def _arguments(self) -> Sequence[str]:
        settings: dict[str, object] = {
            "host": "127.0.0.1",
            "port": self.port,
            "server_name": self._server_name,
            "jetstream": {"store_dir": str(self.folder)},
        }
        if self.has_password:
            settings["authorization"] = {"user": "cdc", "password": PASSWORD}
        text = self.options if isinstance(self.options, str) else ""
        if not isinstance(self.options, str):
            settings |= self.options
        lines = [f"{name}: {json.dumps(value)}" for name, value in settings.items()]
        path = self.folder / "nats-server.conf"
        path.touch(mode=0o600)
        path.write_text("\n".join([*lines, text, ""]))
        return ["--config", str(path)]

    def _answers(self) -> bool:
        """Read the greeting, which comes after JetStream has been restored."""
        with socket.create_connection(("127.0.0.1", self.port), PROBE_DEADLINE_S) as connection:
            greeting = connection.makefile("rb").readline()
        kind, _, text = greeting.partition(b" ")
        return kind == b"INFO" and json.loads(text)["server_name"] == self._server_name


class Redis(Server):
    """redis-server that writes its append-only file every second."""

    name = "redis"

    def __init__(self, args: Sequence[str] = (), *, has_password: bool = False) -> None:
        """Add arguments, last one wins: ``("--maxmemory", "64mb")``."""
        super().__init__()
        self.args = tuple(args)
        self.has_password = has_password

    @property
    def url(self) -> str:
        """Address: ``redis://127.0.0.1:20125/0``, with the password where it has one."""
        return f"redis://{f':{PASSWORD}@' if self.has_password else ''}127.0.0.1:{self.port}/0"

    def _arguments(self) -> Sequence[str]:
        settings = f"--port {self.port} --bind 127.0.0.1 --appendonly yes --appendfsync everysec"
        arguments = [*settings.split(), "--dir", str(self.folder), "--save", "", *self.args]
        if not self.has_password:
            return arguments
        # In a file: a command line is for everybody to see.
        path = self.folder / "redis.conf"
        path.touch(mode=0o600)
        path.write_text(f"requirepass {PASSWORD}\n")
        return [str(path), *arguments]

    def _answers(self) -> bool:
        """Ask for its process id: another server may have got the port first."""
        with socket.create_connection(("127.0.0.1", self.port), PROBE_DEADLINE_S) as connection:
            login = f"AUTH {PASSWORD}\r\n".encode() if self.has_password else b""
            connection.sendall(login + b"PING\r\nINFO server\r\nQUIT\r\n")
            answer = connection.makefile("rb").read()
        if self.has_password:
            answer = answer.removeprefix(b"+OK\r\n")
        elif answer.startswith(b"-NOAUTH"):
            return self.is_running
        return answer.startswith(b"+PONG") and b"\r\nprocess_id:%d\r\n" % self.pid in answer


class Redis70(Redis):
    """The release of 2022, as Debian 12 has it: the last that knows no CLIENT SETINFO."""

    name = "redis70"


def start_together(stack: ExitStack, *servers: Server) -> None:
    """Start servers side by side and leave closing them to ``stack``.

    Raises:
        ServerFailed, fetch.ServerMissing: the first that failed; the stack closes the others.
    """
    for server in servers:
        stack.callback(server.close)
    for server in servers:
        # Downloads come one after the other, here, where Ctrl-C ends them at once.
        _ = server.program
    with ThreadPoolExecutor(len(servers)) as threads:
        list(threads.map(lambda server: server.start(), servers))


def main() -> None:
    """Run ``python -m cdc.demo.servers``: all four, until Ctrl-C."""
    servers: tuple[Server, ...] = (
        MySQL(),
        MariaDB(),
        Nats(has_password=True),
        Redis(has_password=True),
    )
    try:
        with ExitStack() as stack:
            start_together(stack, *servers)
            for server in servers:
                print(f"{server.name:8} {server.version:8} {server.url}", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        pass
    except CdcError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
