"""XA transactions in the binlog: how PREPARE, COMMIT and ROLLBACK name them.

Pure.  Both servers write the rows with the PREPARE and the outcome later, as a statement in a group
of its own.  Sources: libs/mysql/binlog/event/control_events.h, XA_prepare_event; mariadb
sql/log_event.h, XA_prepare_log_event; seen on MySQL 8.0.15, 9.7 and MariaDB 10.11, 11.8.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from cdc_reader.binlog.event import Event, damaged

_PREPARE = struct.Struct("<?III")
"""Whether it is a COMMIT in one phase, format id, length of gtrid and of bqual; both follow."""
_VERB = re.compile(r"\bXA\s+(\w+)", re.IGNORECASE)
_XID = re.compile(r"X'([0-9a-f]*)',\s*X'([0-9a-f]*)',\s*(\d+)\b", re.IGNORECASE)


def parse_xa_prepare(event: Event) -> tuple[str, bool]:
    """Return a transaction's xid, and whether it is committed here, in one phase.

    ``("X'61',X'',1", False)``

    Raises:
        PositionLostError: the bytes are damaged.
    """
    body = event.buffer[event.start : event.end]
    if len(body) < _PREPARE.size:
        raise damaged("an XA_PREPARE event that is too short")
    one_phase, format_id, gtrid_bytes, bqual_bytes = _PREPARE.unpack_from(body)
    data = body[_PREPARE.size :]
    if len(data) < gtrid_bytes + bqual_bytes:
        raise damaged("an XA_PREPARE event that is too short")
    gtrid, bqual = data[:gtrid_bytes], data[gtrid_bytes : gtrid_bytes + bqual_bytes]
    return f"X'{gtrid.hex()}',X'{bqual.hex()}',{format_id}", one_phase


class XaStatement(NamedTuple):
    """``XA COMMIT X'61',X'',1``: what it does, and to which transaction."""

    verb: str
    """``START``, ``END``, ``COMMIT``, ``ROLLBACK``; upper case."""
    xid: str
    """Empty: none that a server writes is in it."""


def parse_xa(text: str) -> XaStatement:
    """Return what a statement does that begins with XA.

    >>> parse_xa("XA COMMIT X'61',X'',1")
    XaStatement(verb='COMMIT', xid="X'61',X'',1")
    """
    of_xa, found = _VERB.search(text), _XID.search(text)
    verb = of_xa[1].upper() if of_xa else ""
    if found is None:
        return XaStatement(verb, "")
    gtrid, bqual, format_id = found.groups()
    return XaStatement(verb, f"X'{gtrid.lower()}',X'{bqual.lower()}',{format_id}")
