"""The compiled path against the Python code: the same bytes and the same state, or none of it."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.compiled import native
from cdc.errors import PositionLostError
from cdc.key import parse_template
from cdc.position import GtidSet, MariaDbGtidSet, MySqlGtidSet, Position
from cdc.table import Column, Table
from cdc_reader.binlog import event as ev
from cdc_reader.binlog import types as tm
from cdc_reader.binlog.packet import PacketReader
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.messages.chains import Chains
from cdc_reader.publish import transaction
from cdc_reader.publish.transaction import Assembler
from cdc_reader.resume.resume import Resume
from cdc_reader.rows.row_codec import Op, RowCodec
from cdc_reader.rows.row_plan import OPS
from cdc_reader.rows.select_codec import SelectCodec
from cdc_reader.rows.shape import Target
from cdc_reader.schema.foreign_keys import Cascades, ForeignKey, ForeignKeys
from tests.support.binlog import UUID, Binlog
from tests.support.depth import by_depth
from tests.support.documents import DOCUMENTS, encode

SUFFIX = ',"ts":1795414891568123,"v":1}'
CONTEXT = f'"gtid":"{UUID}:5",'


def test_the_compiled_path_is_built_here() -> None:
    """Without it this module would compare the Python code with itself."""
    assert native("cdc_reader") is not None


# -- rows of the binlog -------------------------------------------------------------------


def column(name: str, kind: int, meta: int = 0, **how: Any) -> ColumnMap:
    fields: dict[str, Any] = {"nullable": True, "unsigned": False, "collation": 255, "labels": None}
    return ColumnMap(name=name, type=kind, meta=meta, **(fields | how))


LABELS = (b"new", b'q"uo\\te', "é".encode())
COLUMNS = (
    column("id", tm.LONGLONG, nullable=False, unsigned=True),
    column('na"me\\', tm.VARCHAR, 400),
    *(
        column(f"i{kind}{unsigned}", kind, unsigned=unsigned)
        for kind in (tm.TINY, tm.SHORT, tm.INT24, tm.LONG, tm.LONGLONG)
        for unsigned in (False, True)
    ),
    *(
        column(f"d{precision}_{scale}", tm.DECIMAL, precision << 8 | scale)
        for precision, scale in ((12, 2), (65, 30), (9, 9), (10, 0), (18, 9), (1, 1), (20, 3))
    ),
    column("f", tm.FLOAT),
    column("g", tm.DOUBLE),
    column("year", tm.YEAR),
    column("day", tm.DATE),
    *(column(f"at{digits}", tm.DATETIME2, digits) for digits in range(7)),
    *(column(f"ts{digits}", tm.TIMESTAMP2, digits) for digits in range(7)),
    *(column(f"t{digits}", tm.TIME2, digits) for digits in (0, 3, 6)),
    column("bit1", tm.BIT, 1),
    column("bit33", tm.BIT, 33),
    column("label", tm.ENUM, 1, labels=LABELS),
    column("labels", tm.SET, 1, labels=LABELS),
    column("ascii", tm.STRING, 20, collation=11),
    column("latin", tm.VARCHAR, 20, collation=8),
    column("fixed", tm.STRING, 16, collation=63),
    column("blob", tm.BLOB, 2, collation=63),
    column("text", tm.BLOB, 3),
    column("json", tm.JSON, 4),
)
FIXED = {
    tm.TINY: 1, tm.SHORT: 2, tm.INT24: 3, tm.LONG: 4, tm.LONGLONG: 8, tm.FLOAT: 4,
    tm.DOUBLE: 8, tm.YEAR: 1, tm.DATE: 3, tm.ENUM: 1, tm.SET: 1,
}  # fmt: skip
DECIMAL_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["", "plain", '"\\/\b\f\n\r\t\x00\x1f\x7f', "é→😀", "a:b%c-d"]
)


def decimal_image(precision: int, scale: int, number: int) -> bytes:
    digits = f"{abs(number):0{precision}d}"
    whole, after = digits[: precision - scale], digits[precision - scale :]
    first = len(whole) % 9
    groups = [whole[:first]] * bool(first) + [whole[n : n + 9] for n in range(first, len(whole), 9)]
    groups += [after[n : n + 9] for n in range(0, len(after), 9)]
    raw = b"".join(int(g).to_bytes(DECIMAL_BYTES[len(g)], "big") for g in groups)
    raw = bytes((raw[0] ^ 0x80,)) + raw[1:]
    return bytes(byte ^ 0xFF for byte in raw) if number < 0 else raw


def temporal(c: ColumnMap, chance: random.Random) -> bytes:
    """Return a value that is nearly always valid."""
    fraction = chance.randrange(100 ** ((c.meta + 1) // 2)).to_bytes((c.meta + 1) // 2, "big")
    if c.type == tm.TIMESTAMP2:
        return chance.choice((0, 1, chance.randrange(1 << 32))).to_bytes(4, "big") + fraction
    if c.type == tm.TIME2:
        clock = chance.randrange(839) << 12 | chance.randrange(60) << 6 | chance.randrange(60)
        return (0x800000 + clock).to_bytes(3, "big") + fraction
    year, month, day = chance.randrange(10000), chance.randrange(13), chance.randrange(32)
    if c.type == tm.DATE:
        return (year << 9 | month << 5 | day).to_bytes(3, "little")
    clock = chance.randrange(24) << 12 | chance.randrange(60) << 6 | chance.randrange(60)
    return (1 << 39 | (year * 13 + month) << 22 | day << 17 | clock).to_bytes(5, "big") + fraction


def value_image(c: ColumnMap, chance: random.Random, text: str) -> bytes:
    if c.type == tm.DECIMAL:
        precision, scale = c.meta >> 8, c.meta & 255
        return decimal_image(
            precision, scale, chance.randrange(-(10**precision) + 1, 10**precision)
        )
    if c.type in (tm.DATE, tm.DATETIME2, tm.TIMESTAMP2, tm.TIME2):
        return temporal(c, chance)
    if c.type == tm.DOUBLE:
        return struct.pack("<d", chance.choice((0.0, -0.0, 0.1, 1e16, chance.uniform(-1e9, 1e9))))
    if c.type == tm.FLOAT:
        return struct.pack("<f", chance.uniform(-1e9, 1e9))
    if c.type == tm.ENUM:
        return bytes((chance.randrange(4),))
    if c.type == tm.SET:
        return bytes((chance.randrange(8),))
    if c.type == tm.BIT:
        return chance.randrange(1 << c.meta).to_bytes((c.meta + 7) // 8, "big")
    if c.type in FIXED:
        return chance.randbytes(FIXED[c.type])
    if c.type == tm.JSON:
        raw = b"\x0c" + bytes((3,)) + b'a"b'
    elif c.collation in (63, 8):
        raw = chance.randbytes(chance.randrange(16)).rstrip(b"\0")
    else:
        raw = text.encode("ascii", "replace") if c.collation == 11 else text.encode()
    raw = raw[:20] if c.type == tm.STRING and c.collation == 11 else raw
    width = 2 if c.type in (tm.VARCHAR, tm.STRING) and c.meta > 255 else 1
    width = c.meta if c.type in (tm.BLOB, tm.JSON) else width
    return len(raw).to_bytes(width, "little") + raw


def image(columns: tuple[ColumnMap, ...], chance: random.Random, text: str) -> bytes:
    bits, raw = 0, b""
    some_null = chance.random() < 0.5
    for place, c in enumerate(columns):
        if c.nullable and some_null and chance.random() < 0.3:
            bits |= 1 << place
        else:
            raw += value_image(c, chance, text)
    return bits.to_bytes((len(columns) + 7) // 8, "little") + raw


def messages(codec: RowCodec, op: Op, rows: bytes) -> tuple[Any, ...] | str:
    """Return what an event becomes, or the words of its refusal."""
    out, addresses = [b"before"], [b"before"]
    several = codec._partitions > 1
    ends = [f"1.2.800.{n}" for n in range(codec._partitions)]
    chains = Chains(ends.copy()) if several else None
    try:
        row, last = codec.messages(
            op, rows, 0, len(rows), first_row=3, id_prefix="1.2.900.", prev="1.2.800.7",
            context=CONTEXT, suffix=SUFFIX, skip_rows=0, out=out, chains=chains,
            addresses=addresses if several else None,
        )  # fmt: skip
    except PositionLostError as error:
        assert out == addresses == [b"before"]
        assert chains is None or chains.last_of == ends
        return error.seen
    return out, addresses, row, last, chains


def both_ways(table: TableMap, target: Target, op: Op, rows: bytes, partitions: int = 1) -> bool:
    """Compare the two ways through an event; return whether the compiled one was taken."""
    codec = RowCodec(table, target, partitions)
    messages(codec, op, rows)  # generates both
    plan = codec.plans[OPS[op]]
    with_plan, codec.plans = messages(codec, op, rows), {}
    assert with_plan == messages(codec, op, rows)
    start = len(plan.head)
    last_of: list[str] | None = [""] * partitions if partitions > 1 else None
    addresses: list[bytes] | None = [] if partitions > 1 else None
    made = plan.rows(rows, start, len(rows), 0, "1.2.3.", "", "", "", [], last_of, addresses)
    return made is not None


KEYS = ("{table}:{pk}", "{id}", "u-{i3False}-{d12_2}-{at3}", 'k"{text}:{label}', "{json}|{ascii}")


@settings(max_examples=by_depth(75, full=300), deadline=None)
@given(
    op=st.sampled_from(("insert", "update", "delete")),
    key=st.sampled_from(KEYS),
    only=st.sampled_from((None, None, "text", "i3False", "d12_2", "json", "at6", "label")),
    text=TEXTS,
    seed=st.integers(0, 1 << 32),
    damage=st.sampled_from((None, None, None, "flip", "cut")),
    partitions=st.sampled_from((1, 1, 3)),
)
def test_rows_become_the_same_bytes_or_the_same_refusal(
    op: Op, key: str, only: str | None, text: str, seed: int, damage: str | None, partitions: int
) -> None:
    """Every type, key and value; sound rows take the compiled way, damaged ones end alike."""
    chance = random.Random(seed)
    table = TableMap(schema="shop", table="users", columns=COLUMNS, primary_key=(0,))
    template = parse_template(key, schema="shop", table="users", pk=("id",))
    target = Target(table="shop.users", key=template, value_column=only)
    images = 2 if op == "update" else 1
    width = (len(COLUMNS) + 7) // 8
    head = bytes((len(COLUMNS),)) + b"\xff" * width * images
    whole = [image(COLUMNS, chance, text) for _ in range(images * chance.randrange(1, 4))]
    if op == "update" and chance.random() < 0.5:
        whole[1] = whole[0]
    rows = bytearray(head + b"".join(whole))
    if damage == "flip":
        rows[chance.randrange(len(head), len(rows))] ^= 1 << chance.randrange(8)
    elif damage == "cut":
        del rows[chance.randrange(len(head), len(rows)) :]

    both_ways(table, target, op, bytes(rows), partitions)


def test_sound_rows_of_every_type_take_the_compiled_way() -> None:
    """The property above would hold as well if the compiled path declined everything."""
    table = TableMap(schema="shop", table="users", columns=COLUMNS, primary_key=(0,))
    template = parse_template("{table}:{pk}", schema="shop", table="users", pk=("id",))
    target = Target(table="shop.users", key=template, value_column=None)
    head = bytes((len(COLUMNS),)) + b"\xff" * ((len(COLUMNS) + 7) // 8)
    whole = head + image(COLUMNS, random.Random(7), "Ada")

    assert both_ways(table, target, "insert", whole)
    assert both_ways(table, target, "insert", whole, partitions=4)


@settings(max_examples=by_depth(75, full=300), deadline=None)
@given(document=DOCUMENTS, large=st.booleans(), only=st.booleans(), damage=st.integers(-1, 80))
def test_documents_become_the_same_text_or_the_same_refusal(
    document: Any, large: bool, only: bool, damage: int
) -> None:
    """Read in C but for what is rare in them; a wrong byte ends both ways alike."""
    columns = (column("id", tm.LONG, nullable=False), column("j", tm.JSON, 2))
    table = TableMap(schema="shop", table="users", columns=columns, primary_key=(0,))
    template = parse_template("{table}:{pk}", schema="shop", table="users", pk=("id",))
    target = Target(table="shop.users", key=template, value_column="j" if only else None)
    raw = bytearray(encode(document, large=large))
    if 0 <= damage < len(raw):
        raw[damage] ^= 1 + damage * 37 % 255
    rows = b"\2\xff\0" + struct.pack("<iH", 7, len(raw)) + raw

    assert both_ways(table, target, "insert", rows) or damage >= 0


@pytest.mark.parametrize("code", range(128))
def test_every_ascii_character_is_escaped_as_the_python_code_does(code: int) -> None:
    """In the row's object, as the only value, and in a key with separators and without."""
    columns = (column("id", tm.LONG, nullable=False), column("t", tm.VARCHAR, 20))
    table = TableMap(schema="shop", table="users", columns=columns, primary_key=(0,))
    rows = b"\2\xff\0" + struct.pack("<i", -7) + b"\3x" + bytes((code,)) + b"y"
    for key in ("{t}", "{id}-{t}", "{id}%{t}", '{id}"{t}\\:x'):
        for only in (None, "t"):
            template = parse_template(key, schema="shop", table="users", pk=("id",))
            target = Target(table="shop.users", key=template, value_column=only)
            assert both_ways(table, target, "insert", rows)


