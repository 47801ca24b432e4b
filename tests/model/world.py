"""The servers as small values, and every step that anybody can take next.

MySQL is a number of transactions written and one of transactions visible; NATS a tuple of
messages and the flights that it still has to store; Redis values and a position.  What reader
and sink decide is asked of themselves (`tests.model.sides`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from cdc.errors import CdcError, UnavailableError
from cdc.jetstream.stream import StoredMessage
from cdc.message import Heartbeat, Refresh, TableProgress, decode_bare, encode, parse_id
from cdc.position import MySqlGtidSet, Position
from cdc_reader.messages.flush import CLAIM_HEADER, Message, batch_of, begins_flush, sequence_fence
from cdc_reader.publish.fence import check_end
from cdc_reader.resume.published import Published
from cdc_reader.resume.resume import ServerLog, Tail, is_by_gtid, resume_from, tail_of
from cdc_reader.snapshot.announcement import plan_refresh
from tests.model.binlog import FILE, Binlog, gtids, transactions_in
from tests.model.sides import (
    BARE_KEY,
    HEARTBEAT,
    NAME,
    PREFIX,
    REFRESH,
    Numbered,
    Read,
    ReaderSide,
    Turn,
    decoded,
)
from tests.model.sinks import Sinks
from tests.model.state import (
    STOPPED,
    Data,
    Flight,
    Looking,
    Reader,
    Redis,
    Scenario,
    Sink,
    State,
    Stored,
    Wrong,
)

_FENCE = b"NATS/1.0\r\n" + sequence_fence(7)
HEADERS = (b"", _FENCE, _FENCE + b"\r\nCdc-Batch: b\r\n\r\n", _FENCE + b"\r\n" + CLAIM_HEADER)
"""Of a message inside a batch, a single one, a batch's first, a claim."""
INSIDE, SINGLE, FIRST, CLAIM = range(4)
UPDATE = f"{PREFIX}.update".encode()
CLOCK_STEP = 1000


