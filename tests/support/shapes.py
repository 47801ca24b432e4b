"""Tables with fields, masks and indexes of every column, made of one that has none."""

from __future__ import annotations

from dataclasses import replace

from cdc.key import KeyTemplate, parse_template
from cdc.mask import Mask, MaskKey
from cdc.table import Index, Table
from cdc_reader.binlog.types import type_named


def shapes_of(table: Table) -> list[Table]:
    """Return the table with indexes of each column, and with masks and other names besides."""

    def template(text: str, *, may_be_constant: bool = False) -> KeyTemplate:
        return parse_template(
            text, schema=table.schema, table=table.name, pk=("id",), may_be_constant=may_be_constant
        )

    columns = [column for column in table.columns if column.name != "id"]
    sets = tuple(
        Index(kind="set", key=template(f"{c.name}:{{{c.name}}}"), score=None, member=None)
        for c in columns
    )
    scored = tuple(
        Index(
            kind="zset",
            key=template(f"by:{c.name}", may_be_constant=True),
            score=c.name,
            member=template("{id}"),
        )
        for c in columns
        if type_named(c.data_type).can_be_score
    )
    mask = Mask(kind="hash", key=MaskKey(b"0123456789abcdef"))
    return [
        replace(table, indexes=sets + scored),
        replace(
            table,
            model="hash",
            field=template("{id}"),
            indexes=sets,
            masks=tuple((c.name, mask) for c in columns[::2]),
            fields=tuple((c.name, c.name + '"s') for c in reversed(columns)),
        ),
    ]