def test_a_separator_that_is_not_ascii_is_left_to_the_python_code() -> None:
    """The compiled path escapes a key byte by byte."""
    columns = (column("id", tm.LONG, nullable=False), column("t", tm.VARCHAR, 20))
    table = TableMap(schema="shop", table="users", columns=columns, primary_key=(0,))
    template = parse_template("{id}·{t}", schema="shop", table="users", pk=("id",))
    codec = RowCodec(table, Target(table="shop.users", key=template, value_column=None))
    rows = b"\2\xff\0" + struct.pack("<i", 7) + b"\4x\xc2\xb7y"
    found = messages(codec, "insert", rows)

    assert codec.plans == {OPS["insert"]: None}
    assert "7·x%C2%B7y".encode() in found[0][1]


# -- rows of a SELECT ---------------------------------------------------------------------

SELECTED = {
    "bigint": "bigint", "int": "int(7) unsigned zerofill", "decimal": "decimal(12,2)",
    "date": "date", "time": "time", "datetime": "datetime(3)", "timestamp": "timestamp(3)",
    "year": "year", "double": "double", "float": "float", "bit": "bit(3)", "varchar": "varchar(9)",
    "enum": "enum('a')", "varbinary": "varbinary(9)", "json": "json",
}  # fmt: skip


