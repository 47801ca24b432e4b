"""The wire contract, version 1: what is in one NATS message.

Pure.  Subject ``<prefix>.<op>`` (with several partitions see `cdc.partition`), body UTF-8
JSON whose first two fields are all that a simple consumer needs.  See docs/message.md; the
golden files in tests/golden/messages hold it still.

Seven bodies exist: `Change` (one row), `Snapshot` (existing rows), `RowPart` (a part of either,
where it is larger than NATS carries), `Schema` (a barrier), `Heartbeat` (a transaction boundary),
`Refresh` (tables are read again from here) and `Tables` (all tables, where they are too many for
each heartbeat).
Each ends with a field that says who wrote it (`cdc.seal`), which no body here has.
An eighth, `Bare`, is what an application publishes itself:
``{"key": "user:123", "value": "John Doe"}`` and nothing of ours.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

CONTRACT_VERSION = 1
ID_DIGITS_MAX = 18
"""Of each number in an id; the largest offset in a binlog has ten."""
is_id = re.compile(rf"[0-9]{{1,{ID_DIGITS_MAX}}}(\.[0-9]{{1,{ID_DIGITS_MAX}}}){{3,4}}").fullmatch
"""Quicker than `parse_id`, where an id need not be compared."""

Operation = Literal["insert", "update", "delete"]
OPERATIONS: tuple[Operation, ...] = ("insert", "update", "delete")
SNAPSHOT = "snapshot"
HEARTBEAT = "heartbeat"
SCHEMA = "schema"
REFRESH = "refresh"
TABLES = "tables"
PART = "part"

Delivery = tuple[int, bytes, bytes]
"""A message as the consumer delivers it: ``(stream sequence, subject, body)``."""


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A row's entry in a set or sorted set: ``{"set":"orders:of:7","member":"orders:42"}``."""

    set: str | None = None
    """Key of the set; None: of a sorted set."""
    zset: str | None = None
    """Key of the sorted set; None: of a set."""
    member: str
    score: str | None = None
    """A number as text, for a sorted set, where the entry is made."""


class TooLarge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row that is not carried: ``{"size_bytes":70000312,"limit_bytes":67108864}``."""

    size_bytes: int
    """Of the message that it would be."""
    limit_bytes: int
    """The setting `max_row_bytes`, or less where the stream has less room."""


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row was inserted, updated or deleted.

    Field order is the order on the wire.
    """

    key: str
    value: str | None = None
    """One column's text, or the row as a JSON object; None: the key is to go."""
    op: Operation
    table: str
    """``schema.table``."""
    old_key: str | None = None
    """The key that the row had before, where it changed: removed in the same step."""
    field: str | None = None
    """The field of the hash `key` that `value` is for, where a hash holds a parent's rows."""
    old_field: str | None = None
    """Beside `old_key`: the field there that is to go, and nothing else of it."""
    index: tuple[Member, ...] | None = None
    """The row's entries in indexes; None: it has none."""
    old_index: tuple[Member, ...] | None = None
    """Entries that the row had before and has no more."""
    too_large: TooLarge | None = None
    """In place of `value` and `index`: the row is not carried, and its key is to go."""
    gtid: str | None = None
    id: str
    """Place in the binlog, ``epoch.file.offset.row``; rows of the snapshot, and a key that a
    row leaves for one of another partition, have one number more."""
    prev: str
    """`id` of the message of ours before this one, in its partition; empty for the first."""
    ts: int
    """Commit time in microseconds since 1970."""
    v: int = CONTRACT_VERSION


class SnapshotRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One existing row."""

    key: str
    value: str | None = None
    """As of `Change`; None: the one column is NULL, and the key is to go."""
    field: str | None = None
    index: tuple[Member, ...] | None = None
    too_large: TooLarge | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one table that the snapshot read, all for one partition.

    Many in one message, because what NATS takes for a message is more than all else of a
    row together (docs/adr/0006-snapshot-in-line.md).
    """

    rows: tuple[SnapshotRow, ...]
    op: Literal["snapshot"] = "snapshot"
    table: str
    id: str
    """That of the message before it with one more number."""
    prev: str
    ts: int
    """When the rows were read, in microseconds since 1970."""
    v: int = CONTRACT_VERSION


class RowPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a `Change` or `Snapshot` that is larger than NATS carries.

    The slices of all parts, decoded and put together, are the body as it would be in one message,
    with its own MAC.
    """

    op: Literal["part"] = "part"
    of: Literal["insert", "update", "delete", "snapshot"]
    """`op` of the whole."""
    table: str
    gtid: str | None = None
    id: str
    """`id` of the whole; it is in the stream once its last part is."""
    prev: str
    """`prev` of the whole."""
    part: int
    """From 1 to `parts`."""
    parts: int
    whole: str
    """`mac` of the whole: parts that were cut from different bodies never mix."""
    slice: str
    """A piece of the whole's bytes, in base64."""
    v: int = CONTRACT_VERSION


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """The table's definition or its rows as a whole changed: a barrier."""

    op: Literal["schema"] = "schema"
    table: str
    statement: str
    """Kind alone, such as ``ALTER TABLE``: a statement's text can hold values."""
    gtid: str | None = None
    id: str
    prev: str
    """`id` of the newest message of ours before this one, whatever its partition."""
    prev_of: tuple[str, ...] | None = None
    """With several partitions: `id` of the message before this one in each of them."""
    ts: int
    v: int = CONTRACT_VERSION


class KeyRange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows between two keys of a table, both within; a key is its parts as texts."""

    refresh: int = 0
    """`number` of the refresh that they are read for."""
    first: tuple[str, ...] = ()
    """Empty: from the first row on."""
    last: tuple[str, ...] = ()
    """Empty: to the last row."""
    after: tuple[str, ...] = ()
    """Key of the last row published; empty: none yet."""
    rows: int = 0
    """Rows read so far."""
    about_rows: int = 0
    """Rows in all, as the server estimated at the start; 0: not started."""


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """Why a table is set aside: its changes are skipped, its keys are not exact."""

    reason: str
    """``shop.users has no column 'id' in the binlog``"""
    fix: str = ""
    position: str
    """Where that was met: ``binlog.000012:4711``."""
    since: int
    """Microseconds since 1970."""
    removed: bool = False
    """Its keys are removed."""

    def after(self, before: Aside | msgspec.UnsetType) -> Aside:
        """Return the same, with since when and where it has been set aside already."""
        if before is msgspec.UNSET:
            return self
        position = self.position or before.position
        return msgspec.structs.replace(self, since=before.since, position=position)


def keys_text(*, is_removed: bool) -> str:
    """Return what became of the keys of a table that is set aside."""
    return "removed" if is_removed else "kept, not exact"


class TableProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the snapshot of one table has come."""

    done: bool = False
    after: tuple[str | None, ...] = ()
    """Primary key of the last row published, as text; empty: not begun."""
    refresh: int | msgspec.UnsetType = msgspec.UNSET
    """`number` of the refresh that the table is read for; absent: its first start."""
    rows: int | msgspec.UnsetType = msgspec.UNSET
    """Rows read so far; absent: not started."""
    about_rows: int | msgspec.UnsetType = msgspec.UNSET
    """Rows in all, as the server estimated at the start."""
    ranges: tuple[KeyRange, ...] | msgspec.UnsetType = msgspec.UNSET
    """Ranges of keys that are still to be read, in this order, whatever stands above; absent:
    none."""
    form: str | msgspec.UnsetType = msgspec.UNSET
    """`cdc_reader.snapshot.form.form_of` the table; absent: of a cdc that did not say."""
    key: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Columns that tell the rows apart in the messages up to here; absent: not known."""
    has_older_forms: bool | msgspec.UnsetType = msgspec.UNSET
    """The form changed since the table was begun to be read; absent: it did not."""
    aside: Aside | msgspec.UnsetType = msgspec.UNSET
    """Absent: it is captured."""
    partial: tuple[KeyRange, ...] | msgspec.UnsetType = msgspec.UNSET
    """Keys whose rows are still to be read, because the binlog has them in part; empty: none now;
    absent: no row of the table was in part."""
    refresh_due: bool | msgspec.UnsetType = msgspec.UNSET
    """The table is to be read again as a whole, because keys of such rows are not known."""
    columns: str | msgspec.UnsetType = msgspec.UNSET
    """`cdc_reader.schema.columns.digest_of` the table, as its rows after this boundary are; absent:
    that is not known."""

    @property
    def open_ranges(self) -> tuple[KeyRange, ...]:
        """Return the ranges of keys that are still to be read."""
        return () if self.ranges is msgspec.UNSET else self.ranges

    def with_ranges(self, ranges: tuple[KeyRange, ...]) -> TableProgress:
        """Return the same with other ranges."""
        return msgspec.structs.replace(self, ranges=ranges or msgspec.UNSET)

    @property
    def partial_keys(self) -> tuple[KeyRange, ...]:
        """Return the keys whose rows the binlog has in part, still to be read."""
        return () if self.partial is msgspec.UNSET else self.partial

    def begun_again(self, number: int, *, keeps_columns: bool = False) -> TableProgress:
        """Return the beginning of a whole reading for a refresh.

        Args:
            keeps_columns: nothing changed them, and the boundary stays.
        """
        partial = msgspec.UNSET if self.partial is msgspec.UNSET else ()
        columns = self.columns if keeps_columns else msgspec.UNSET
        return TableProgress(refresh=number, partial=partial, key=self.key, columns=columns)


class Prepared(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An XA transaction that is prepared at the boundary, and where its rows are."""

    xid: str
    """As XA COMMIT takes it: ``X'61',X'',1``."""
    file: str = ""
    """Where its events begin, beside `offset`; empty: they cannot be read there again."""
    offset: int = 0
    gtid: str | msgspec.UnsetType = msgspec.UNSET
    """Of its PREPARE; absent without GTIDs."""
    tables: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """``schema.table`` of all that it changes; absent: not known."""
    since: int = 0
    """When it was prepared, microseconds since 1970."""


