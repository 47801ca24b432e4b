"""Older key templates of a table: what a refresh has to remove as well.

Settings change, keys stay.  So the templates of each table are in the hash
``cdc:<pipeline>:templates`` from before the first key is written under them until a refresh has
swept them; with several partitions one for each.  A login that may not keep it goes without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import msgspec

from cdc.errors import CdcError
from cdc.key import KeyTemplate, parse_template
from cdc.table import Table
from redis_sink.plan.state import Ground, Kind, grounds_of
from redis_sink.store.writer import Writer

Form = tuple[Kind | None, str]
"""``("set", "orders:of:{user_id}")``; None: a key for each row."""

_PK = re.compile(r"(?<!{){pk}(?!})")
_decode = msgspec.json.Decoder(list[Form]).decode
Older = dict[str, list[Ground]]
"""Table -> grounds that its settings do not name any more."""


def forms_of(table: Table) -> list[Form]:
    """Return a table's forms by its current settings and key.

    ``{pk}`` of two columns is ``{pk1}:{pk2}``: keys of another number of columns are others.
    """
    columns = range(1, len(table.identity) + 1)
    key = ":".join(f"{{pk{n}}}" for n in columns) if len(columns) > 1 else "{pk}"
    return [(ground.kind, _PK.sub(key, ground.template.text)) for ground in grounds_of(table)]


def with_key(table: Table, columns: Sequence[str]) -> Table:
    """Return a table whose rows are told apart by other columns now.

    Raises:
        UsageError: as `parse_template`.
    """

    def parsed(template: KeyTemplate) -> KeyTemplate:
        return parse_template(
            template.text,
            schema=table.schema,
            table=table.name,
            pk=columns,
            may_be_constant=True,
        )

    indexes = tuple(replace(index, key=parsed(index.key)) for index in table.indexes)
    return replace(table, identity=tuple(columns), key=parsed(table.key), indexes=indexes)


def merged(
    kept: Mapping[str, Sequence[Form]], tables: Sequence[Table]
) -> tuple[dict[str, list[Form]], Older]:
    """Return what has to be stored, by table, and the older grounds of each.

    Args:
        kept: as it is in Redis.
    """
    changed: dict[str, list[Form]] = {}
    older: Older = {}
    for table in tables:
        before, now = list(kept.get(table.qualified, ())), forms_of(table)
        if more := [form for form in now if form not in before]:
            changed[table.qualified] = before + more
        grounds = [_ground(table, form) for form in before if form not in now]
        if any(grounds):
            older[table.qualified] = [ground for ground in grounds if ground is not None]
    return changed, older


async def remember(writer: Writer, key: str, tables: Sequence[Table]) -> Older:
    """Keep the tables' forms, before a key is written under them; return the older ones.

    Raises:
        CdcError: Redis does not answer.
    """
    reply = await writer.ask_for("HGETALL", key)
    if reply is None:
        return {}
    kept: dict[str, list[Form]] = {}
    for name, forms in zip(reply[::2], reply[1::2], strict=True):
        with suppress(msgspec.DecodeError):
            kept[name.decode(errors="replace")] = _decode(forms)
    changed, older = merged(kept, tables)
    if changed:
        await writer.ask_for("HSET", key, *_fields(changed))
    return older


async def forget(writer: Writer, key: str, table: Table) -> None:
    """Keep only the current forms: keys of the older ones are gone.

    Raises:
        CdcError: Redis does not answer.
    """
    await writer.ask_for("HSET", key, *_fields({table.qualified: forms_of(table)}))


def _fields(forms: Mapping[str, Sequence[Form]]) -> list[str]:
    return [
        text for table, of in forms.items() for text in (table, msgspec.json.encode(of).decode())
    ]


def _ground(table: Table, form: Form) -> Ground | None:
    kind, text = form
    with suppress(CdcError):
        template = parse_template(
            text, schema=table.schema, table=table.name, pk=("pk",), may_be_constant=True
        )
        if template.literal_prefix:
            return Ground(table.qualified, template, kind)
    return None
