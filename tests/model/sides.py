"""Reader and sink as functions of values: their own decisions, asked again and again.

Nothing here decides.  What a reader has in memory is a `History`: where it began, and what it
took in since, turn by turn; its Assembler and Snapshot are made anew from that each time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar, cast

import msgspec

from cdc.errors import CdcError
from cdc.message import (
    SCHEMA,
    KeyRange,
    TableProgress,
    decode_bare,
    decode_change,
    decode_heartbeat,
    decode_refresh,
    decode_schema,
    decode_snapshot,
    encode,
    subject_for,
)
from cdc.own_keys import PREFIX as OWN
from cdc.position import MySqlGtidSet, Watermark
from cdc.table import Table
from cdc.table_list import Naming
from cdc_reader.attached import Attached
from cdc_reader.binlog.event import Event
from cdc_reader.messages.flush import Message, parts
from cdc_reader.publish.beat import Beat
from cdc_reader.publish.transaction import Assembler
from cdc_reader.resume.resume import Resume, initial_progress, parsed_gtid_set
from cdc_reader.rows.select_codec import SelectCodec, SelectedRow
from cdc_reader.snapshot.chunk import Chunk, chunk_of
from cdc_reader.snapshot.pace import Pace
from cdc_reader.snapshot.snapshot import Snapshot
from redis_sink.plan.applied import Applied
from redis_sink.plan.planner import Planner
from tests.model.binlog import TABLE, TARGET, Binlog, gtids, transactions_in

T = TypeVar("T")
PREFIX = "mysql"
NAME = TABLE.qualified
HEARTBEAT, BARRIER = subject_for(PREFIX, "heartbeat"), subject_for(PREFIX, SCHEMA)
REFRESH = subject_for(PREFIX, "refresh")
BARE_KEY = "t:0"
"""Of the table, but of no row: an application writes it by itself."""
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "heartbeat": decode_heartbeat,
    "schema": decode_schema,
    "snapshot": decode_snapshot,
    "refresh": decode_refresh,
}


class Read(NamedTuple):
    """What a chunk's SELECT saw."""

    visible: int
    """So many transactions."""
    written: int
    """So many were in the binlog after it."""
    clock: int
    """When."""


class Turn(NamedTuple):
    """One round of the reader's loop."""

    piece: int | None
    read: Read | None


class History(NamedTuple):
    """All that a reader's memory follows from."""

    resume: Resume
    progress: TableProgress
    began: int
    turns: tuple[Turn, ...] = ()