class ListedAt(msgspec.Struct, frozen=True, kw_only=True):
    """A list of all tables: ``{"number":1795414891568123,"seq":8123}``."""

    number: int
    """When it was made, microseconds since 1970."""
    seq: int
    """Sequence in the stream from which on it is to be looked for."""


class Tables(msgspec.Struct, frozen=True, kw_only=True):
    """How far the snapshot of each table is: a part of a list that heartbeats name."""

    op: Literal["tables"] = "tables"
    number: int
    part: int
    """From 1 to `parts`."""
    parts: int
    snapshot: dict[str, TableProgress]
    v: int = CONTRACT_VERSION


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction boundary: from here a restart loses nothing."""

    op: Literal["heartbeat"] = "heartbeat"
    epoch: int
    server: str
    """``server_uuid`` of MySQL, ``server_id`` of MariaDB: whose coordinates these are."""
    began: int = 0
    """When the stream's first reader began, microseconds since 1970, handed on from heartbeat
    to heartbeat: another number is another history, whatever its ids.  0: not known."""
    file: str
    offset: int
    gtid_set: str | None
    """Executed set (MySQL) or position (MariaDB) at the boundary; None without GTIDs."""
    last: str
    """`id` of the newest message of ours before this one, empty for the first one."""
    partitions: int = 1
    """How many the stream has; on the wire with several only, as is `last_of`."""
    last_of: tuple[str, ...] = ()
    """With several partitions: `id` of the newest message of ours in each of them."""
    snapshot: dict[str, TableProgress]
    """Each table, or with many (`listed`) each that is not as the list has it."""
    shown: str | msgspec.UnsetType = msgspec.UNSET
    """As `gtid_set`: of these transactions all rows come before this message; absent: of all.
    Rows that the binlog has in part come later, when they were read."""
    listed: ListedAt | msgspec.UnsetType = msgspec.UNSET
    """The list that has the other tables; absent: there are none."""
    upto: int = 0
    """All that was committed up to this time, microseconds since 1970, comes before this
    message; left out: not known."""
    paused: str | msgspec.UnsetType = msgspec.UNSET
    """Why no rows of a snapshot are read now; absent: they are, or there are none to read."""
    prepared: tuple[Prepared, ...] | msgspec.UnsetType = msgspec.UNSET
    """XA transactions without an outcome at the boundary; absent: none."""
    ts: int
    v: int = CONTRACT_VERSION


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What all bodies with a place in the chain have: changes, snapshots, barriers and parts."""

    op: Literal["insert", "update", "delete", "snapshot", "schema", "part"]
    table: str
    gtid: str | None = None
    id: str
    prev: str
    part: int = 0
    """Of a part: which it is."""
    parts: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether what has this `id` ends here: of several parts with the last one."""
        return self.part == self.parts


class Refresh(msgspec.Struct, frozen=True, kw_only=True):
    """Tables are read again from here: a boundary, and outside the chain as a heartbeat is."""

    op: Literal["refresh"] = "refresh"
    number: int
    """Greater than that of every refresh before; the time in microseconds since 1970."""
    tables: tuple[str, ...]
    """``schema.table`` of those that are read again as a whole."""
    ranges_of: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Tables of which ranges of keys are read, as the boundary has them; absent: none."""
    keys: dict[str, tuple[str, ...]] | msgspec.UnsetType = msgspec.UNSET
    """Columns that tell the rows of tables apart from here on, where the schema changed."""
    keys_before: dict[str, tuple[str, ...]] | msgspec.UnsetType = msgspec.UNSET
    """Those up to here, where they are others: keys of rows are to be removed by both."""
    gap: bool
    """Changes before it may be missing, of any table: nothing before it is needed."""
    boundary: Heartbeat
    """Where the binlog is read from, and the last message of the stream."""
    v: int = CONTRACT_VERSION


