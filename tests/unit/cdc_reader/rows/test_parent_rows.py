"""Rows of parents: which children an event reaches, and which columns an update changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdc_reader.binlog.event import Op
from cdc_reader.rows.image_source import RowsEvent
from cdc_reader.rows.parent_rows import Parent, ParentRows
from cdc_reader.rows.row_plan import EVERY_ROW, KEYS
from tests.unit.cdc_reader.rows.test_partial_rows import DOC, ID, MAP, NAME, N, raw

CHILD, OTHER = "shop.lines", "shop.notes"
NAMES = tuple(column.name or "" for column in MAP.columns)
UNNAMED = replace(MAP, columns=tuple(replace(column, name=None) for column in MAP.columns))
PARENT = Parent(
    on_delete=frozenset((CHILD,)),
    on_update={frozenset(("id",)): frozenset((CHILD,)), frozenset(("name",)): frozenset((OTHER,))},
    columns=NAMES,
)
WHOLE = {ID: 7, NAME: "a", N: 1, DOC: None, 4: None}


def event(op: Op, *images: dict[int, Any], flags: int = 1, options: bytes | None = None) -> Any:
    bitmaps = bytes(sum(1 << place for place in one) for one in images)
    parts = [raw(one) for one in images]
    if options is not None:
        parts[-1] = options + parts[-1]
    body = b"\x05" + bitmaps + b"".join(parts)
    return RowsEvent(op, body, 0, len(body), flags, options is not None)


@pytest.mark.parametrize("flags", [3, 0x11, 0x13])
def test_without_cascades_nothing_is_reached(flags: int) -> None:
    """Foreign keys were not checked, or the server wrote what they did."""
    rows = ParentRows(MAP, PARENT)

    assert rows.reached(event("delete", WHOLE)) == {CHILD}
    assert rows.reached(event("delete", WHOLE, flags=flags)) == set()
    assert rows.reached(event("update", WHOLE, WHOLE | {ID: 8}, flags=flags)) == set()


def test_an_update_reaches_those_that_refer_to_what_it_changes() -> None:
    """By its bytes: upper case is another value, also where a collation finds both equal."""
    rows = ParentRows(MAP, PARENT)

    assert rows.reached(event("insert", WHOLE)) == set()
    assert rows.reached(event("update", WHOLE, WHOLE | {N: 2})) == set()
    assert rows.reached(event("update", WHOLE, WHOLE | {ID: 8})) == {CHILD}
    assert rows.reached(event("update", WHOLE, WHOLE | {NAME: "A"})) == {OTHER}
    assert rows.reached(event("update", WHOLE, WHOLE | {NAME: None})) == {OTHER}
    assert rows.reached(event("update", WHOLE, WHOLE | {ID: 8, NAME: "b"})) == {CHILD, OTHER}


def test_a_column_that_an_image_lacks_did_not_change_unless_it_is_generated() -> None:
    """With binlog_row_image = MINIMAL; where the catalog is not seen, it may be."""
    rows = ParentRows(MAP, PARENT)
    assert rows.reached(event("update", {ID: 7}, {N: 2})) == set()
    assert rows.reached(event("update", {ID: 7}, {NAME: "b"})) == {OTHER}
    generated = replace(PARENT, generated=frozenset(("name",)))
    assert ParentRows(MAP, generated).reached(event("update", {ID: 7}, {N: 2})) == {OTHER}
    unseen = replace(PARENT, columns=None)
    assert ParentRows(MAP, unseen).reached(event("update", {ID: 7}, {N: 2})) == {CHILD, OTHER}


def test_differences_of_json_are_gone_over() -> None:
    """PARTIAL_UPDATE_ROWS has options before each after image."""
    rows = ParentRows(MAP, PARENT)
    before, doc = WHOLE | {DOC: b"\x05\x05\x00"}, WHOLE | {DOC: b"xyz"}

    assert rows.reached(event("update", before, doc, options=b"\x01\x01")) == set()
    assert rows.reached(event("update", before, doc | {ID: 8}, options=b"\x01\x01")) == {CHILD}
    assert rows.reached(event("update", before, doc, options=b"\x02")) == {CHILD, OTHER}


def test_columns_without_names_are_those_of_the_catalog() -> None:
    """Where that shows another number of them, or none, each may have changed."""
    changed = event("update", WHOLE, WHOLE | {ID: 8})
    assert ParentRows(UNNAMED, PARENT).reached(changed) == {CHILD}
    for columns in (None, NAMES[1:]):
        rows = ParentRows(UNNAMED, replace(PARENT, columns=columns))
        assert rows.reached(event("update", WHOLE, WHOLE)) == {CHILD, OTHER}


def test_a_damaged_event_may_have_changed_all() -> None:
    """A parent that is not captured stops nothing."""
    cut = event("update", WHOLE, WHOLE)
    assert ParentRows(MAP, PARENT).reached(cut._replace(end=cut.end - 1)) == {CHILD, OTHER}
    other = cut._replace(buffer=b"\x04" + cut.buffer[1:])
    assert ParentRows(MAP, PARENT).reached(other) == {CHILD, OTHER}


def test_of_a_captured_parent_the_compiled_path_leaves_what_may_cascade() -> None:
    """Keys that it compares itself cost nothing; other columns have Python look at each update."""
    rows = ParentRows(MAP, PARENT)

    assert (rows.watch("insert", ["id"]), rows.watch("delete", ["id"])) == (0, EVERY_ROW)
    assert (rows.watch("update", ["ID", "Name"]), rows.watch("update", ["id"])) == (KEYS, EVERY_ROW)
    deletes = ParentRows(MAP, replace(PARENT, on_update={}))
    assert (deletes.watch("update", ["id"]), deletes.plans[1]) == (0, False)
    updates = ParentRows(MAP, replace(PARENT, on_delete=frozenset()))
    assert (updates.watch("delete", ["id"]), updates.plans[2]) == (0, False)
