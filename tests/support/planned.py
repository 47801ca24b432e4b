"""Captured tables and the sink's planner of them, as its tests take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from cdc.key import parse_template
from cdc.table import Column, Model, Table
from redis_sink.plan.planner import Planner


def a_table(
    name: str = "users",
    model: Model = "string",
    key: str = "{table}:{pk}",
    *,
    columns: Mapping[str, str] | None = None,
    value: str | None = None,
) -> Table:
    """Return a captured table ``shop.<name>`` with the primary key ``id``.

    Args:
        columns: name and type of each, ``{"id": "int"}``; they may be NULL.
        value: the column that is the value; None: the row.
    """
    return Table(
        schema="shop",
        name=name,
        columns=tuple(
            Column(name=one, data_type=kind, column_type=kind, charset=None, nullable=True)
            for one, kind in (columns or {}).items()
        ),
        identity=("id",),
        chunk_key=("id",),
        key=parse_template(key, schema="shop", table=name, pk=("id",)),
        value_column=value,
        model=model,
    )


def planner_of(
    tables: Sequence[Table],
    *,
    pipeline: str = "default",
    bare_messages: Literal["apply", "quarantine"] = "apply",
    partition: int = 0,
    partitions: int = 1,
) -> Planner:
    """Return a sink's planner of the subjects ``mysql.*``."""
    return Planner(
        tables,
        pipeline=pipeline,
        subject_prefix="mysql",
        bare_messages=bare_messages,
        partition=partition,
        partitions=partitions,
    )