class Bare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an application publishes itself on our subjects."""

    key: str
    value: str


Ours = Change | Snapshot | RowPart | Schema | Heartbeat | Refresh | Tables

decode_change = msgspec.json.Decoder(Change).decode
decode_snapshot = msgspec.json.Decoder(Snapshot).decode
decode_part = msgspec.json.Decoder(RowPart).decode
decode_placed = msgspec.json.Decoder(Placed).decode
decode_heartbeat = msgspec.json.Decoder(Heartbeat).decode
decode_refresh = msgspec.json.Decoder(Refresh).decode
decode_tables = msgspec.json.Decoder(Tables).decode
decode_schema = msgspec.json.Decoder(Schema).decode
decode_bare = msgspec.json.Decoder(Bare).decode


def encode(message: Ours) -> bytes:
    """Return a message as it goes out: a field that is None is left out.

    Changes of the hot path are written by `cdc_reader.rows.row_codec` and give the same bytes.
    """
    fields = msgspec.structs.asdict(message)
    fields = {name: value for name, value in fields.items() if value is not msgspec.UNSET}
    if isinstance(message, Refresh):
        fields["boundary"] = msgspec.Raw(encode(message.boundary))
    elif not isinstance(message, Heartbeat):
        fields = {name: value for name, value in fields.items() if value is not None}
    else:
        if message.partitions == 1:
            del fields["partitions"], fields["last_of"]
        if not message.upto:
            del fields["upto"]
    return msgspec.json.encode(fields)


def subject_for(prefix: str, op: str) -> str:
    """Return the subject of an operation.

    >>> subject_for("mysql", "update")
    'mysql.update'
    """
    return f"{prefix}.{op}"


def parse_id(text: str) -> tuple[int, ...]:
    """Return an id as numbers that compare in binlog order.

    >>> parse_id("1.2.900.41") < parse_id("1.2.27999999.0")
    True
    >>> parse_id("1.2.900.41") < parse_id("1.2.900.41.1") < parse_id("1.2.900.42")
    True
    >>> parse_id("")
    ()

    Raises:
        ValueError: the text is not an id: four or five numbers of `ID_DIGITS_MAX` digits at most.
    """
    if not text:
        return ()
    if not is_id(text):
        raise ValueError(f"not a message id: {text[:80]!r}")
    return tuple(map(int, text.split(".")))
