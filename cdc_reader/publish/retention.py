"""Remove applied messages from the stream, as `cdc.jetstream.kept` decides.

The reader does it because only it knows what its own restart needs.  What cannot be asked
(a right that lacks, a server that is away) removes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from cdc.errors import CdcError, PermissionDenied
from cdc.jetstream.kept import LIST, Cut, Held, by_size, holders, may_go, why, with_heard
from cdc.jetstream.room import consumers_of, held_of, us_of
from cdc.jetstream.stream import Connection, api, message_get
from cdc.message import HEARTBEAT, OPERATIONS, PART, SCHEMA, SNAPSHOT, subject_for
from cdc.settings import Settings
from cdc.telemetry import Log

LOOK_EVERY_S, LOOK_OFTEN_S = 10.0, 2.0
"""The second where the stream's size is limited."""
SLACK = 1 / 24
"""Least share of the time to keep that is removed at once."""


class Retention:
    """Removes from one stream what is no longer needed."""

    def __init__(
        self,
        nc: Connection,
        settings: Settings,
        *,
        restart_seq: Callable[[bool], int],
        lists: Callable[[int], list[int]],
        wants_list: Callable[[], None],
        heard: Callable[[], Mapping[str, int]],
        has_room: Callable[[int], None],
        log: Log,
    ) -> None:
        """Look at nothing yet.

        Args:
            restart_seq: of the boundary that a restart begins at; told whether room is needed,
                else what a failover needs is kept too.
            lists: where the lists of tables begin, forgetting those before a sequence.
            wants_list: told where the list of tables keeps what could go.
            heard: what live sinks report as applied.
            has_room: told how many bytes the stream takes in all; 0: no limit is known.
        """
        self._nc, self._settings, self._log = nc, settings, log
        self._restart_seq, self._lists, self._wants_list = restart_seq, lists, wants_list
        self._heard, self._has_room = heard, has_room
        self._lock = asyncio.Lock()
        self._has_limit = False
        self._may = bool(settings.stream_keep_s)
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look from now on, beside everything else."""
        if self._may:
            self._task = asyncio.create_task(self._look_for_ever())

    def end(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _look_for_ever(self) -> None:
        while True:
            with suppress(CdcError):  # the reader itself notices what is away
                await self.look()
            await asyncio.sleep(LOOK_OFTEN_S if self._has_limit else LOOK_EVERY_S)

    async def look(self, *, is_full: bool = False) -> str:
        """Remove what may go; return what holds the rest.

        Args:
            is_full: NATS refused a message for want of room.

        Raises:
            UnavailableError: NATS does not answer.
            StreamError: it refuses.
        """
        if not self._may:
            return "nothing is removed (stream_keep_s = 0)"
        try:
            async with self._lock:
                return await self._look(is_full)
        except PermissionDenied as error:
            self._may = False
            self._log.warning(
                "nothing is removed from the stream: a right lacks", why=error.seen,
                fix="allow it in nats-server.conf (docs/operations.md, NATS permissions)",
            )  # fmt: skip
            return "this login lacks the right to remove what is applied"

    async def _look(self, is_full: bool) -> str:
        stream = self._settings.stream
        info = await api(self._nc, f"STREAM.INFO.{stream}")
        held = held_of(info, await api(self._nc, "INFO"))
        self._has_room(held.room_bytes)
        known = with_heard(holders(await consumers_of(self._nc, stream)), self._heard())
        self._has_limit = bool(held.room_bytes)
        wanted = by_size(held)
        lists = self._lists(held.first_seq)
        presses = is_full or bool(wanted)
        cut = may_go(known, restart_seq=self._restart_seq(presses), lists=lists)
        if presses and cut.held_by == LIST:
            self._wants_list()
        oldest_us = us_of(info["state"].get("first_ts", ""))
        keep_us = self._settings.stream_keep_s * 1_000_000
        now_us = time.time_ns() // 1000
        if is_full:
            wanted = cut.seq
        elif oldest_us and now_us - oldest_us > keep_us * (1 + SLACK):
            wanted = max(wanted, await self._first_younger(held, cut, now_us - keep_us))
        seq = min(cut.seq, wanted)
        if seq > held.first_seq:
            await api(self._nc, f"STREAM.PURGE.{stream}", {"seq": seq})
            return ""
        if is_full and cut.held_by == LIST:
            # There is no room for another list: only what is between it and the end is removed.
            rest = may_go(known, restart_seq=self._restart_seq(True), lists=())
            for subject in self._between():
                body = {"filter": subject, "seq": rest.seq}
                await api(self._nc, f"STREAM.PURGE.{stream}", body)
            return why(rest)
        return why(cut)

    def _between(self) -> Iterator[str]:
        """Yield the messages between lists."""
        prefix, partitions = self._settings.subject_prefix, self._settings.partitions
        rows = (*OPERATIONS, SNAPSHOT, PART)
        yield from (subject_for(prefix, op) for op in (*rows, HEARTBEAT, SCHEMA))
        if partitions > 1:
            yield from (f"{subject_for(prefix, op)}.*" for op in rows)

    async def _first_younger(self, held: Held, cut: Cut, than_us: int) -> int:
        """Return the first message that is younger, up to where anything may go."""
        low, high = held.first_seq, min(cut.seq, held.last_seq)
        while low < high:
            middle = (low + high) // 2
            stored = await message_get(self._nc, self._settings.stream, seq=middle)
            if stored is None or us_of(stored.time) < than_us:
                low = middle + 1
            else:
                high = middle
        return low
