"""What the publisher logs while it works: at most one line of a kind each ten seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cdc.message import TooLarge
from cdc.telemetry import Log

SAID_EVERY_S = 10.0


class PublisherLog:
    """Log lines about one stream: ``PublisherLog(log, "MYSQL").full(10077, "the sink")``."""

    def __init__(self, log: Log, stream: str) -> None:
        """Have said nothing yet."""
        self._log, self._stream = log, stream
        self._said_s: dict[str, float] = {}

    def full(self, error_code: int, held_by: str) -> None:
        """Report that the stream takes nothing more, and what holds the room."""
        if self._is_due("full"):
            self._log.warning(
                "the stream is full; waiting, new changes stay in the binlog",
                stream=self._stream,
                why=held_by or None,
                error_code=error_code,
            )

    def left_out(self, table: str, keys: Sequence[str], sizes: TooLarge) -> None:
        """Report a row that is not carried."""
        if self._is_due("left out"):
            self._log.warning(
                "a row is too large: it becomes a dead letter, and its key is removed",
                table=table,
                key=", ".join(keys),
                bytes=sizes.size_bytes,
                limit_bytes=sizes.limit_bytes,
            )

    def _is_due(self, kind: str) -> bool:
        now_s = time.monotonic()
        if now_s < self._said_s.get(kind, -SAID_EVERY_S) + SAID_EVERY_S:
            return False
        self._said_s[kind] = now_s
        return True
