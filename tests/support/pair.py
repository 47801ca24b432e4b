"""A primary and a replica of a kind, and which of them an address leads to."""

from __future__ import annotations

from typing import Protocol

from cdc.demo.servers import PASSWORD, MariaDB, MySQL, MySQL80

Source = MySQL | MariaDB


class Switched(Protocol):
    """What leads to one of several ports."""

    def switch(self, port: int) -> None:
        """Lead to another one from now on; connections that are open are cut."""


class Pair:
    """A primary and a replica behind one address."""

    def __init__(self, one: Source, other: Source, address: Switched, url: str = "") -> None:
        """Take two servers that run.

        Args:
            address: leads to the first of them.
            url: how it is reached.
        """
        self.primary, self.replica = one, other
        self.address, self.url = address, url
        self.is_mariadb = isinstance(one, MariaDB)
        self._is_old = self.is_mariadb or isinstance(one, MySQL80)
        """Whether it has the words of before MySQL 8.0.22 alone."""

    def execute(self, server: Source, *statements: str) -> None:
        """Run statements on one of them."""
        with server.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def replicate(self) -> None:
        """Make the replica follow the primary, from wherever it is."""
        word, to = ("MASTER", "MASTER") if self._is_old else ("SOURCE", "REPLICATION SOURCE")
        about = {"HOST": "'127.0.0.1'", "PORT": self.primary.port, "USER": "'root'"}
        about |= {"PASSWORD": f"'{PASSWORD}'", "CONNECT_RETRY": 1}
        settings = [f"{word}_{name}={value}" for name, value in about.items()]
        if self.is_mariadb:
            # It counts what it wrote itself, as a primary, as received.
            self.execute(self.replica, "SET GLOBAL gtid_slave_pos = @@global.gtid_current_pos")
            settings.append("MASTER_USE_GTID=slave_pos")
        else:
            settings += [f"{word}_AUTO_POSITION=1", f"GET_{word}_PUBLIC_KEY=1"]
        begin = f"START {'SLAVE' if self._is_old else 'REPLICA'}"
        self.execute(self.replica, f"CHANGE {to} TO {', '.join(settings)}", begin)

    def wait_for_the_replica(self) -> None:
        """Wait until the replica has all that the primary committed."""
        name = "gtid_binlog_pos" if self.is_mariadb else "gtid_executed"
        want = self._ask(self.primary, f"SELECT @@global.{name}")
        has = "MASTER_GTID_WAIT('{}', 60)" if self.is_mariadb else (
            "WAIT_FOR_EXECUTED_GTID_SET('{}', 60)"
        )  # fmt: skip
        if self._ask(self.replica, "SELECT " + has.format(want)) != "0":
            raise AssertionError(f"the replica does not reach {want}: {self._status()}")

    def stop_replicating(self) -> None:
        """End the replica's following; it keeps what it has applied."""
        word = "SLAVE" if self._is_old else "REPLICA"
        self.execute(self.replica, f"STOP {word}", f"RESET {word} ALL")

    def promote(self) -> None:
        """Make the replica the primary, at once for everybody."""
        self.primary, self.replica = self.replica, self.primary
        self.address.switch(self.primary.port)

    def _status(self) -> dict[str, object]:
        """Return what the replica says about its following."""
        with self.replica.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SHOW {'SLAVE' if self._is_old else 'REPLICA'} STATUS")
            names = [column[0] for column in cursor.description or ()]
            return {
                name: value
                for name, value in zip(names, cursor.fetchone() or (), strict=False)
                if "Error" in name or "Running" in name or "Gtid" in name
            }

    def _ask(self, server: Source, query: str) -> str:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return str((cursor.fetchone() or ("",))[0])
