"""Rows of a SELECT, cut out of the connection's bytes.

Pure, but for `fetch_rows`, which reads them.  PyMySQL takes 5 us for a row of nine columns, most
of it in an object for each packet; one generated function for each number of columns takes less
than half.  The text protocol: a row is a packet with a length-encoded string for each column,
0xfb for NULL; a packet of less than nine bytes that begins with 0xfe ends the rows.
Source: MySQL source documentation, "Text Resultset".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import SSCursor

from cdc.compiled import native
from cdc.errors import UnavailableError
from cdc_reader.binlog.event import damaged, read_lenenc
from cdc_reader.binlog.long_event import PACKET_MAX_BYTES
from cdc_reader.rows.body_source import FunctionSource
from cdc_reader.rows.select_codec import SelectedRow

READ_BYTES = 1 << 18
_native = native("cdc_reader")
_NULL = 0xFB
_END, _ERROR = 0xFE, 0xFF

_Cut = Callable[[bytes, int, list[SelectedRow]], int]


class ResultSet:
    """Collects the rows of one SELECT; reads may end anywhere in them."""

    def __init__(self, columns: int) -> None:
        """Begin at the first row's packet."""
        self.rows: list[SelectedRow] = []
        self.done = False
        self.error = b""
        """The packet that ended the rows early, from its error number on; empty: none did."""
        self._cut = _cutter(columns)
        self._columns = columns
        self._pieces: list[bytes] = []
        self._held_bytes = self._needed_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take in what was read.

        Raises:
            PositionLostError: the bytes do not follow the protocol.
        """
        self._held_bytes += len(data)
        if self._pieces:
            self._pieces.append(data)
            if self._held_bytes < self._needed_bytes:
                return
            data = b"".join(self._pieces)
        at = self._cut(data, 0, self.rows)
        while not self.done and (packet := _packet(data, at)) is not None:
            payload, stop = packet
            if payload[0] == _ERROR:
                self.done, self.error = True, payload[1:]
            elif payload[0] == _END and len(payload) < 9:
                self.done = True
            else:
                self.rows.append(_long_way(payload, self._columns))
                stop = self._cut(data, stop, self.rows)
            at = stop
        if self.done and at != len(data):
            raise damaged("more than a result set was sent")
        rest = data[at:]
        self._pieces = [rest] if rest else []
        self._held_bytes, self._needed_bytes = len(rest), _bytes_needed(rest)


def _bytes_needed(data: bytes) -> int:
    """Return how many bytes the payload that begins here takes, as far as they tell."""
    at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 3], "little")
        at += 4 + length
        if length < PACKET_MAX_BYTES:
            break
    return at


def _packet(data: bytes, at: int) -> tuple[bytes, int] | None:
    """Return a whole payload, joined from its packets, and where the next one begins."""
    parts: list[bytes] = []
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 3], "little")
        stop = at + 4 + length
        if stop > len(data):
            return None
        parts.append(data[at + 4 : stop])
        at = stop
        if length < PACKET_MAX_BYTES:
            payload = b"".join(parts)
            if not payload:
                raise damaged("an empty packet among rows")
            return payload, at
    return None


def _long_way(payload: bytes, columns: int) -> SelectedRow:
    """Return a row with a value that is long, or that came in several packets."""
    at = 0
    row: list[bytes | None] = []
    for _ in range(columns):
        if payload[at] == _NULL:
            row.append(None)
            at += 1
            continue
        size, at = read_lenenc(payload, at)
        row.append(payload[at : at + size])
        at += size
    if at != len(payload):
        raise damaged("a row of another length than its packet")
    return tuple(row)


def _cutter(columns: int) -> _Cut:
    """Return the function that takes rows off the front, as long as they are whole and usual.

    Usual is a row in one packet whose values are NULL or shorter than 251 bytes; for the
    compiled path, of any length.
    """
    if _native is not None:
        cut_rows = _native.cut_rows
        return lambda data, at, rows: int(cut_rows(data, at, columns, rows))
    return _generated_cutter(columns)


@functools.lru_cache(maxsize=64)
def _generated_cutter(columns: int) -> _Cut:
    source = FunctionSource("def generated(b, o, rows):")
    source.add("size = len(b); append = rows.append")
    with source.block("while o + 5 <= size:"):
        source.add(
            "stop = o + 4 + (b[o] | b[o + 1] << 8 | b[o + 2] << 16)",
            f"if stop > size or b[o + 4] >= {_END} or stop - o >= {PACKET_MAX_BYTES}: return o",
            "p = o + 4",
        )
        for n in range(columns):
            source.add(
                "n = b[p]; p += 1",
                f"if n < {_NULL}: v{n} = b[p:p + n]; p += n",
                f"elif n == {_NULL}: v{n} = None",
                "else: return o",
            )
        values = "".join(f"v{n}, " for n in range(columns))
        source.add("if p != stop: return o", f"append(({values}))", "o = stop")
    source.add("return o")
    return source.compile(f"{columns} columns of a SELECT")


def fetch_rows(
    connection: Connection[Any], sql: str, bound: Sequence[str], *, most_bytes: int = 0
) -> list[SelectedRow]:
    """Return the rows of a SELECT on a connection with `select_codec.CONNECTION` settings.

    Args:
        most_bytes: once this much has come, the rest is left out and the connection is closed;
            0: all rows.

    Raises:
        pymysql.MySQLError: the server refuses the statement, or ends it early.
        UnavailableError: the connection ended.
    """
    with SSCursor(connection) as cursor:
        # A tuple even when it is empty: PyMySQL then turns %% into % here too.
        cursor.execute(sql, tuple(bound))
        # PyMySQL has read the columns' definitions; the rows are still to come.
        result_set = ResultSet(len(cursor.description))
        stream = connection._rfile  # type: ignore[attr-defined]  # not in the stubs
        came_bytes = 0
        while not result_set.done:
            if most_bytes and came_bytes >= most_bytes and result_set.rows:
                connection._force_close()  # type: ignore[attr-defined]  # not in the stubs
                break
            data = stream.read1(READ_BYTES)
            if not data:
                raise UnavailableError("MySQL closed the connection in the middle of a SELECT")
            came_bytes += len(data)
            result_set.feed(data)
        result = cursor._result  # type: ignore[attr-defined]  # not in the stubs
        result.unbuffered_active, result.connection = False, None
    if result_set.error:
        pymysql.err.raise_mysql_exception(bytes([_ERROR]) + result_set.error)
    return result_set.rows
