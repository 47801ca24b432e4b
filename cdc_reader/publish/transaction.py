"""Turn events into messages, with the state of the transaction that is being read.

Pure.  `Assembler.take` appends finished message bodies to `runs` and moves `position`
at transaction ends only (invariant 2).  What it cannot carry exactly it refuses with the
position, the reason and the fix (invariants 3 and 6); nothing is skipped except what the
stream already has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from cdc.compiled import native
from cdc.errors import PositionLostError
from cdc.message import parse_id
from cdc.position import GtidSet, MySqlGtidSet, Position, Watermark
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.coordinates import Coordinates
from cdc_reader.binlog.event import Event
from cdc_reader.binlog.payload import expand_payload
from cdc_reader.binlog.statement import control_of
from cdc_reader.binlog.table_map import parse_table_map
from cdc_reader.messages.chains import Chains, Run, snapshot_run
from cdc_reader.messages.unread import Unread
from cdc_reader.publish.followed import Followed
from cdc_reader.publish.partial_event import ALL_ROWS, EventAt, PartialEvents
from cdc_reader.publish.refusal import refusal_of_event, refused
from cdc_reader.publish.statements import Statements, barrier
from cdc_reader.publish.stored import Stored
from cdc_reader.publish.xa_transactions import ROW_EVENTS, Here, XaTransactions
from cdc_reader.resume.resume import Resume
from cdc_reader.rows.image_source import rows_event
from cdc_reader.rows.parent_rows import ParentRows
from cdc_reader.rows.row_codec import RowCodec
from cdc_reader.rows.shape import Target
from cdc_reader.schema.change import End
from cdc_reader.schema.foreign_keys import Cascades, name_of
from cdc_reader.schema.names import Names
from cdc_reader.schema.reach import Reach

_native = native("cdc_reader")


class Assembler:
    """Turns one connection's events into messages; made for each connection."""

    def __init__(
        self,
        *,
        resume: Resume,
        gtid_set: GtidSet | None,
        targets: Mapping[str, Target],
        mariadb: bool,
        on_schema_change: Literal["refresh", "stop", "continue"],
        aside: Collection[str] = (),
        passed: Collection[End] = (),
        reach: Reach | None = None,
        unread: Unread | None = None,
        names: Names | None = None,
        cascades: Cascades | None = None,
    ) -> None:
        """Begin at `resume`.

        Args:
            gtid_set: the parsed ``resume.position.gtid_set``; owned from now on.
            targets: ``{"shop.users": Target(...)}``: what is captured.
            aside: tables that are set aside: statements that name them are looked at.
            passed: statements that were looked at, and XA COMMITs whose tables were.
            reach: what is known of statements that change rows; None: nothing yet.
            unread: gets the keys of rows that the binlog has in part.
            names: the columns of tables that the binlog does not name; None: none are known.
            cascades: foreign keys whose children are read again; None: none are followed.
        """
        self.runs: list[Run] = []
        self.last = resume.last
        """`id` of the newest message, published or in `runs`."""
        self.chains = Chains(list(resume.last_of)) if resume.last_of else None
        """The chains of several partitions; None with one."""
        self.unread = Unread() if unread is None else unread
        self._partial_events = PartialEvents(self.unread, self.chains, self._run)
        self.event_us = 0
        """Commit time of the newest transaction seen."""
        self.in_transaction = self._begun = False
        self._epoch, self._stored = resume.epoch, Stored(resume)
        self.names, self._cascades = names or Names(), cascades or Cascades()
        self._parents = self._cascades.parents(targets)
        self.xa = XaTransactions(
            resume.prepared, targets, self._parents, passed, self._stored, self, self.names
        )
        self._is_position_known, self._gtid_set = resume.is_position_known, gtid_set
        self._targets, self._mariadb = targets, mariadb
        self._statements = Statements(
            targets=targets,
            on_schema_change=on_schema_change,
            aside=aside,
            passed=passed,
            reach=Reach() if reach is None else reach,
            cascades=self._cascades,
            refuse=self._refuse,
        )
        self._gtid: str | None = None
        self._at, self._transaction_rows = Coordinates(resume.position), 0
        self._context = self._suffix = ""
        self._payload_row: int | None = None
        self._by_id: dict[bytes, RowCodec | ParentRows | None] = {}
        self._by_map: dict[bytes, RowCodec | ParentRows | None] = self.names.made
        self._steps: dict[int, Callable[[Event], None]] = {
            **dict.fromkeys(ev.WITHOUT_ROWS, self._between),
            **dict.fromkeys(ev.GTIDS, self._begin),
            **dict.fromkeys(ev.QUERIES, self._query),
            **dict.fromkeys((*ev.ROWS, ev.PARTIAL_UPDATE_ROWS), self._rows),
            ev.TABLE_MAP: self._table_map,
            ev.XID: self._commit,
            ev.XA_PREPARE: self._xa_prepare,
            ev.ROTATE: self._rotate,
            ev.TRANSACTION_PAYLOAD: self._payload,
            ev.FORMAT_DESCRIPTION: self._file_begins,
        }

    @property
    def position(self) -> Position:
        """The newest transaction boundary."""
        gtid_set = None if self._gtid_set is None else str(self._gtid_set)
        return Position(file=self._at.boundary_file, offset=self.boundary[1], gtid_set=gtid_set)

    @property
    def boundary(self) -> tuple[int, int]:
        """File number and offset of that."""
        return self._at.boundary

    def seen(self) -> Watermark:
        """Return all that has been read, the open transaction included."""
        seen = self._gtid_set.copy() if isinstance(self._gtid_set, MySqlGtidSet) else None
        if seen is not None and self._gtid:
            seen.add(self._gtid)
        return Watermark(gtid_set=seen, place=self._at.position)

    def is_behind_the_stream(self) -> bool:
        """Return whether the stream has more than was read here, which no SELECT may show yet."""
        return self._stored.is_after((self._epoch, *self._at.boundary))

    def has_passed(self, watermark: Watermark) -> bool:
        """Return whether the newest boundary is at or after the watermark: position and GTIDs."""
        if self._at.boundary < watermark.place:
            return False
        own, other = self._gtid_set, watermark.gtid_set
        return other is None or (isinstance(own, MySqlGtidSet) and own.issuperset(other))

    def take(self, event: Event) -> None:
        """Take one event in.

        Raises:
            PositionLostError: it cannot be carried exactly.
        """
        if self._payload_row is None and event.kind not in ev.WITHOUT_POSITION:
            self._at.advance(event, in_transaction=self.in_transaction)
        if self.xa.group is not None and event.kind in ROW_EVENTS:
            self.xa.hold(event)
            return
        self._steps.get(event.kind, self._unknown)(event)

    def needs(self, kind: int, table_id: bytes) -> bool:
        """Return whether a large event is to be held: see `cdc_reader.binlog.event.Needs`."""
        return ev.is_of_use(kind, self._by_id.get(table_id, "refused when it is whole"))

    def take_usual(self, buffer: bytes, at: int, checksum: bool) -> int:
        """Take the usual packets that are complete at ``buffer[at:]``; return the index after them.

        The compiled path does to this state what `take` would do, event by event, and stops in
        front of the first that is rare or unclear.  See docs/adr/0009-compiled-hot-path.md.
        """
        if _native is None or self.xa.group is not None or not self._stored.is_past:
            return at
        where = (f"{self._epoch}.{self._at.file_number}.", self._at.end)
        state = (self.in_transaction, self._begun, self._transaction_rows, self.event_us)
        texts = (self._gtid or "", self._context, self._suffix, self.last)
        followed = _native.follow(
            buffer, at, checksum, *where, *state, *texts, self._by_map, self._by_id,
            self.chains.last_of if self.chains else None,
        )  # fmt: skip
        return at if followed is None else self._resume_after(Followed(*followed))

    def _resume_after(self, followed: Followed) -> int:
        """Take over the state that the compiled path came to."""
        self._at.end = followed.end
        self.in_transaction, self._begun = followed.in_transaction, followed.begun
        self._transaction_rows, self.event_us = followed.messages, followed.event_us
        self._context, self._suffix = followed.context, followed.suffix
        self._gtid, self.last = followed.gtid or None, followed.last
        for op, table, bodies, addresses in followed.runs:
            if bodies:
                run = self._run(op, table)
                run.bodies.extend(bodies)
                if run.addresses is not None:
                    run.addresses.extend(addresses or ())
        followed.add_to(self._gtid_set)
        if followed.committed >= 0:
            self._at.move_boundary(followed.committed)
            self._is_position_known = True
        return followed.at

    def snapshot_run(self, table: str, rows: Sequence[bytes], *, read_us: int) -> Run:
        """Return rows of the snapshot as messages after the newest: see `chains.snapshot_run`."""
        before = parse_id(self.last) or (self._epoch, *self._at.boundary, 0)
        run, self.last = snapshot_run(
            table, rows, read_us=read_us, last=self.last, before=before, chains=self.chains
        )
        return run

    def position_text(self) -> str:
        """Return the current position for errors: ``binlog.000012:4711, GTID 7271…:8004``."""
        return f"{self._at.file}:{self._at.end}" + (f", GTID {self._gtid}" if self._gtid else "")

    # -- coordinates ---------------------------------------------------------------

    def _rotate(self, event: Event) -> None:
        self._by_id.clear()
        self._at.go_to(*ev.rotate_to(event))
        # The first ROTATE after connecting is invented by the server (timestamp 0) and
        # names the file that it will send from; with GTIDs that is not where we are.
        # Source: mysql-server sql/rpl_binlog_sender.cc, fake_rotate_event.
        if not self.in_transaction and event.timestamp_s:
            self._at.move_boundary()

    def _file_begins(self, event: Event) -> None:
        self._by_id.clear()
        self._between(event)

    def _between(self, event: Event) -> None:
        """Move the boundary over events between transactions."""
        is_outside = self._is_position_known and not self.in_transaction
        if is_outside and event.end_offset and event.kind != ev.HEARTBEAT:
            self._at.move_boundary()

    # -- transactions ---------------------------------------------------------------

    def _begin(self, event: Event) -> None:
        gtid, commit_us, standalone, is_prepared = ev.parse_gtid(event)
        self._gtid, self.event_us = gtid, commit_us
        self.xa.begin(event if is_prepared else None)
        self.in_transaction = True
        self._begun = event.kind == ev.MARIADB_GTID and not standalone
        self._transaction_rows = 0
        self._context = f'"gtid":"{gtid}",' if gtid else ""
        self._suffix = f',"ts":{commit_us},"v":1}}'

    def _commit(self, _: Event | None = None) -> None:
        if self._payload_row is not None:
            return  # inner events have no position: the boundary is the end of the payload event
        self.in_transaction = self._begun = False
        self._is_position_known = True
        if self._gtid and self._gtid_set is not None:
            self._gtid_set.add(self._gtid)
        self._stored.end_transaction(self._gtid)
        self._at.move_boundary()

    def _query(self, event: Event) -> None:
        if ev.is_begin(event):
            self._begun = True
            return
        query = ev.parse_query(event)
        control = control_of(query.text)
        if self.xa.group is not None and control in (None, "rollback to"):
            self.xa.group.lose()
        elif control is None:
            self._statement(query)
            if not self._begun:
                self._commit()
        elif control == "begin":
            self._begun = True
        elif control == "xa":
            self.xa.control(query.text, event)
        elif control == "commit":
            self._commit()
        elif control in ("rollback", "rollback to"):
            self._rollback(control)

    def _rollback(self, control: str) -> None:
        if self._transaction_rows:
            here = (self._at.file, self._at.end)
            self._statements.roll_back(control, here, self.position_text())
        if control == "rollback":
            self._commit()

    def _payload(self, event: Event) -> None:
        self._payload_row = 0
        try:
            for inner in expand_payload(event, self.needs):
                self.take(inner)
        finally:
            self._payload_row = None
        self.xa.decide(event)

    # -- for XA transactions: see cdc_reader.publish.xa_transactions -------------------

    def _xa_prepare(self, event: Event) -> None:
        self.xa.prepare(event)
        if self._payload_row is None:
            self.xa.decide(event)

    def here(self, event: Event) -> Here:
        """Return where an event is."""
        offset, number = self._at.end - event.size_bytes, self._at.file_number
        end = End(self._gtid or "", number, self._at.end)
        place = (self._epoch, number, offset)
        return Here(self._at.file, offset, self._gtid, self.event_us, place, end)

    def is_captured(self, event: Event) -> bool:
        """Return whether a TABLE_MAP or rows event is of a captured table, or of a parent."""
        if event.kind == ev.TABLE_MAP:
            self._table_map(event)
        return self._by_id.get(event.buffer[event.start : event.start + 6], "") is not None

    def take_again(self, event: Event) -> None:
        """Take a TABLE_MAP or rows event in of the transaction that `xa` publishes."""
        # All its rows have one position, where it is committed.
        self._payload_row = self._payload_row or 0
        self._steps.get(event.kind, self._unknown)(event)

    def end_transaction(self) -> None:
        """End the transaction here."""
        self._payload_row = None
        self._by_id.clear()
        self._commit()

    # -- statements -----------------------------------------------------------------

    def _statement(self, query: ev.QueryEvent) -> None:
        end = End(self._gtid or "", self._at.file_number, self._at.end)
        kind, tables = self._statements.changed_by(
            query, end, self._at.file, self.position_text(), self._is_stored
        )
        self.names.forget(tables, end)
        for row, table in enumerate(tables):
            self._schema_change(kind, table, row)

    def _is_stored(self, tables: Collection[str]) -> bool:
        """Return whether the stream has the statement here, of one of these tables."""
        end = (self._epoch, self._at.file_number, self._at.end)
        return self._stored.has_statement(end, self._gtid, tables)

    def _schema_change(self, kind: str, table: str, row: int) -> None:
        numbers = (self._epoch, self._at.file_number, self._at.end, row)
        if self._stored.passes_barrier(numbers, self._gtid, table):
            return
        frame = (self._gtid, self.last, self.chains, self.event_us)
        self.last, body = barrier(table, kind, numbers, *frame)
        self._run("schema", table).bodies.append(body)

    # -- rows -----------------------------------------------------------------------

    def _table_map(self, event: Event) -> None:
        buffer, start = event.buffer, event.start
        body = buffer[start + 8 : event.end]
        try:
            codec = self._by_map[body]
        except KeyError:
            codec = self._by_map[body] = self._codec(event)
        self._by_id[buffer[start : start + 6]] = codec

    def _codec(self, event: Event) -> RowCodec | ParentRows | None:
        table_map = parse_table_map(event.buffer[event.start : event.end], mariadb=self._mariadb)
        target = self._targets.get(table_map.qualified)
        parent = self._parents.get(name_of(table_map.qualified))
        watching = ParentRows(table_map, parent) if parent else None
        if target is None:
            return watching
        try:
            named = self.names.put_in(table_map, target, self.position_text())
            if not named:
                return watching
            codec = RowCodec(named, target, self.chains.partitions if self.chains else 1)
            codec.parent = watching
            return codec
        except PositionLostError as error:
            # Names that are missing are a setting of the server, whatever the table.
            only = target.table if table_map.is_named or self.names.of(target.table) else ""
            raise self._placed(error, only) from None

    def _rows(self, event: Event) -> None:
        try:
            codec = self._by_id[event.buffer[event.start : event.start + ev.TABLE_ID_BYTES]]
        except KeyError:
            raise self._refuse("a rows event without its TABLE_MAP", "start cdc again") from None
        if codec is None:
            return
        found = rows_event(event)
        if codec.parent is not None:
            self._cascades.note(codec.parent.reached(found), self.unread)
        if isinstance(codec, ParentRows):
            return
        op, buffer, at, end, _, has_options = found
        # Events of a compressed transaction share one position: rows are numbered across them.
        first_row = self._payload_row or 0
        offset = self._at.end - event.size_bytes
        place, table = (self._epoch, self._at.file_number, offset), codec.target.table
        skip_rows = self._stored.first_row(place, self._gtid, table, first_row, self.chains)
        id_prefix = f"{self._epoch}.{self._at.file_number}.{offset}."
        try:
            if (partial := codec.partial(op, buffer, at, has_options=has_options)) is not None:
                made = codec.partial_rows(partial, op, buffer, at, end)
                # What was noted of rows that the stream has may be in no heartbeat.
                texts = (id_prefix, self._context, self._suffix)
                skip = ALL_ROWS if skip_rows is None else skip_rows
                rows, self.last, count = self._partial_events.take(
                    made, EventAt(table, self._gtid, first_row, *texts, skip),
                    last=self.last, stored=self._stored, where=self.position_text(),
                )  # fmt: skip
            elif skip_rows is None:
                self._transaction_rows += 1
                return
            else:
                run = self._run(op, table)
                rows, self.last = codec.messages(
                    op, buffer, at, end, first_row=first_row, id_prefix=id_prefix, prev=self.last,
                    context=self._context, suffix=self._suffix, skip_rows=skip_rows,
                    out=run.bodies, chains=self.chains, addresses=run.addresses,
                )  # fmt: skip
                count = rows - first_row
        except PositionLostError as error:
            raise self._placed(error, table) from None
        # What a ROLLBACK would have to take back, also where the stream had it already.
        self._transaction_rows += count
        # Skipped rows count as well: numbers are those of the event's rows.
        self._stored.passed(self._gtid, table, rows - first_row)
        if self._payload_row is not None:
            self._payload_row = rows

    def _run(self, op: str, table: str) -> Run:
        runs = self.runs
        if runs and runs[-1].op == op and runs[-1].table == table:
            return runs[-1]
        runs.append(Run(op, table, [], [] if self.chains and op != "schema" else None))
        return runs[-1]

    # -- refusals -------------------------------------------------------------------

    def _unknown(self, event: Event) -> None:
        if refusal := refusal_of_event(event):
            raise self._refuse(*refusal)

    def _refuse(
        self, seen: str, fix: str, heals_by_refresh: bool = False, table: str = ""
    ) -> PositionLostError:
        place = f"{self._at.file}:{self._at.end}"
        return refused(seen, fix, self.position_text(), place, heals_by_refresh, table)

    def _placed(self, error: PositionLostError, table: str) -> PositionLostError:
        return self._refuse(error.seen, error.fix, error.heals_by_refresh, table)