def selected_row(chance: random.Random, text: str) -> tuple[bytes | None, ...]:
    dates = (b"2026-11-23", b"0000-00-00", b"2024-00-10", b"2024-02-00")
    row = (
        b"%d" % chance.randrange(-(1 << 63), 1 << 63),
        b"%07d" % chance.randrange(10**7),
        b"%.2f" % chance.uniform(-1e9, 1e9),
        chance.choice(dates),
        chance.choice((b"-838:59:59", b"10:00:00.5")),
        chance.choice(dates) + b" 10:00:00.123",
        chance.choice(dates) + b" 10:00:00.123",
        b"%04d" % chance.randrange(2156),
        repr(chance.uniform(-1e9, 1e9)).encode(),
        b"1.100000023841858",
        b"5",
        text.encode(),
        text.encode(),
        chance.randbytes(chance.randrange(9)),
        b'{"a": [1, 2.50], "b c": ": , "}',
    )
    some_null = chance.random() < 0.5
    return row[:1] + tuple(v if chance.random() < 0.7 or not some_null else None for v in row[1:])


@settings(max_examples=by_depth(40, full=150), deadline=None)
@given(
    key=st.sampled_from(("{table}:{pk}", "{bigint}:{varchar}", "x-{datetime}-{bigint}")),
    only=st.sampled_from((None, None, *SELECTED)),
    text=TEXTS,
    seed=st.integers(0, 1 << 32),
)
def test_selected_rows_become_the_same_bytes_or_the_same_refusal(
    key: str, only: str | None, text: str, seed: int
) -> None:
    """NULL in a key ends both alike; everything else gives the same bodies."""
    chance = random.Random(seed)
    columns = tuple(
        Column(name=kind, data_type=kind, column_type=full, charset="utf8mb4", nullable=True)
        for kind, full in SELECTED.items()
    )
    table = Table(
        schema="shop", name="users", columns=columns, identity=("bigint",), chunk_key=("bigint",),
        key=parse_template(key, schema="shop", table="users", pk=("bigint",)),
        value_column=only, model="string",
    )  # fmt: skip
    codec = SelectCodec(table, mariadb=False)
    rows = [selected_row(chance, text) for _ in range(3)]
    rows = [tuple(row[list(SELECTED).index(name)] for name in codec.indexes) for row in rows]

    def run() -> list[bytes] | str:
        try:
            return codec.rows(rows)
        except PositionLostError as error:
            return error.seen

    with_plan, plan, codec._plan = run(), codec._plan, None
    assert with_plan == run()
    assert plan is not None


