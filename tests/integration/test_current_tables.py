"""The captured tables as the catalog has them when a reader's process begins."""

from __future__ import annotations

import asyncio
import uuid

from cdc.check.servers import captured_tables
from cdc.demo.servers import MariaDB, MySQL, Nats
from cdc.message import TableProgress
from cdc.settings import load
from cdc_reader.current_tables import AGAIN_S, CurrentTables
from tests.support.sinking import LOG


def test_a_table_that_changed_since_the_checks_is_looked_at_before_a_row_is_read(
    any_server: MySQL | MariaDB, nats: Nats
) -> None:
    """One has another column now; the other cannot be captured, and is set aside from the start."""
    schema = f"now_{uuid.uuid4().hex[:8]}"

    def sql(*statements: str) -> None:
        with any_server.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    sql(f"CREATE DATABASE {schema}")
    sql(*(f"CREATE TABLE {schema}.{name} (id INT PRIMARY KEY)" for name in ("a", "b")))
    settings = load(
        {"mysql": any_server.url, "nats": nats.url, "tables": (f"{schema}.a", f"{schema}.b")}, {}
    )
    checked = asyncio.run(captured_tables(settings))
    sql(f"ALTER TABLE {schema}.a ADD n INT", f"ALTER TABLE {schema}.b ADD p POINT")
    current = CurrentTables.of(settings, checked, LOG)
    asyncio.run(current.settle())
    aside, (table,) = current.parted({f"{schema}.b": TableProgress(done=True)})

    assert (table.name, table.column_names) == ("a", ("id", "n"))
    assert list(aside) == [f"{schema}.b"]
    assert "point" in str(aside[f"{schema}.b"].aside)
    assert aside[f"{schema}.b"].done


def test_a_large_table_is_read_again_less_often() -> None:
    """Rows without keys that never end would have it read all the time."""
    current = CurrentTables.of(load({}, {}), (), LOG)
    due = {"shop.large": 10**9, "shop.small": 7}
    first = current.reading_again(due, "binlog.000001:4")
    assert first is not None
    assert first.tables == ("shop.large", "shop.small")
    assert current.reading_again(due, "binlog.000001:4") is None
    current._again_s = {name: at_s - AGAIN_S for name, at_s in current._again_s.items()}
    again = current.reading_again(due, "binlog.000001:4")

    assert again is not None
    assert again.tables == ("shop.small",)
