"""A primary and a replica of a kind, and which of them an address leads to."""

from __future__ import annotations

from typing import Protocol

from cdc.demo.servers import PASSWORD, MariaDB, MySQL

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

    def execute(self, server: Source, *statements: str) -> None:
        """Run statements on one of them."""
        with server.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def replicate(self) -> None:
        """Make the replica follow the primary, from wherever it is."""
        host = f"HOST='127.0.0.1', {{}}_PORT={self.primary.port}, {{}}_USER='root'"
        host += f", {{}}_PASSWORD='{PASSWORD}'"
        if self.is_mariadb:
            statement = f"CHANGE MASTER TO MASTER_{host}, MASTER_USE_GTID=slave_pos"
            self.execute(self.replica, statement.format(*["MASTER"] * 3), "START SLAVE")
        else:
            statement = f"CHANGE REPLICATION SOURCE TO SOURCE_{host}, SOURCE_AUTO_POSITION=1"
            statement += ", SOURCE_CONNECT_RETRY=1, GET_SOURCE_PUBLIC_KEY=1"
            self.execute(self.replica, statement.format(*["SOURCE"] * 3), "START REPLICA")

    def wait_for_the_replica(self) -> None:
        """Wait until the replica has all that the primary committed."""
        name = "gtid_binlog_pos" if self.is_mariadb else "gtid_executed"
        want = self._ask(self.primary, f"SELECT @@global.{name}")
        has = "MASTER_GTID_WAIT('{}', 60)" if self.is_mariadb else (
            "WAIT_FOR_EXECUTED_GTID_SET('{}', 60)"
        )  # fmt: skip
        assert self._ask(self.replica, "SELECT " + has.format(want)) == "0"

    def stop_replicating(self) -> None:
        """End the replica's following; it keeps what it has applied."""
        word = "SLAVE" if self.is_mariadb else "REPLICA"
        self.execute(self.replica, f"STOP {word}", f"RESET {word} ALL")

    def promote(self) -> None:
        """Make the replica the primary, at once for everybody."""
        self.primary, self.replica = self.replica, self.primary
        self.address.switch(self.primary.port)

    def _ask(self, server: Source, query: str) -> str:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return str((cursor.fetchone() or ("",))[0])
