"""What the compiled hot path is told of a table, as data."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest

from cdc.key import KeyTemplate, parse_template
from cdc_reader.binlog import types as tm
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.rows import row_plan as module
from cdc_reader.rows.row_plan import CALLED, JSON, TEXT, row_plan, select_plan


@pytest.fixture(autouse=True)
def _as_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a plan be its arguments, whether or not the compiled path is built."""
    monkeypatch.setattr(module, "_native", SimpleNamespace(Plan=dict))


def column(name: str, kind: int, meta: int = 0, **how: Any) -> ColumnMap:
    """Return a column that may be NULL."""
    fields: dict[str, Any] = {"nullable": True, "unsigned": False, "collation": 255}
    return ColumnMap(name=name, type=kind, meta=meta, **({"labels": None} | fields | how))


def key(text: str) -> KeyTemplate:
    """Return a key template."""
    return parse_template(text, schema="shop", table="t", pk=("id",))


MAP = TableMap(
    schema="shop",
    table="t",
    columns=(
        column("id", tm.LONG, nullable=False, unsigned=True),
        column('n"', tm.VARCHAR, 400),
        column("raw", tm.BLOB, 2, collation=63),
    ),
    primary_key=(0,),
)


def plan(op: str = "insert", **how: Any) -> dict[str, Any]:
    """Return the arguments of a plan."""
    defaults: dict[str, Any] = {
        "table": "shop.t", "key": key('t"{id}:{raw}'), "value_column": None, "fields": None,
        "head": b"\3\7", "before": frozenset((0, 2)), "after": frozenset((0, 1, 2)),
    }  # fmt: skip
    found: dict[str, Any] = row_plan(MAP, op=op, **defaults | how)
    return found


