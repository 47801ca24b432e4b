"""Backpressure on the snapshot: sinks that lag, cannot write, or whose Redis is nearly full.

Changes never wait here; only existing rows do.  A sink reports its state on
`cdc.sink_state`; one that reports nothing is not waited for (docs/adr/0016-ranges-and-pace.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress

import msgspec
from nats.aio.msg import Msg

from cdc.jetstream.connection import unless_lost
from cdc.jetstream.kept import holder_name
from cdc.jetstream.stream import Connection
from cdc.sink_state import SILENT_S, SinkState, decode_state, state_subject

LISTEN_S = 5.0
"""An idle sink reports its state every 2 s."""
RESUME_BELOW = 0.5
"""A pause for lag ends at this share of the limit, so that it is not many short ones."""


class Sinks:
    """The states of a stream's sinks, and whether the snapshot has to wait for them."""

    def __init__(
        self,
        *,
        max_lag_messages: int,
        max_memory_percent: int,
        sequence: Callable[[], int],
        added: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know of none yet.

        Args:
            max_lag_messages: a sink's lag to the stream's end, at most; 0: any.
            max_memory_percent: of `maxmemory`, from which on no rows are added; 0: any.
            sequence: of the newest message that was published.
            added: tables that the stream does not know yet; a sink may not follow them.
        """
        self._max_lag = max_lag_messages
        self._max_percent = max_memory_percent
        self._sequence = sequence
        self._added = frozenset(added)
        self._clock = clock
        self._began_s = clock()
        self._states: dict[str, tuple[float, SinkState]] = {}
        self._tables: dict[str, frozenset[str]] = {}
        self._is_behind = False

    async def listen(self, nc: Connection, stream: str) -> None:
        """Listen to the sinks of a stream.

        Raises:
            UnavailableError: NATS is gone.
        """

        async def heard(msg: Msg) -> None:
            with suppress(msgspec.DecodeError):
                self.note(msg.subject, decode_state(msg.data))

        with unless_lost(nc):
            await nc.subscribe(state_subject(stream), cb=heard)

    def note(self, subject: str, state: SinkState) -> None:
        """Keep the state that one sink reports."""
        self._states[subject] = (self._clock(), state)
        if state.tables:
            self._tables[subject] = frozenset(state.tables)

    def applied(self) -> dict[str, int]:
        """Return what live sinks last reported as applied: ``{"default": 8123}``."""
        out, now_s = {}, self._clock()
        for subject, (heard_s, state) in self._states.items():
            *_, pipeline, partition = subject.split(".")
            if state.seq and now_s - heard_s < SILENT_S:
                out[holder_name(pipeline, partition)] = state.seq
        return out

    def held_back(self, table: str) -> str:
        """Return why no rows of a table may be read now; empty: they may."""
        now_s = self._clock()
        heard = {
            subject: state
            for subject, (heard_s, state) in self._states.items()
            if now_s - heard_s < SILENT_S
        }
        alive = list(heard.values())
        are_known = bool(heard) and all(subject in self._tables for subject in heard)
        if not are_known and table in self._added and now_s - self._began_s < LISTEN_S:
            return f"{table} is new: waiting to hear whether a sink captures it"
        if waiting := next((state.waits for state in alive if state.waits), ""):
            return f"the sink waits: {waiting}"
        for subject, state in heard.items():
            if (followed := self._tables.get(subject)) and table not in followed:
                return f"a sink does not capture {table}; start it with the same tables"
            share = 100 * state.used_bytes / state.max_bytes if state.max_bytes else 0
            if self._max_percent and share >= self._max_percent:
                return f"Redis uses {share:.0f} % of its maxmemory, {state.max_bytes:,} bytes"
        lag = max((self._sequence() - state.seq for state in alive), default=0)
        limit = self._max_lag * (RESUME_BELOW if self._is_behind else 1)
        self._is_behind = bool(self._max_lag) and lag > limit
        return f"the sink is {lag:,} messages behind" if self._is_behind else ""
