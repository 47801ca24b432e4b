"""Captured tables and the sink's planner of them, as its tests take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cdc.key import parse_template
from cdc.table import Model, Table
from redis_sink.plan.planner import Planner


def a_table(name: str = "users", model: Model = "string", key: str = "{table}:{pk}") -> Table:
    """Return a captured table ``shop.<name>`` with the primary key ``id``."""
    return Table(
        schema="shop",
        name=name,
        columns=(),
        identity=("id",),
        chunk_key=("id",),
        key=parse_template(key, schema="shop", table=name, pk=("id",)),
        value_column=None,
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