# -- whole packets ------------------------------------------------------------------------

USERS = b"\1\0\4shop\0\5users\0\2\x03\x0f\2\x50\0\2" + b"\2\3\xfc\xff\0" + b"\4\5\2id\1n"
OTHER = b"\1\0\4shop\0\5other\0\1\x03\0\0" + b"\4\3\2id"


def write_rows(log: Binlog, chance: random.Random, *, v1: bool, placed: bool) -> None:
    """Append a map and rows of a table, captured or not."""
    captured = chance.random() < 0.8
    number, body = (1, USERS) if captured else (2, OTHER)
    log.event(ev.TABLE_MAP, struct.pack("<IH", number, 0) + body, placed=placed)
    op = chance.randrange(3)
    kind = (ev.WRITE_ROWS_V1 if v1 else ev.WRITE_ROWS) + op

    def one() -> bytes:
        n = b"" if (null := chance.random() < 0.3) else b"\2" + chance.choice((b"ab", b'"\n'))
        return bytes((2 * null,)) + struct.pack("<i", chance.randrange(50)) + n

    columns = (b"\2" if captured else b"\1") + b"\xff" * (2 if op == 1 else 1)
    rows = b""
    for _ in range(chance.randrange(1, 4)):
        image = one() if captured else b"\0" + struct.pack("<i", chance.randrange(50))
        rows += image
        if op == 1:
            # A parent's key stays in most updates.
            other = one() if captured else b"\0" + struct.pack("<i", chance.randrange(50))
            rows += image if chance.random() < 0.7 else other
    flags = chance.choice((1, 1, 1, 3, 0x13))
    log.rows(kind, number, columns + rows, placed=placed, flags=flags)