class World:
    """All steps of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.rules = scenario, scenario.rules
        self.binlog = Binlog(scenario.transactions, scenario.rows)
        self.messages: Numbered[Message] = Numbered()
        self._reader = ReaderSide(
            self.binlog,
            self.messages,
            chunk_rows=scenario.chunk_rows,
            high_is_executed=self.rules.high_is_executed,
            keeps_touched_rows=not self.rules.drops_touched,
        )
        ids = sorted({id_ for rows in self.binlog.rows for id_ in rows})
        bare = (BARE_KEY,) * bool(scenario.bares)
        self.keys = (*(f"t:{id_}" for id_ in ids), *bare)
        self.versions: list[Data] = [
            tuple(f'{{"id":{i},"ver":{rows[i]}}}' if i in rows else None for i in ids)
            for rows in self.binlog.rows
        ]
        """What Redis must hold of rows after each number of transactions."""
        self._sinks = Sinks(
            self.rules, self.messages, self.keys, self.versions, looks_apart=scenario.looks_apart
        )
        self._decoded = lru_cache(None)(lambda number: decoded(self.messages[number]))

    def start(self) -> State:
        """Return the state in which nothing has begun.

        Without a snapshot a reader has been there once, since a new stream begins at the newest
        place: the first heartbeat stands in the stream.
        """
        scenario = self.scenario
        nothing = (None,) * len(self.keys)
        redis = Redis(nothing, None, (-1,) * len(self.keys))
        state = State(
            written=0,
            visible=0,
            base=0,
            stream=(),
            flights=(),
            readers=(None,) * scenario.readers,
            sinks=(None,) * scenario.sinks,
            redis=redis,
            past=(redis,) if "roll back" in scenario.may else (),
            lives=0,
            acknowledged=0,
            clock=CLOCK_STEP,
            faults=scenario.faults,
            beats=scenario.beats,
            bares=scenario.bares,
        )
        if not scenario.snapshot:
            began = self._store(self._attach(state, 0), 0)
            state = began._replace(readers=state.readers)
        written = len(scenario.transactions) if scenario.all_written else 0
        return state._replace(written=written, visible=written)

    def steps(self, s: State) -> Iterator[tuple[str, State]]:
        """Yield everything that can happen next.

        Raises:
            Wrong: a step breaks a property.
        """
        yield from self.work(s)
        if s.written < len(self.scenario.transactions):
            visible = s.visible if self.scenario.lag else s.visible + 1
            yield "commit", s._replace(written=s.written + 1, visible=visible)
        if s.beats:
            for n, reader in enumerate(s.readers):
                if isinstance(reader, Reader) and _may_turn(s, n, reader):
                    yield self.turn(s._replace(beats=s.beats - 1), n, reader, beat=True)
        if s.bares:
            number = self.scenario.bares - s.bares + 1
            body = json.dumps({"key": BARE_KEY, "value": str(number)}).encode()
            bare = Stored(self.messages.number((UPDATE, body)), INSIDE, s.lives)
            yield f"bare {number}", s._replace(bares=s.bares - 1, stream=(*s.stream, bare))
        if s.faults:
            for name, after in self._faults(s):
                yield name, after._replace(faults=s.faults - 1)

    def work(self, s: State) -> Iterator[tuple[str, State]]:
        """Yield what happens without faults, commits and idle heartbeats."""
        for n, flight in enumerate(s.flights):
            yield f"store {flight.owner}", self._store(s, n)
        for n, reader in enumerate(s.readers):
            if reader is None:
                if self._may_attach(s):
                    yield f"attach {n}", self._attach(s, n)
            elif isinstance(reader, Reader):
                yield from self._reader_steps(s, n, reader)
        for n, sink in enumerate(s.sinks):
            if not isinstance(sink, str):
                yield from self._sinks.steps(s, n, sink)
        if s.visible < s.written:
            yield "show", s._replace(visible=s.visible + 1)

    # -- the reader ---------------------------------------------------------------------

    def _reader_steps(self, s: State, n: int, reader: Reader) -> Iterator[tuple[str, State]]:
        if reader.phase == "end":
            yield f"end batches {n}", self._end_batches(s, n, reader)
        if reader.phase != "run":
            return
        view = self._reader.view(reader.history)
        low = view.reading
        if low is not None and reader.read is None and self._may_select(s, low):
            clock = 1 if self.rules.clock_stands else s.clock
            read = Read(s.visible, s.written, clock)
            after = _with_reader(s, n, reader._replace(read=read))
            yield f"select {n}", after._replace(clock=s.clock + CLOCK_STEP)
        if not _may_turn(s, n, reader):
            return
        is_due = reader.read is not None or (view.active and low is None and not view.waits)
        if self._next_piece(s, view.next_piece) is not None:
            yield self.turn(s, n, reader)
            if is_due:
                yield self.turn(s, n, reader, nothing_came=True)
        elif is_due:
            yield self.turn(s, n, reader)

    def _may_select(self, s: State, low: int) -> bool:
        return s.visible >= low or not self.rules.waits_for_low

    def _next_piece(self, s: State, piece: int) -> int | None:
        pieces = self.binlog.pieces
        return piece if piece < len(pieces) and pieces[piece][0] < s.written else None

    def newest_bare(self, s: State) -> str:
        """Return the value of the newest bare message in the stream, empty: there is none."""
        for stored in reversed(s.stream):
            if self._decoded(stored.message) is None:
                return decode_bare(self.messages[stored.message][1]).value
        return ""

    def _may_attach(self, s: State) -> bool:
        """The reader waits until the server shows what the stream has."""
        for stored in reversed(s.stream):
            ours = _boundary(self._decoded(stored.message))
            if isinstance(ours, Heartbeat):
                return transactions_in(ours.gtid_set or "") <= s.visible
        return True

    def _tail(self, s: State) -> Tail:
        """Read the stream's end.

        Raises:
            PositionLostError: messages are there, and no boundary.
        """
        heartbeat: Heartbeat | None = None
        newest: dict[bytes, Any] = {}
        for stored in s.stream:
            ours = _boundary(self._decoded(stored.message))
            if isinstance(ours, Heartbeat):
                heartbeat, newest = ours, {}
            elif ours is not None:
                newest[self.messages[stored.message][0]] = ours
        return tail_of("S", s.last, heartbeat, [(0, ours) for ours in newest.values()])

    def _log(self, s: State, heartbeat: Heartbeat | None) -> ServerLog:
        ends = self.binlog.ends
        return ServerLog(
            mariadb=False,
            server="s",
            newest=Position(
                file=FILE,
                # A new stream's place and GTIDs belong together: `server_log.read_server_log`.
                offset=ends[s.written if heartbeat else s.visible],
                gtid_set=gtids(s.visible),
            ),
            purged=MySqlGtidSet(),
            oldest_file=FILE,
        )

    def _attach(self, s: State, n: int) -> State:
        try:
            tail = self._tail(s)
            heartbeat = tail.heartbeat
            log = self._log(s, heartbeat)
            # Behind a gap's refresh nothing is told by GTID yet: it is a boundary itself.
            published = Published() if is_by_gtid(tail, log) else None
            resume = resume_from(tail, log, "", published)
        except CdcError:
            return _with_reader(s, n, STOPPED)
        known = heartbeat.snapshot if heartbeat else self._asked_for()
        began = heartbeat.began if heartbeat else s.clock
        history = self._reader.begin(resume, known, began=began, snapshot=self.scenario.snapshot)
        claim = self._reader.view(history).heartbeat
        flight = Flight(n, self._fence(s.last, claim), 0, (claim,), is_claim=True)
        after = _with_reader(s, n, Reader(history, s.last, "claim"))
        clock = s.clock if heartbeat else s.clock + CLOCK_STEP
        return after._replace(flights=(*s.flights, flight), clock=clock)

    def _asked_for(self) -> dict[str, TableProgress]:
        """Return what a new stream's first reader has to read; with ranges only those."""
        ranges = self.scenario.ranges
        return {NAME: TableProgress(done=True, ranges=ranges)} if ranges else {}

    def _fence(self, sequence: int, message: int) -> int:
        is_heartbeat = self.messages[message][0] == HEARTBEAT.encode()
        fenced = self.rules.heartbeats_are_fenced or not is_heartbeat
        return sequence if self.rules.fence and fenced else -1

    def turn(
        self,
        s: State,
        n: int,
        reader: Reader,
        *,
        beat: bool = False,
        nothing_came: bool = False,
    ) -> tuple[str, State]:
        """Go once through the reader's loop."""
        before = self._reader.view(reader.history)
        piece = None if nothing_came else self._next_piece(s, before.next_piece)
        turn = Turn(piece, reader.read)
        history = self._reader.after(reader.history, turn)
        view = self._reader.view(history)
        if view.refused:
            return f"refuse {n}", _with_reader(s, n, STOPPED)
        flushes = view.flushes
        if beat or (reader.read is not None and view.progress != before.progress):
            flushes = (*flushes, (view.heartbeat,))
        after = reader._replace(history=history, read=None, outbox=flushes)
        name = "beat" if beat else "turn without events" if nothing_came else "turn"
        return f"{name} {n}", self._send(_with_reader(s, n, after), n)

    def _send(self, s: State, n: int) -> State:
        """Put the next flush of a reader on its way, if there is one."""
        reader = s.readers[n]
        if not isinstance(reader, Reader) or not reader.outbox:
            return s
        flush, *rest = reader.outbox
        flight = Flight(n, self._fence(reader.sequence, flush[0]), 0, flush, is_claim=False)
        after = _with_reader(s, n, reader._replace(outbox=tuple(rest)))
        return after._replace(flights=(*s.flights, flight))

    def _end_batches(self, s: State, n: int, reader: Reader) -> State:
        if self.rules.claim:
            ended = _batch_to_end(s, reader.sequence)
            for flight in s.flights:
                if flight.begun and flight.begun == ended:
                    s = _without_flight(s, flight)
            s = self._checked(s, n, reader._replace(phase="run"))
        else:
            s = _with_reader(s, n, reader._replace(phase="run"))
        return s

    def _checked(self, s: State, n: int, reader: Reader) -> State:
        """Let a reader go on at the stream's end, or begin again."""
        try:
            check_end(reader.sequence, s.last, PREFIX, self._stored_after(s, reader.sequence))
        except UnavailableError:
            return _with_reader(s, n, None)
        return _with_reader(s, n, reader)

    def _stored_after(self, s: State, sequence: int) -> list[StoredMessage]:
        out = []
        for at in range(max(sequence, s.base), s.last):
            subject, body = self.messages[s.stream[at - s.base].message]
            out.append(StoredMessage(at + 1, subject.decode(), body, b"", ""))
        return out

    # -- NATS ---------------------------------------------------------------------------

    def _store(self, s: State, n: int) -> State:
        """Let the next message of a flight arrive."""
        flight = s.flights[n]
        others = s.flights[:n] + s.flights[n + 1 :]
        reader = s.readers[flight.owner] if flight.owner >= 0 else None
        if not flight.begun and flight.fence not in (-1, s.last):
            s = s._replace(flights=others)
            return self._checked(s, flight.owner, reader) if isinstance(reader, Reader) else s
        message, *rest = flight.rest
        self._check_chain(s, message)
        part = CLAIM if flight.is_claim else INSIDE if flight.begun else FIRST if rest else SINGLE
        s = s._replace(stream=(*s.stream, Stored(message, part, s.lives)))
        if rest:
            gone_on = flight._replace(begun=flight.begun or s.last, rest=tuple(rest))
            return s._replace(flights=(*others, gone_on))
        s = s._replace(flights=others)
        if not isinstance(reader, Reader):
            return s
        reader = reader._replace(sequence=s.last, phase="end" if flight.is_claim else "run")
        return self._send(_with_reader(s, flight.owner, reader), flight.owner)

    def _check_chain(self, s: State, number: int) -> None:
        """Ids in the stream grow, and each message says the one before it."""
        if "lose quietly" in self.scenario.may or not s.stream:
            return
        newest = next(
            (last for stored in reversed(s.stream) if (last := self._last_id(stored.message))), ""
        )
        if self.messages[number][0] == HEARTBEAT.encode():
            if (last := self._last_id(number)) != newest:
                raise Wrong(f"a heartbeat says {last or 'nothing'} behind {newest}")
            return
        ours = self._decoded(number)
        if ours.prev != newest or parse_id(ours.id) <= parse_id(newest):
            raise Wrong(f"{ours.id}, which follows {ours.prev}, stands behind {newest}")

    def _last_id(self, number: int) -> str:
        ours = _boundary(self._decoded(number))
        if ours is None:
            return ""
        last: str = ours.last if isinstance(ours, Heartbeat) else ours.id
        return last

    # -- what goes wrong ----------------------------------------------------------------

    def _faults(self, s: State) -> Iterator[tuple[str, State]]:
        may = self.scenario.may
        if "crash" in may:
            for n, reader in enumerate(s.readers):
                if isinstance(reader, Reader):
                    orphans = tuple(f._replace(owner=-1) if f.owner == n else f for f in s.flights)
                    yield f"CRASH reader {n}", _with_reader(s, n, None)._replace(flights=orphans)
            for n, sink in enumerate(s.sinks):
                if isinstance(sink, (Sink, Looking)):
                    yield f"CRASH sink {n}", _with_sink(s, n, None)
        if "lose" in may or "lose quietly" in may or "lose within the epoch" in may:
            for kept in range(self._kept(s), len(s.stream)):
                yield f"LOSE {len(s.stream) - kept}", self._lose(s, kept)
        if "evict" in may and len(s.stream) > 1:
            yield "EVICT", s._replace(base=s.base + 1, stream=s.stream[1:])
        for redis in s.past:
            if redis != s.redis:
                sinks = tuple(None if isinstance(x, (Sink, Looking)) else x for x in s.sinks)
                yield "ROLL BACK", s._replace(redis=redis, sinks=sinks)

        if ("refresh" in may or "refresh in line" in may) and s.stream:
            yield "REFRESH", self._refresh(s)

    def _kept(self, s: State) -> int:
        """Return how many messages are lost by no means."""
        least = int(not self.scenario.snapshot)
        if "lose within the epoch" in self.scenario.may:
            for n, stored in enumerate(s.stream, 1):
                if isinstance(self._decoded(stored.message), Refresh):
                    least = n
        return least

    def _refresh(self, s: State) -> State:
        """Let `cdc refresh` claim the stream's end and announce."""
        try:
            tail = self._tail(s)
        except CdcError:
            return s
        if tail.heartbeat is None:
            return s
        for flight in s.flights:
            if flight.begun:
                s = _without_flight(s, flight)
        log, only = self._log(s, tail.heartbeat), () if "refresh" in self.scenario.may else (NAME,)
        refresh = plan_refresh(tail, None if only else log, [NAME], only, number=s.clock, now_us=0)
        claimed = self.messages.number((HEARTBEAT.encode(), encode(tail.heartbeat)))
        if tail.heartbeat.last != tail.last:
            claim = msgspec.structs.replace(tail.heartbeat, last=tail.last)
            claimed = self.messages.number((HEARTBEAT.encode(), encode(claim)))
        announced = self.messages.number((REFRESH.encode(), encode(refresh)))
        both = Stored(claimed, CLAIM, s.lives), Stored(announced, SINGLE, s.lives)
        return s._replace(stream=(*s.stream, *both), clock=s.clock + CLOCK_STEP)

    def _lose(self, s: State, kept: int) -> State:
        after = s._replace(
            stream=s.stream[:kept],
            lives=s.lives + 1,
            acknowledged=min(s.acknowledged, s.base + kept),
        )
        if "lose quietly" in self.scenario.may:
            for flight in s.flights:
                if flight.begun:
                    after = _without_flight(after, flight)
            return after
        return after._replace(
            flights=(),
            readers=tuple(None if isinstance(r, Reader) else r for r in s.readers),
            sinks=tuple(None if isinstance(x, (Sink, Looking)) else x for x in s.sinks),
        )