def test_without_a_compiled_path_there_is_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generated functions do the same."""
    monkeypatch.setattr(module, "_native", None)

    assert plan() is None
    assert select_plan({}, table="t", key=key("t:{id}"), value_column=None) is None


@pytest.mark.parametrize(
    ("text", "is_taken"), [("t:{id}", True), ("{id}:{raw}", True), ("{id}§{raw}", False)]
)
def test_a_key_whose_escapes_are_not_ascii_is_left_to_python(text: str, is_taken: bool) -> None:
    """Compiled code looks at each byte separately."""
    assert is_taken == (plan(key=key(text)) is not None)


@pytest.mark.parametrize(
    ("op", "before", "after", "value_parts"),
    [
        ("insert", b"", b"\1\1\1", 7),
        ("update", b"\1\0\1", b"\1\1\1", 7),
        ("delete", b"\1\0\1", b"", 0),
    ],
)
def test_an_operation_has_the_images_that_its_events_have(
    op: str, before: bytes, after: bytes, value_parts: int
) -> None:
    """A delete has no value."""
    found = plan(op)

    assert (before, after, value_parts) == (found["before"], found["after"], len(found["value"]))
    assert f'"op":"{op}","table":"shop.t",'.encode() == found["about"]
    assert (b"\3\7", (f"{op}.0".encode(),)) == (found["head"], found["addresses"])


def test_each_partition_has_its_address() -> None:
    """By its number."""
    assert (b"update.0", b"update.1", b"update.2") == plan("update", partitions=3)["addresses"]


def test_a_key_is_literals_for_json_and_columns_with_their_escapes() -> None:
    """A single column is not escaped; of several, each sign between them is."""
    literal, first, colon, second = plan()["key"]
    (alone, escapes) = plan(key=key("t:{id}"))["key"][1]

    assert (b't\\"', b":") == (literal, colon)
    assert (0, 2, 0, None) == (first[0], second[0], alone, escapes)
    assert (128, b"%3A", b"a") == (len(first[1]), first[1][ord(":")], first[1][ord("a")])


@pytest.mark.parametrize(
    ("how", "value", "single"),
    [
        (
            {},
            (b'"value":"{\\"id\\":', (0, None), b',\\"n\\\\\\"\\":', (1, None), b',\\"raw\\":',
             (2, None), b'}",'),
            False,
        ),
        ({"fields": (("raw", "r"),)}, (b'"value":"{\\"r\\":', (2, None), b'}",'), False),
        ({"value_column": "raw"}, (b'"value":"', (2, None), b'",'), True),
    ],
)  # fmt: skip
def test_a_value_is_an_object_or_one_column(
    how: dict[str, Any], value: tuple[Any, ...], single: bool
) -> None:
    """Names are escaped twice: they are in a string inside the message."""
    found = plan(**how)

    assert (value, single) == (found["value"], found["single"])


def test_a_column_that_is_not_needed_is_gone_over() -> None:
    """By its length; it is never decoded."""
    id_column, name, raw = plan("delete")["columns"]

    assert (0, 1, 4, 0, False, False, None) == id_column
    assert (CALLED, 0, 0, 2, True, False, bytes) == name
    assert raw[-1] is not bytes


@pytest.mark.parametrize(
    ("one", "kind", "detail", "quoted"),
    [
        (column("a", tm.TINY), 0, 0, False),
        (column("a", tm.LONGLONG, unsigned=True), 0, 1, False),
        (column("a", tm.YEAR), 1, 0, False),
        (column("a", tm.DOUBLE), 2, 0, False),
        (column("a", tm.DECIMAL, 10 << 8 | 2), 3, 10 << 8 | 2, True),
        (column("a", tm.DATE), 4, 0, True),
        (column("a", tm.DATETIME2, 3), 5, 3, True),
        (column("a", tm.TIMESTAMP2, 6), 6, 6, True),
        (column("a", tm.ENUM, 1, labels=(b"x",)), 7, 0, True),
        (column("a", tm.VARCHAR, 40), TEXT, 0, True),
        (column("a", tm.VARCHAR, 40, collation=11), TEXT, 1, True),
        (column("a", tm.JSON, 4), JSON, 0, False),
    ],
)
def test_frequent_types_are_read_by_compiled_code(
    one: ColumnMap, kind: int, detail: int, quoted: bool
) -> None:
    """By a kind and a detail, as cdc_reader/native/column.h numbers them."""
    mapped = TableMap(schema="s", table="t", columns=(one,), primary_key=())
    ((found, about, *_, is_quoted, _),) = row_plan(
        mapped, op="insert", table="s.t", key=key("{a}"), value_column=None, fields=None, head=b"",
        before=frozenset(), after=frozenset((0,)),
    )["columns"]  # fmt: skip

    assert (kind, detail, quoted) == (found, about, is_quoted)


@pytest.mark.parametrize(
    ("one", "raw", "text"),
    [
        (column("a", tm.FLOAT, 4), struct.pack("<f", 1.1), "1.1"),
        (column("a", tm.TIME2, 0), b"\x80\xa0\x00", "10:00:00"),
        (column("a", tm.BIT, 9), b"\x01\xff", "511"),
        (column("a", tm.SET, 2, labels=(b"x", b"y")), b"\x03\x00", "x,y"),
        (column("a", tm.STRING, 4, collation=63), b"\x00\xff", "AP8AAA=="),
        (column("a", tm.BLOB, 2, collation=63), b"\x00\xff", "AP8="),
        (column("a", tm.VARCHAR, 40, collation=8), b"\xe9", "é"),
    ],
)
def test_rare_types_come_with_a_function(one: ColumnMap, raw: bytes, text: str) -> None:
    """From the bytes to the text, as the generated functions have it."""
    mapped = TableMap(schema="s", table="t", columns=(one,), primary_key=())
    ((kind, *_, function),) = row_plan(
        mapped, op="insert", table="s.t", key=key("{a}"), value_column=None, fields=None, head=b"",
        before=frozenset(), after=frozenset((0,)),
    )["columns"]  # fmt: skip

    assert (CALLED, text) == (kind, function(raw))


def test_labels_begin_with_the_empty_text() -> None:
    """0 is that of a value that was invalid."""
    mapped = TableMap(
        schema="s", table="t", columns=(column("a", tm.ENUM, 1, labels=("é".encode(),)),),
        primary_key=(),
    )  # fmt: skip
    ((*_, labels),) = row_plan(
        mapped, op="insert", table="s.t", key=key("{a}"), value_column=None, fields=None, head=b"",
        before=frozenset(), after=frozenset((0,)),
    )["columns"]  # fmt: skip

    assert (b"", "é".encode()) == labels


def test_selected_rows_have_all_their_columns() -> None:
    """In the order of the SELECT; a value follows the key with a comma."""
    found = select_plan(
        {"id": (TEXT, 0, False, None), "n": (TEXT, 0, True, None)},
        table="shop.t", key=key("t:{id}"), value_column=None, fields=(("n", "N"),),
    )  # fmt: skip

    assert (b"", b"\1\1", False) == (found["before"], found["after"], found["single"])
    assert ((TEXT, 0, 0, 0, True, False, None), (TEXT, 0, 0, 0, True, True, None)) == (
        found["columns"]
    )
    assert (b',"value":"{\\"N\\":', (1, None), b'}"') == found["value"]