def write_mysql(log: Binlog, number: int, chance: random.Random) -> None:
    log.anonymous(number) if chance.random() < 0.05 else log.gtid(number)
    if chance.random() < 0.05:
        log.query("CREATE TABLE unrelated (id INT)")
        return
    log.query("BEGIN")
    if chance.random() < 0.2:
        log.event(ev.ROWS_QUERY, b"\5hello")
    for _ in range(chance.randrange(1, 4)):
        write_rows(log, chance, v1=False, placed=True)
    log.query("COMMIT") if chance.random() < 0.1 else log.xid()
    if chance.random() < 0.05:
        log.event(ev.HEARTBEAT, b"b.000001", placed=False)


def write_mariadb(log: Binlog, number: int, chance: random.Random) -> None:
    placed = chance.random() < 0.5
    log.mariadb_gtid(number, domain=chance.randrange(2))
    if chance.random() < 0.5:
        log.event(ev.MARIADB_ANNOTATE, b"UPDATE users", placed=placed)
    for _ in range(chance.randrange(1, 4)):
        write_rows(log, chance, v1=True, placed=placed)
    log.xid()


def key_to(parent: str, on_delete: str, on_update: str) -> ForeignKey:
    """Return a foreign key of the captured table, to a parent of the log."""
    column = "n" if parent == "users" and on_update == "SET NULL" else "id"
    return ForeignKey(
        name=parent,
        child=("shop", "users"),
        parent=("shop", parent),
        columns=("n",),
        referenced=(column,),
        on_delete=on_delete,
        on_update=on_update,
    )


def assembler(
    *, mariadb: bool, offset: int, partitions: int = 1, keys: tuple[ForeignKey, ...] = ()
) -> Assembler:
    key = parse_template("{table}:{pk}", schema="shop", table="users", pk=("id",))
    gtid_set: GtidSet = MariaDbGtidSet() if mariadb else MySqlGtidSet()
    return Assembler(
        resume=Resume(
            epoch=1,
            position=Position(file="b.000001", offset=offset, gtid_set=""),
            last="",
            last_of=("",) * partitions if partitions > 1 else (),
        ),
        gtid_set=gtid_set,
        targets={"shop.users": Target(table="shop.users", key=key, value_column=None)},
        mariadb=mariadb,
        on_schema_change="stop",
        cascades=Cascades(ForeignKeys(keys)),
    )


