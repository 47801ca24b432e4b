"""How far this sink is, kept in NATS for the reader, which removes what is applied."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import nats.errors

from cdc.jetstream.kept import place_config, place_name
from cdc.jetstream.stream import Connection, api
from cdc.settings import Settings

NOTE_EVERY_S = 10.0


class KeptPosition:
    """One partition's, on one stream."""

    def __init__(self, settings: Settings, partition: int) -> None:
        """Have noted nothing yet."""
        self._settings, self._partition = settings, partition
        name = place_name(settings.pipeline, partition)
        self._subject = f"CONSUMER.CREATE.{settings.stream}.{name}"
        self._noted_s = self._noted_seq = 0.0
        self.seq = 0

    async def declare(self, nc: Connection, seq: int) -> None:
        """Note it before anything is consumed, and make sure that it is kept.

        Raises:
            CdcError: NATS refuses, or does not answer.
        """
        self.seq = seq
        await api(nc, self._subject, self._request())

    async def note(self, nc: Connection, seq: int) -> None:
        """Note it when it is time again; a note that is lost holds more than is needed."""
        self.seq = seq
        if time.monotonic() - self._noted_s >= NOTE_EVERY_S and seq != self._noted_seq:
            await self.leave(nc)

    async def leave(self, nc: Connection) -> None:
        """Note it now; never raises, waits for no reply."""
        if nc.is_closed:
            return
        with suppress(nats.errors.Error):
            await nc.publish(f"$JS.API.{self._subject}", json.dumps(self._request()).encode())

    def _request(self) -> dict[str, Any]:
        self._noted_s, self._noted_seq = time.monotonic(), self.seq
        settings = self._settings
        config = place_config(
            settings.subject_prefix,
            settings.pipeline,
            self._partition,
            seq=self.seq,
            now_us=time.time_ns() // 1000,
        )
        return {"stream_name": settings.stream, "config": config}
