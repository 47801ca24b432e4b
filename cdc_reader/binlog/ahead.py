"""Look ahead in the binlog: whether definitions changed between a statement and now."""

from __future__ import annotations

from cdc.errors import UnavailableError
from cdc.position import Position, file_number
from cdc.url import Url
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.coordinates import Coordinates
from cdc_reader.binlog.event import Event
from cdc_reader.binlog.source import Source
from cdc_reader.binlog.statement import DEFINE, control_of, parse_statement

AHEAD_BYTES_MAX = 64 << 20
SILENT_S = 8.0


async def defines_something(url: Url, since: Position, until: tuple[str, int]) -> bool:
    """Return whether a table, view, trigger or routine was defined in a part of the binlog.

    ``await defines_something(url, position, ("binlog.000042", 157))``

    True as well where that part is too long to look through.

    Raises:
        UnavailableError: the connection breaks, or nothing comes on it.
        CdcError: MySQL refuses.
    """
    place = Position(file=since.file, offset=since.offset, gtid_set=None)
    at, end = Coordinates(place), (file_number(until[0]), until[1])
    source = await Source.open(url, place, mariadb=False, waits=False)
    read_bytes = 0
    try:
        while at.position < end:
            data = await source.read(SILENT_S)
            read_bytes += len(data)
            if read_bytes > AHEAD_BYTES_MAX:
                return True
            if not data:
                raise UnavailableError(f"MySQL has sent nothing of its binlog for {SILENT_S:g} s")
            for event in source.packets.feed(data, needs=lambda kind, _: kind in ev.QUERIES):
                _go_to(at, event)
                if event.kind in ev.QUERIES and _defines(event):
                    return True
                if at.position >= end:
                    break
    finally:
        source.close()
    return False


def _go_to(at: Coordinates, event: Event) -> None:
    if event.kind == ev.ROTATE:
        at.go_to(*ev.rotate_to(event))
    elif event.kind not in ev.WITHOUT_POSITION:
        at.advance(event, in_transaction=event.kind != ev.FORMAT_DESCRIPTION)


def _defines(event: Event) -> bool:
    if ev.is_begin(event):
        return False
    query = ev.parse_query(event)
    if control_of(query.text) is not None:
        return False
    return any(
        parse_statement(text, query.schema).kind.startswith(DEFINE) for text in query.readings
    )