def state_of(a: Assembler) -> dict[str, Any]:
    """Return everything that later events depend on, and the messages so far."""
    names = ("last", "event_us", "in_transaction", "_begun", "_gtid", "_context", "_suffix")
    at = (a._at.file, a._at.end, a._at.boundary, a._at.boundary_file)
    ends = a.chains.last_of.copy() if a.chains else []
    lost = a.unread.lost()
    more = (a._transaction_rows, at, str(a._gtid_set), a.runs, list(a._by_id), ends, lost)
    return {name: getattr(a, name) for name in names} | {"more": more}


@settings(max_examples=by_depth(40, full=150), deadline=None)
@given(
    mariadb=st.booleans(),
    checksum=st.booleans(),
    far=st.booleans(),
    partitions=st.sampled_from((1, 1, 3)),
    actions=st.lists(st.sampled_from(("NO ACTION", "CASCADE", "SET NULL")), min_size=4, max_size=4),
    seed=st.integers(0, 1 << 32),
)
def test_packets_cut_anywhere_leave_the_same_state_and_messages(
    mariadb: bool, checksum: bool, far: bool, partitions: int, actions: list[str], seed: int
) -> None:
    """Transactions of both servers, rare events, parents, and offsets beyond 32 bits."""
    keys = key_to("users", *actions[:2]), key_to("other", *actions[2:])
    chance = random.Random(seed)
    offset = (1 << 32) - 500 if far else 1000
    log = Binlog(offset=offset, checksum=checksum)
    write: Callable[..., None] = write_mariadb if mariadb else write_mysql
    for number in range(1, chance.randrange(2, 12)):
        write(log, number, chance)
    data = bytes(log.data)
    cuts = sorted(chance.randrange(len(data)) for _ in range(chance.randrange(4)))
    both = []
    for usual in (True, False):
        a = assembler(mariadb=mariadb, offset=offset, partitions=partitions, keys=keys)
        packets = PacketReader(checksum=checksum)
        states = []
        for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
            for event in packets.feed(data[start:stop], a.take_usual if usual else None):
                a.take(event)
            states.append(state_of(a))
        both.append(states)

    assert both[0] == both[1]


def test_of_parents_only_what_may_cascade_comes_to_python() -> None:
    """The compiled path passes inserts, updates that keep the key, and what has no cascade."""
    log = Binlog()
    for number in range(1, 60):
        log.gtid(number)
        log.query("BEGIN")
        log.event(ev.TABLE_MAP, struct.pack("<IH", 2, 0) + OTHER)
        one = b"\0" + struct.pack("<i", number)
        log.rows(ev.WRITE_ROWS, 2, b"\1\xff" + one)
        log.rows(ev.UPDATE_ROWS, 2, b"\1\xff\xff" + one + one)
        log.rows(ev.UPDATE_ROWS, 2, b"\1\xff\xff" + one + b"\0\1\1\1\1", flags=3)
        log.xid()
    keys = (key_to("other", "CASCADE", "CASCADE"),)
    a, packets = assembler(mariadb=False, offset=1000, keys=keys), PacketReader(checksum=True)
    events = []
    for event in packets.feed(bytes(log.data), a.take_usual):
        events.append(event.kind)
        a.take(event)

    assert sorted(events) == [19, 31]
    assert a.unread.lost() == ()


def test_usual_transactions_are_taken_without_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a table is known, nothing of a transaction comes to `take`."""
    log = Binlog()
    chance = random.Random(1)
    for number in range(1, 60):
        log.gtid(number)
        log.query("BEGIN")
        write_rows(log, chance, v1=False, placed=True)
        log.xid()
    a, packets = assembler(mariadb=False, offset=1000), PacketReader(checksum=True)
    events = []
    for event in packets.feed(bytes(log.data), a.take_usual):
        events.append(event.kind)
        a.take(event)

    # A map of each table, and an event of each operation on the captured one.
    assert sorted(events) == [19, 19, 30, 31, 32]
    assert a.position.gtid_set == f"{UUID}:1-59"
    monkeypatch.setattr(transaction, "_native", None)
    assert a.take_usual(bytes(log.data), 0, True) == 0