class Numbered(Generic[T]):
    """Values that states name by number, so that states are small."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self._values: list[T] = []

    def number(self, value: T) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self._values)
            self._values.append(value)
        return found

    def __getitem__(self, number: int) -> T:
        return self._values[number]


class View(NamedTuple):
    """What stands in the memory of a reader after its newest turn."""

    flushes: tuple[tuple[int, ...], ...]
    """Of the newest turn: numbers of messages."""
    heartbeat: int
    next_piece: int
    reading: int | None
    """A chunk is being read, with all changes of so many transactions; None: none is."""
    active: bool
    """The snapshot is not at its end."""
    progress: TableProgress
    waits: bool
    """No chunk is begun now, though the snapshot is not at its end."""
    refused: bool
    """The newest turn ended in an error."""


class _Chunks:
    """Reads nothing: keeps what was asked, until the model says what the SELECT saw."""

    def __init__(self, binlog: Binlog, *, high_is_executed: bool) -> None:
        self._binlog = binlog
        self._high_is_executed = high_is_executed
        self._asked: tuple[SelectCodec, KeyRange, int] | None = None
        self._chunk: Chunk | None = None
        self.low = 0

    def begin(
        self,
        table: Table,
        codec: SelectCodec,
        rows: KeyRange,
        limit: int,
        low: Watermark,
        keys: Sequence[KeyRange] = (),
    ) -> _Chunks:
        assert not keys, "the binlog of the model has whole rows"
        self._asked, self._chunk = (codec, rows, limit), None
        self.low = transactions_in(str(low.gtid_set))
        return self

    def answer(self, read: Read) -> None:
        assert self._asked is not None, "nothing was asked"
        codec, wanted, limit = self._asked
        rows = sorted(self._binlog.rows[read.visible].items())
        cells: list[SelectedRow] = [
            (*self._cells(codec, id_, ver), b"%d" % id_)
            for id_, ver in rows
            if _is_within(id_, wanted)
        ][:limit]
        executed = MySqlGtidSet.parse(gtids(read.visible))
        place = (0, 0) if self._high_is_executed else (1, self._binlog.ends[read.written])
        high = Watermark(gtid_set=executed, place=place)
        chunk = chunk_of(cells, TABLE.columns[:1], limit, high)
        self._chunk = dataclasses.replace(chunk, read_us=read.clock)

    @staticmethod
    def _cells(codec: SelectCodec, id_: int, ver: int) -> SelectedRow:
        cells = {"id": b"%d" % id_, "ver": b"%d" % ver}
        return tuple(cells[name] for name in codec.indexes)

    def done(self) -> bool:
        return self._chunk is not None

    def result(self) -> Chunk:
        assert self._chunk is not None, "not read yet"
        return self._chunk


def _is_within(id_: int, wanted: KeyRange) -> bool:
    if wanted.after:
        from_ok = id_ > int(wanted.after[0])
    else:
        from_ok = not wanted.first or id_ >= int(wanted.first[0])
    return from_ok and (not wanted.last or id_ <= int(wanted.last[0]))


class _KeepsTouchedRows(Snapshot):
    """A variant that must fail: rows go out though a change touched them."""

    @staticmethod
    def _note(*_: Any) -> None:
        return


def decoded(message: Message) -> Any:
    """Return a message of ours: a change, rows, a barrier, a heartbeat; None: a bare one."""
    subject, body = message
    op = subject.decode().rpartition(".")[2]
    with suppress(msgspec.ValidationError):
        return _DECODERS.get(op, decode_change)(body)
    return None


class ReaderSide:
    """A reader of one binlog."""

    def __init__(
        self,
        binlog: Binlog,
        messages: Numbered[Message],
        *,
        chunk_rows: int,
        high_is_executed: bool = False,
        keeps_touched_rows: bool = False,
    ) -> None:
        self.binlog = binlog
        self.histories: Numbered[History] = Numbered()
        self._messages = messages
        self._chunk_rows = chunk_rows
        self._high_is_executed = high_is_executed
        self._kind = _KeepsTouchedRows if keeps_touched_rows else Snapshot
        self.view = lru_cache(None)(self._view)

    def begin(
        self, resume: Resume, known: dict[str, TableProgress], *, began: int, snapshot: bool
    ) -> int:
        """Return the memory of a reader that has just been attached."""
        progress = initial_progress({NAME: ""}, known, snapshot=snapshot)[NAME]
        return self.histories.number(History(resume, progress, began))

    def after(self, number: int, turn: Turn) -> int:
        """Return the memory after one turn more."""
        history = self.histories[number]
        return self.histories.number(history._replace(turns=(*history.turns, turn)))

    def _view(self, number: int) -> View:
        history = self.histories[number]
        resume = history.resume
        assembler = Assembler(
            resume=resume,
            gtid_set=parsed_gtid_set(resume.position, mariadb=False),
            targets={NAME: TARGET},
            mariadb=False,
            on_schema_change="continue",
        )
        chunks = _Chunks(self.binlog, high_is_executed=self._high_is_executed)
        snapshot = self._kind(
            [TABLE],
            {NAME: history.progress},
            chunks,
            mariadb=False,
            pace=Pace(max_rows=self._chunk_rows),
        )
        naming = Naming()
        naming.begin(snapshot.progress)
        attached = Attached(
            captured=cast("Any", None),
            naming=naming,
            dump=cast("Any", None),
            assembler=assembler,
            snapshot=snapshot,
            publisher=cast("Any", None),
            report=cast("Any", None),
            epoch=resume.epoch,
            server="s",
            began=history.began,
            beat=Beat(heartbeat_s=1, idle_s=5, early_bytes_per_s=0),
        )
        next_piece = self.binlog.first_piece(resume.position.gtid_set or "")
        flushes: tuple[tuple[int, ...], ...] = ()
        refused = False
        for turn in history.turns:
            if turn.read is not None:
                chunks.answer(turn.read)
            if turn.piece is not None:
                refused = not _took(assembler, self.binlog.pieces[turn.piece][1])
                next_piece = turn.piece + 1
            snapshot.step(assembler)
            runs, assembler.runs = assembler.runs, []
            made = parts(runs, PREFIX, max_messages=2, max_bytes=1 << 20)
            flushes = tuple(tuple(map(self._messages.number, flush)) for flush in made)
        heartbeat = msgspec.structs.replace(attached.heartbeat(), ts=0, upto=0)
        is_reading = snapshot.window is not None and not chunks.done()
        return View(
            flushes=flushes,
            heartbeat=self._messages.number((HEARTBEAT.encode(), encode(heartbeat))),
            next_piece=next_piece,
            reading=chunks.low if is_reading else None,
            active=snapshot.active,
            progress=snapshot.progress[NAME],
            waits=bool(history.turns) and snapshot.window is None,
            refused=refused,
        )


def _took(assembler: Assembler, events: Sequence[Event]) -> bool:
    try:
        for event in events:
            assembler.take(event)
    except CdcError:
        return False
    return True


class Planned(NamedTuple):
    """A batch on its way to Redis."""

    writes: tuple[tuple[str, str | None], ...]
    live: tuple[frozenset[str] | None, ...]
    dead: tuple[str, ...]
    applied: Applied
    consumed: int
    sweeps: bool


class SinkSide:
    """A sink of the table: decides batches."""

    def __init__(self) -> None:
        self._planner = Planner([TABLE], pipeline="p", subject_prefix=PREFIX, bare_messages="apply")

    def plan(self, applied: Applied, got: Sequence[tuple[int, Message]]) -> Planned | None:
        """Return what the batch does; None: the sink stops."""
        try:
            deliveries = [(seq, subject, body) for seq, (subject, body) in got]
            batch = self._planner.plan(applied, deliveries, now_us=0)
        except CdcError:
            return None
        writes: list[tuple[str, str | None]] = []
        live: list[frozenset[str] | None] = []
        for name, *arguments in batch.commands:
            keys = [str(a) for a in arguments]
            if name == "MSET":
                writes += zip(keys[::2], keys[1::2], strict=True)
            elif name == "SADD":
                live.append(frozenset(keys[1:]))
            elif keys[0].startswith(OWN):
                live.append(None)
            else:
                assert name == "UNLINK", name
                writes += [(key, None) for key in keys]
        dead = tuple(decode_bare(letter.body).value for letter in batch.dead)
        return Planned(
            tuple(writes), tuple(live), dead, batch.applied, batch.consumed, bool(batch.read_again)
        )
