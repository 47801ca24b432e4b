"""A server with a schema of its own, read in both ways: by SELECT and by its binlog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pymysql
from pymysql.connections import Connection
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from cdc.demo.servers import MariaDB, MySQL
from cdc.key import parse_template
from cdc.message import Change, SnapshotRow, decode_change
from cdc.mysql.session import SESSION_SQL
from cdc.table import Column, Table
from cdc_reader.binlog.table_map import parse_table_map
from cdc_reader.rows.row_codec import Op, RowCodec
from cdc_reader.rows.select_codec import CONNECTION, SelectCodec
from cdc_reader.rows.shape import needed_columns, target_of
from cdc_reader.schema.columns import named

SCHEMA = "decoders"
ROWS_EVENTS: dict[int, Op] = {
    23: "insert", 24: "update", 25: "delete", 30: "insert", 31: "update", 32: "delete",
}  # fmt: skip
SUFFIX = ',"ts":1795414891568123,"v":1}'


class Bench:
    """One server with connections to write, to read and to take its binlog."""

    def __init__(self, server: MySQL | MariaDB) -> None:
        self.server = server
        self.mariadb = isinstance(server, MariaDB)
        self.writer = server.connect()
        self.execute(f"DROP DATABASE IF EXISTS {SCHEMA}")
        self.execute(f"CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4")
        self.execute(f"USE {SCHEMA}")
        self.execute("SET NAMES utf8mb4")
        self.execute("SET SESSION sql_mode = '', time_zone = '+00:00'")
        self.reader = pymysql.connect(
            **server.login, database=SCHEMA, autocommit=True, init_command=SESSION_SQL, **CONNECTION
        )

    def close(self) -> None:
        self.execute(f"DROP DATABASE {SCHEMA}")
        self.writer.close()
        self.reader.close()

    def execute(self, sql: str, values: Sequence[Any] | None = None) -> tuple[Any, ...]:
        with self.writer.cursor() as cursor:
            cursor.execute(sql, values)
            return tuple(cursor.fetchall())

    def place(self) -> tuple[str, int]:
        file, offset, *_ = self.execute(self.server.newest_place_sql)[0]
        return file, offset

    def table(self, name: str, value_column: str | None = None, key: str = "{table}:{pk}") -> Table:
        rows = self.execute(
            "SELECT column_name, data_type, column_type, character_set_name, is_nullable"
            " FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
            " ORDER BY ordinal_position",
            (SCHEMA, name),
        )
        columns = tuple(
            Column(
                name=n, data_type=kind, column_type=full, charset=charset, nullable=null == "YES"
            )
            for n, kind, full, charset, null in rows
        )
        return Table(
            schema=SCHEMA,
            name=name,
            columns=columns,
            identity=("id",),
            chunk_key=("id",),
            key=parse_template(key, schema=SCHEMA, table=name, pk=("id",)),
            value_column=value_column,
            model="string",
        )

    @contextmanager
    def unnamed(self) -> Iterator[None]:
        """Have the server write TABLE_MAPs as it does by default."""
        default = "NO_LOG" if self.mariadb else "MINIMAL"
        self.execute(f"SET GLOBAL binlog_row_metadata = '{default}'")
        try:
            yield
        finally:
            self.execute("SET GLOBAL binlog_row_metadata = 'FULL'")

    def select(self, table: Table) -> dict[str, str | None]:
        """Return value by key, as `SelectCodec` makes them."""
        return {row.key: row.value for row in self.selected(table)}

    def selected(self, table: Table) -> list[SnapshotRow]:
        """Return the rows of a snapshot, as `SelectCodec` makes them."""
        codec = SelectCodec(table, mariadb=self.mariadb)
        with self.reader.cursor() as cursor:
            cursor.execute(f"SELECT {codec.select_list} FROM {table.name} WHERE 1 = %s", (1,))
            rows = cursor.fetchall()
        return [msgspec.json.decode(row, type=SnapshotRow) for row in codec.rows(rows)]

    def both_ways(
        self, ddl: str, *statements: str, **how: Any
    ) -> tuple[dict[str, str | None], list[Change]]:
        """Make table ``t``, run statements, return its rows by key and the binlog's changes.

        What SELECT and what the binlog gives are compared before.
        """
        self.execute("DROP TABLE IF EXISTS t")
        self.execute(ddl)
        place = self.place()
        for statement in statements:
            self.execute(statement)
        table = self.table("t", **how)
        changes = self.events(place, library=False).changes(table, mariadb=self.mariadb)
        rows: dict[str, str | None] = {}
        for change in changes:
            if change.old_key is not None:
                rows.pop(change.old_key)
            if change.op == "delete":
                rows.pop(change.key)
            else:
                rows[change.key] = change.value
        selected = self.select(table)
        assert rows == selected
        return selected, changes

    def events(self, place: tuple[str, int], *, library: bool) -> Taken:
        """Return what the server sends from a place to the end of its binlog."""
        taken = Taken()

        class Tap(Connection):
            dumping = False

            def __init__(self, db: str | None = None, **kwargs: Any) -> None:
                super().__init__(database=db, **kwargs)

            def _write_bytes(self, data: bytes) -> None:
                self.dumping = self.dumping or data[4:5] == b"\x12"
                super()._write_bytes(data)  # type: ignore[misc]

            def _read_packet(self, *args: Any) -> Any:
                packet = super()._read_packet(*args)  # type: ignore[no-untyped-call]
                if self.dumping and not packet.is_eof_packet():
                    taken.raw.append((packet._data[5], packet._data[20:-4]))
                return packet

        stream = BinLogStreamReader(
            connection_settings=self.server.login,
            server_id=4321,
            log_file=place[0],
            log_pos=place[1],
            resume_stream=True,
            blocking=False,
            enable_logging=False,
            pymysql_wrapper=Tap,
            only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent],
        )
        try:
            if not library:
                # Its own decoder would stumble over what it does not know.
                stream._BinLogStreamReader__connect_to_stream()
                while not stream._stream_connection._read_packet().is_eof_packet():
                    pass
                return taken
            for event in stream:
                taken.library.append(
                    [row.get("after_values") or row["values"] for row in event.rows]
                )
        finally:
            stream.close()
        return taken


@dataclass
class Taken:
    """Events of a piece of binlog."""

    raw: list[tuple[int, bytes]] = field(default_factory=list)
    """Type and body."""
    library: list[list[dict[str, Any]]] = field(default_factory=list)
    """Rows of each rows event as mysql-replication decodes them, after the change."""
    are_named: list[bool] = field(default_factory=list)
    """Of each TABLE_MAP that `changes` read, whether it has the names of its columns."""

    def changes(self, table: Table, *, mariadb: bool) -> list[Change]:
        """Return the messages of the rows events."""
        target = target_of(table)
        codec: RowCodec | None = None
        bodies: list[bytes] = []
        prev = ""
        for number, (kind, body) in enumerate(self.raw):
            if kind == 19:
                table_map = parse_table_map(body, mariadb=mariadb)
                self.are_named.append(table_map.is_named)
                if not table_map.is_named:
                    needed = needed_columns(target, table.column_names)
                    table_map = named(table_map, table, needed)
                codec = RowCodec(table_map, target)
            elif kind in ROWS_EVENTS:
                assert codec is not None
                at = 8 if kind < 30 else 8 + (body[8] | body[9] << 8)
                _, prev = codec.messages(
                    ROWS_EVENTS[kind], body, at, len(body), first_row=0, id_prefix=f"1.2.{number}.",
                    prev=prev, context="", suffix=SUFFIX, skip_rows=0, out=bodies,
                )  # fmt: skip
        changes = [decode_change(body) for body in bodies]
        assert [change.prev for change in changes[1:]] == [change.id for change in changes[:-1]]
        return changes
