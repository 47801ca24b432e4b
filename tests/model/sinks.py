"""The steps of a sink between a stream and a Redis that are values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from cdc.errors import CdcError
from cdc.message import encode, parse_id
from cdc_reader.flush import Message
from redis_sink.applied import Applied, decode, first_start, marked, resume
from redis_sink.applied import encode as encode_position
from tests.model.sides import HEARTBEAT, Numbered, SinkSide, decoded
from tests.model.state import STOPPED, Data, Pending, Redis, Rules, Sink, State, Stored, Wrong


class Extent(NamedTuple):
    """A stream as `redis_sink.applied` looks at it."""

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
    ) -> None:
        self._rules, self._messages = rules, messages
        self._keys, self._versions = keys, versions
        self._side = SinkSide()
        self._planned = lru_cache(None)(self._plan)

    def steps(self, s: State, n: int, sink: Sink | None) -> Iterator[tuple[str, State]]:
        """Yield them.

        Raises:
            Wrong: a key would show an older value.
        """
        if sink is None:
            yield f"begin {n}", self._begin(s, n)
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

    def _begin(self, s: State, n: int) -> State:
        extent = Extent(s.base + 1, s.last)
        if self._rules.position.startswith("acknowledged"):
            applied = msgspec.structs.replace(first_start(extent).applied, seq=s.acknowledged)
            return _with(s, n, Sink(encode_position(applied), None, applied.seq + 1))
        raw = s.redis.position
        if raw is None:
            start = first_start(extent)
            raw = encode_position(start.applied)
            s = s._replace(redis=s.redis._replace(position=raw))
            return _with(s, n, Sink(raw, raw, start.seq))
        applied = decode(raw, key="p")
        try:
            start = resume(applied, extent, _standing(s, applied))
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
        planned = self._side.plan(applied, taken)
        if planned is None:
            return None
        seq = planned.applied.seq
        position = marked(planned.applied, _stored_ns(got[seq - first])) if got else planned.applied
        return Pending(planned.writes, encode_position(position), planned.consumed)

    def _apply(self, s: State, n: int, sink: Sink, pending: Pending) -> State:
        position = pending.position
        follows = Sink(position, position, sink.next)
        if self._rules.position == "with data":
            if s.redis.position != sink.armed:
                return _with(s, n, None)  # EXEC answers nil
            redis = self._written(s.redis, pending)._replace(position=position)
            past = (*s.past, redis) if s.past and redis not in s.past else s.past
            return _with(s._replace(redis=redis, past=past), n, follows)
        if pending.half == (self._rules.position == "acknowledged before"):
            s = s._replace(redis=self._written(s.redis, pending))
        elif self._rules.position == "apart":
            s = s._replace(redis=s.redis._replace(position=position))
        else:
            s = s._replace(acknowledged=decode(position, key="p").seq)
        if pending.half:
            return _with(s, n, follows)
        return _with(s, n, sink._replace(pending=pending._replace(half=True)))

    def _written(self, redis: Redis, pending: Pending) -> Redis:
        writes = dict(pending.writes)
        data = tuple(writes.get(k, old) for k, old in zip(self._keys, redis.data, strict=True))
        shown = tuple(
            self._version(n, data[n], before) if data[n] != redis.data[n] else before
            for n, before in enumerate(redis.shown)
        )
        return redis._replace(data=data, shown=shown)

    def _version(self, n: int, value: str | None, shown: int) -> int:
        """Return the first version of a key, from the one that was shown on, with this value."""
        for version in range(max(shown, 0), len(self._versions)):
            if self._versions[version][n] == value:
                return version
        raise Wrong(f"{self._keys[n]} shows {value} after version {shown}")


def _stored_ns(stored: Stored) -> int:
    """Return when it was stored: at one sequence never at the same time after a loss."""
    return (stored.life + 1) * 1_000_000_000


def _standing(s: State, applied: Applied) -> int:
    """Do what `redis_sink.lookup.standing` does."""
    for seq, stored_ns in reversed(applied.marks):
        if seq <= s.base:
            return seq if seq == applied.seq else 0
        if seq <= s.last and _stored_ns(s.stream[seq - s.base - 1]) == stored_ns:
            return seq
    return 0


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


def _with(s: State, n: int, sink: Sink | str | None) -> State:
    return s._replace(sinks=(*s.sinks[:n], sink, *s.sinks[n + 1 :]))
