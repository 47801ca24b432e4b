"""Three servers with tables of every model, and the pipeline between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from cdc.demo.servers import MariaDB, MySQL
from tests.support.modelled import CREATE, SECRET, Churn, configure, wait_until_equal
from tests.support.pipeline import Pipeline, Process, wait_for
from tests.support.tally import seeded
from tests.support.truth import messages

SECRETS = ("a@b", "ü@日本", "'030'", SECRET)
"""What is masked or left out, and must be seen nowhere but in MySQL."""


class Models:
    """Three servers with the tables of every model, and the pipeline between."""

    def __init__(
        self, mysql: MySQL | MariaDB, nats_url: str, redis_port: int, folder: Path, partitions: int
    ) -> None:
        self.mysql, self.nats_url, self.partitions = mysql, nats_url, partitions
        self.client = redis.Redis(port=redis_port)
        with mysql.connect() as connection, connection.cursor() as cursor:
            for statement in ("CREATE DATABASE shop", *CREATE):
                cursor.execute(statement)
            cursor.execute(
                "INSERT INTO shop.orders VALUES (900, 1, 'a@b', '030', 'a@b', 1, NULL, 0)"
            )
            cursor.execute("INSERT INTO shop.order_lines VALUES (9, 1, 'pen', 0), (9, 2, NULL, 0)")
            cursor.execute("INSERT INTO shop.visits VALUES (900, NULL, 0)")
        url = f"redis://127.0.0.1:{redis_port}"
        self.pipeline = Pipeline(folder, mysql=mysql.url, nats=nats_url, redis=url, tables="")
        del self.pipeline.environment["CDC_TABLES"]
        self.pipeline.environment |= configure(folder, partitions=partitions)
        self.flags = ("--partitions", str(partitions))

    def execute(self, *statements: str) -> None:
        with self.mysql.connect("shop") as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def role(self, name: str) -> Process:
        return self.pipeline.process("--role", name, *self.flags, name=name).start()

    def churn(self) -> Churn:
        return Churn(lambda: self.mysql.connect("shop"), seed=seeded().randrange(1 << 32))

    def moved(self) -> None:
        """Wait until something has been applied."""
        before = self._positions()
        wait_for("progress in Redis", lambda: self._positions() not in ([], before))

    def _positions(self) -> list[Any]:
        keys: Any = sorted(self.client.scan_iter(match="cdc:default:position*"))
        found: Any = self.client.mget(keys) if keys else []
        return list(found)

    def wait_until_equal(self) -> None:
        with self.mysql.connect() as connection:
            wait_until_equal(connection, self.client, partitions=self.partitions)

    def assert_nothing_leaked(self) -> None:
        """Neither the stream nor a log has a masked text."""
        bodies = [body for _, body in messages(self.nats_url)]
        said = [str(body) for body in bodies if body.get("table") == "shop.orders"]
        said += [log.read_text(errors="replace") for log in self.pipeline.folder.glob("*.log")]
        assert [(s, text) for text in said for s in SECRETS if s in text] == []