def _may_turn(s: State, n: int, reader: Reader) -> bool:
    idle = all(flight.owner != n for flight in s.flights)
    return reader.phase == "run" and not reader.outbox and idle


def _batch_to_end(s: State, claim: int) -> int:
    """Return where the batch begins that a reader with this claim ends; 0: none."""
    for sequence in range(min(claim - 1, s.last), s.base, -1):
        headers = HEADERS[s.stream[sequence - s.base - 1].headers]
        if begins_flush(headers):
            return sequence if batch_of(headers) else 0
    return 0


def _without_flight(s: State, flight: Flight) -> State:
    """End a batch; its owner hears of it and begins again."""
    s = s._replace(flights=tuple(f for f in s.flights if f != flight))
    is_waiting = flight.owner >= 0 and isinstance(s.readers[flight.owner], Reader)
    return _with_reader(s, flight.owner, None) if is_waiting else s


def _with_reader(s: State, n: int, reader: Reader | str | None) -> State:
    return s._replace(readers=(*s.readers[:n], reader, *s.readers[n + 1 :]))


def _boundary(ours: Any) -> Any:
    """Return a refresh as the boundary that it is, and anything else as it is."""
    return ours.boundary if isinstance(ours, Refresh) else ours


def _with_sink(s: State, n: int, sink: Sink | str | None) -> State:
    return s._replace(sinks=(*s.sinks[:n], sink, *s.sinks[n + 1 :]))
