"""What the sink reports to a reader that may have to wait: `cdc.sink_state`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import nats.errors

from cdc.jetstream.stream import Connection
from cdc.sink_state import TABLES_EVERY_S, SinkState, encode_state
from cdc.table import Table
from redis_sink.store.preflight import memory
from redis_sink.store.writer import Writer

TELL_EVERY_S = 0.2
ASK_EVERY_S = 1.0


class SinkReport:
    """Reports how far one partition is, at most every `TELL_EVERY_S`."""

    def __init__(self, subject: str, tables: Sequence[Table]) -> None:
        """Report on this subject."""
        self._tables = tuple(table.qualified for table in tables)
        self.waits = ""
        """Why nothing can be applied; set by the code that waits."""
        self.seq = 0
        self.may_ask = True
        """This login of Redis may INFO."""
        self._subject = subject
        self._bytes = (0, 0)
        self._told_s = self._asked_s = -ASK_EVERY_S
        self._named_s = -TABLES_EVERY_S

    async def tell(self, nc: Connection, writer: Writer | None) -> None:
        """Report when it is due; a report that NATS refuses is dropped.

        Args:
            writer: to ask Redis for its memory; None: Redis is not connected now.

        Raises:
            UnavailableError: Redis does not answer.
        """
        now_s = time.monotonic()
        if now_s - self._told_s < TELL_EVERY_S or nc.has_denied(self._subject):
            return
        self._told_s = now_s
        if writer is not None and self.may_ask and now_s - self._asked_s >= ASK_EVERY_S:
            self._asked_s, self._bytes = now_s, await memory(writer)
        used, limit = self._bytes
        names_tables = now_s - self._named_s >= TABLES_EVERY_S
        if names_tables:
            self._named_s = now_s
        state = SinkState(
            seq=self.seq,
            waits=self.waits,
            used_bytes=used,
            max_bytes=limit,
            tables=self._tables if names_tables else (),
        )
        with suppress(nats.errors.Error):
            await nc.publish(self._subject, encode_state(state))
