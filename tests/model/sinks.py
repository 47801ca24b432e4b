"""The steps of a sink between a stream and a Redis that are values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from cdc.errors import CdcError
from cdc.message import Refresh, encode, parse_id
from cdc_reader.messages.flush import Message
from redis_sink.plan.applied import Applied, decode, first_start, marked, refreshed, resume
from redis_sink.plan.applied import encode as encode_position
from tests.model.sides import BARE_KEY, HEARTBEAT, NAME, Numbered, SinkSide, decoded
from tests.model.state import (
    STOPPED,
    Data,
    Looking,
    Pending,
    Redis,
    Rules,
    Sink,
    State,
    Stored,
    Wrong,
)


class Extent(NamedTuple):
    """A stream as `redis_sink.plan.applied` looks at it."""

    first_seq: int
    last_seq: int
    name: str = "S"
    created: str = "now"


class Sinks:
    """What each sink can do next."""

    def __init__(
        self,
        rules: Rules,
        messages: Numbered[Message],
        keys: tuple[str, ...],
        versions: Sequence[Data],
        *,
        looks_apart: bool,
    ) -> None:
        self._apart = looks_apart
        self._rules, self._messages = rules, messages
        self._keys, self._versions = keys, versions
        self._side = SinkSide()
        self._planned = lru_cache(None)(self._plan)

    def steps(self, s: State, n: int, sink: Sink | Looking | None) -> Iterator[tuple[str, State]]:
        """Yield them.

        Raises:
            Wrong: a key would show an older value.
        """
        if sink is None:
            if self._apart:
                yield f"ask {n}", self._ask(s, n)
            else:
                yield f"begin {n}", self._begin(s, n, s.redis.position, Extent(s.base + 1, s.last))
        elif isinstance(sink, Looking):
            yield f"begin {n}", self._begin(s, n, *self._looked(s, sink))
        elif sink.sweeps and sink.pending is None:
            yield f"sweep {n}", self._sweep(s, n, sink)
        elif sink.pending is not None:
            yield f"apply {n}", self._apply(s, n, sink, sink.pending)
        else:
            first = max(sink.next, s.base + 1)
            there = s.last - first + 1
            for count in range(1, there + 1) if there < 3 else (1, there):
                got = s.stream[first - s.base - 1 :][:count]
                pending = self._planned(sink.applied, first, got)
                after: Sink | str = STOPPED
                if pending:
                    after = sink._replace(pending=pending, next=first + pending.consumed)
                yield f"read {n} x{count}", _with(s, n, after)

    def _ask(self, s: State, n: int) -> State:
        """Ask the first of two servers."""
        if self._rules.redis_first:
            return _with(s, n, Looking(raw=s.redis.position))
        return _with(s, n, Looking(extent=(s.base + 1, s.last)))

    def _looked(self, s: State, sink: Looking) -> tuple[bytes | None, Extent]:
        """Ask the other one."""
        if self._rules.redis_first:
            return sink.raw, Extent(s.base + 1, s.last)
        return s.redis.position, Extent(*sink.extent)

    def _sweep(self, s: State, n: int, sink: Sink) -> State:
        """Remove keys of which no message spoke since the refresh began."""
        if s.redis.position != sink.armed:
            return _with(s, n, None)
        after, _ = refreshed(decode(sink.applied, key="p"), NAME)
        position = encode_position(after)
        gone = tuple((key, None) for key in self._keys if key not in s.redis.live)
        redis = self._written(s.redis, gone, (None,))._replace(position=position)
        follows = Sink(position, position, sink.next)
        return _with(self._remembered(s._replace(redis=redis), redis), n, follows)

    def _begin(self, s: State, n: int, raw: bytes | None, extent: Extent) -> State:
        if self._rules.position.startswith("acknowledged"):
            applied = msgspec.structs.replace(first_start(extent).applied, seq=s.acknowledged)
            return _with(s, n, Sink(encode_position(applied), None, applied.seq + 1))
        if raw is None:
            if s.redis.position is not None:
                return _with(s, n, None)  # EXEC answers nil
            start = first_start(extent)
            raw = encode_position(start.applied)
            s = s._replace(redis=s.redis._replace(position=raw))
            return _with(s, n, Sink(raw, raw, start.seq))
        applied = decode(raw, key="p")
        try:
            start = resume(applied, extent, self._standing(s, applied, extent))
        except CdcError:
            return _with(s, n, STOPPED)
        return _with(s, n, Sink(encode_position(start.applied), raw, start.seq))

    def _plan(self, raw: bytes, first: int, got: tuple[Stored, ...]) -> Pending | None:
        """Return the batch; None: the sink stops."""
        applied = decode(raw, key="p")
        taken = [(first + n, self._messages[stored.message]) for n, stored in enumerate(got)]
        if self._rules.position.startswith("acknowledged"):
            # Such a sink knows of no ids; it takes what is delivered.
            applied = msgspec.structs.replace(applied, id="", id_seq=0)
        if not self._rules.chain or self._rules.position.startswith("acknowledged"):
            taken = _pretend_chain(applied, taken)
        if not self._rules.epochs_are_read_again:
            applied = msgspec.structs.replace(applied, again_to=UNSET)
        planned = self._side.plan(applied, taken)
        if planned is None:
            return None
        seq = planned.applied.seq
        position = planned.applied
        if self._rules.marks:
            position = marked(position, _stored_ns(got[seq - first]))
        return Pending(
            planned.writes,
            planned.live,
            planned.dead,
            encode_position(position),
            planned.consumed,
            planned.sweeps,
        )

    def _apply(self, s: State, n: int, sink: Sink, pending: Pending) -> State:
        position = pending.position
        follows = Sink(position, position, sink.next, sweeps=pending.sweeps)
        # Dead letters are kept first, whatever becomes of the rest.
        if pending.dead and not s.lives:
            raise Wrong(f"a needless dead letter: {pending.dead}")
        s = s._replace(dead=s.dead.union(pending.dead))
        if self._rules.position == "with data":
            if s.redis.position != sink.armed:
                return _with(s, n, None)
            redis = self._written(s.redis, pending.writes, pending.live)
            redis = redis._replace(position=position)
            return _with(self._remembered(s._replace(redis=redis), redis), n, follows)
        if pending.half == (self._rules.position == "acknowledged before"):
            s = s._replace(redis=self._written(s.redis, pending.writes, pending.live))
        elif self._rules.position == "apart":
            s = s._replace(redis=s.redis._replace(position=position))
        else:
            s = s._replace(acknowledged=decode(position, key="p").seq)
        if pending.half:
            return _with(s, n, follows)
        return _with(s, n, sink._replace(pending=pending._replace(half=True)))

    def _standing(self, s: State, applied: Applied, extent: Extent) -> int:
        """Do what `redis_sink.stream.lookup.newest_consumed` does."""
        for seq, stored_ns in reversed(applied.marks):
            if seq < extent.first_seq:
                return seq if seq == applied.seq else 0
            if seq <= extent.last_seq and _stored_ns(s.stream[seq - s.base - 1]) == stored_ns:
                return seq
        if applied.marks or not applied.id_seq or applied.id_seq < extent.first_seq:
            return 0 if applied.marks else applied.id_seq
        if applied.id_seq > extent.last_seq:
            return 0
        ours = decoded(self._messages[s.stream[applied.id_seq - s.base - 1].message])
        if isinstance(ours, Refresh):
            return applied.id_seq if ours.boundary.last == applied.id else 0
        return applied.id_seq if getattr(ours, "id", "") == applied.id else 0

    @staticmethod
    def _remembered(s: State, redis: Redis) -> State:
        return s._replace(past=(*s.past, redis)) if s.past and redis not in s.past else s

    def _written(
        self,
        redis: Redis,
        changes: Sequence[tuple[str, str | None]],
        live: Sequence[frozenset[str] | None],
    ) -> Redis:
        writes = dict(changes)
        data = tuple(writes.get(k, old) for k, old in zip(self._keys, redis.data, strict=True))
        shown = tuple(
            self._version(n, data[n], before) if data[n] != redis.data[n] else before
            for n, before in enumerate(redis.shown)
        )
        spoken = redis.live
        for keys in live:
            spoken = spoken | keys if keys is not None else frozenset()
        return redis._replace(data=data, shown=shown, live=spoken)

    def _version(self, n: int, value: str | None, shown: int) -> int:
        """Return the first version of a key, from the one that was shown on, with this value."""
        if self._keys[n] == BARE_KEY:
            if int(value or 0) <= shown:
                raise Wrong(f"{BARE_KEY} shows {value} after {shown}")
            return int(value or 0)
        for version in range(max(shown, 0), len(self._versions)):
            if self._versions[version][n] == value:
                return version
        raise Wrong(f"{self._keys[n]} shows {value} after version {shown}")


def _stored_ns(stored: Stored) -> int:
    """Return when it was stored: at one sequence never at the same time after a loss."""
    return (stored.life + 1) * 1_000_000_000


def _pretend_chain(applied: Applied, got: list[tuple[int, Message]]) -> list[tuple[int, Message]]:
    """Return messages whose `prev` fits, for a variant that does not look at it."""
    last, out = applied.id, []
    for seq, (subject, body) in got:
        ours = decoded((subject, body))
        if subject == HEARTBEAT.encode():
            ours = msgspec.structs.replace(ours, last=last)
        elif parse_id(ours.id) > parse_id(last):
            ours = msgspec.structs.replace(ours, prev=last)
            last = ours.id
        out.append((seq, (subject, encode(ours))))
    return out


def _with(s: State, n: int, sink: Sink | Looking | str | None) -> State:
    return s._replace(sinks=(*s.sinks[:n], sink, *s.sinks[n + 1 :]))
