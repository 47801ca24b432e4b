"""What a sink says of itself, for a reader that may have to wait for it.

Pure.  Plain NATS messages that nobody keeps, on ``cdc.sink.<stream>.<pipeline>.<partition>``, a
few a second while something moves: what is lost is said again.  Nothing that must be exact hangs
on them: a reader holds rows of a snapshot back, no more (docs/adr/0016-ranges-and-pace.md).
"""

from __future__ import annotations

import msgspec

TABLES_EVERY_S = 1.5
"""All names of many tables are too much for each message."""
SILENT_S = 30.0
"""Whoever says nothing for so long is gone, and nobody waits for him."""


class SinkState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``{"seq":8123,"used_bytes":1048576,"max_bytes":2097152}``."""

    seq: int = 0
    """Sequence of the last message applied; 0: none, or not known yet."""
    waits: str = ""
    """Why nothing can be applied now; empty: it can."""
    used_bytes: int = 0
    """`used_memory` of Redis; 0: not known."""
    max_bytes: int = 0
    """`maxmemory` of Redis; 0: no limit, or not known."""
    tables: tuple[str, ...] = ()
    """``schema.table`` of those that it follows; others' messages it quarantines.  Left out: as
    it said before; it says them every `TABLES_EVERY_S`."""


encode_state = msgspec.json.Encoder().encode
decode_state = msgspec.json.Decoder(SinkState).decode


def state_subject(stream: str, pipeline: str = "*", partition: int | str = "*") -> str:
    """Return where a sink says it; without names, what all sinks of a stream say.

    >>> state_subject("MYSQL", "default", 0), state_subject("MYSQL")
    ('cdc.sink.MYSQL.default.0', 'cdc.sink.MYSQL.*.*')
    """
    return f"cdc.sink.{stream}.{pipeline}.{partition}"
