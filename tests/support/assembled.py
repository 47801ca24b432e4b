"""A piece of a real server's binlog, through the dump connection and the assembler."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from cdc.demo.servers import MariaDB, MySQL
from cdc.message import Change, Schema, decode_change, decode_schema
from cdc.position import Position, file_number
from cdc.table import Table
from cdc.url import parse_url
from cdc_reader.resume import Resume
from cdc_reader.shape import target_of
from cdc_reader.source import Source
from cdc_reader.transaction import Assembler

DEADLINE_S = 20.0


@dataclass
class Reading:
    """What came of it."""

    changes: list[Change] = field(default_factory=list)
    schemas: list[Schema] = field(default_factory=list)


def read_binlog(
    server: MySQL | MariaDB,
    begin: tuple[str, int],
    tables: Iterable[Table],
    *,
    on_schema_change: Literal["stop", "continue"] = "stop",
) -> Reading:
    """Return the messages of all that the binlog has behind a place.

    Args:
        begin: file and offset, ``("binlog.000001", 4)``, between two transactions.

    Raises:
        PositionLostError: something in it cannot be carried.
    """
    mariadb = isinstance(server, MariaDB)
    position = Position(file=begin[0], offset=begin[1], gtid_set=None)
    assembler = Assembler(
        resume=Resume(epoch=1, position=position, last=""),
        gtid_set=None,
        targets={table.qualified: target_of(table) for table in tables},
        mariadb=mariadb,
        on_schema_change=on_schema_change,
    )
    file, offset = newest_place(server)
    end = (file_number(file), offset)

    async def read() -> None:
        source = await Source.open(parse_url(server.url, ("mysql",)), position, mariadb=mariadb)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while assembler.boundary < end:
                    for event in source.packets.feed(await source.read(0.2)):
                        assembler.take(event)
        finally:
            source.close()

    asyncio.run(read())
    reading = Reading()
    for run in assembler.runs:
        for body in run.bodies:
            if run.op == "schema":
                reading.schemas.append(decode_schema(body))
            else:
                reading.changes.append(decode_change(body))
    return reading


def newest_place(server: MySQL | MariaDB) -> tuple[str, int]:
    """Return file and offset where the binlog ends now."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(server.newest_place_sql)
        file, offset, *_ = cursor.fetchone() or ("", 0)
        return str(file), int(offset)
