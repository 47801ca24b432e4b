"""How each table could be captured: with which key, without which columns, or why not.

Pure.  The same checks as those of a start decide: what is proposed as captured passes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cdc.check.finding import Finding, of_error
from cdc.errors import CdcError
from cdc.init.proposal import Proposal
from cdc.table import Column, Table
from cdc.table_settings import TableSettings
from cdc_reader.binlog.engine import engine_finding
from cdc_reader.binlog.types import type_named
from cdc_reader.catalog.dialect import Dialect
from cdc_reader.catalog.entry import no_base_table
from cdc_reader.catalog.key_overlap import could_be_equal, pairs_to_compare
from cdc_reader.catalog.selection import Selected
from cdc_reader.catalog.table_of import Refused, TableBuilder, alphabets_of
from cdc_reader.catalog.unique_key import UniqueKeys, unique_template
from cdc_reader.rows.select_codec import refusal_of

WITH_DATABASE = "{schema}.{table}:{pk}"
"""The key template where tables of one name in two databases would share keys."""
_TELLING = ("tinyint", "smallint", "mediumint", "int", "bigint", "char", "varchar", "binary",
            "varbinary", "date", "datetime", "timestamp", "uuid", "inet4", "inet6",
            "year")  # fmt: skip
"""Types of columns that a key is usually made of."""

Described = tuple[Selected, Sequence[Column], UniqueKeys]
"""A table as it is looked up: its entry and settings, its columns, its keys."""


def propose_all(found: Iterable[Described], dialect: Dialect) -> list[Proposal]:
    """Return a proposal for each table, none of which shares a key with another."""
    all_found = {one[0].entry.qualified: one for one in found}
    made = {name: propose(*one, dialect) for name, one in all_found.items()}
    for name in {name for pair in _sharing(made) for name in pair}:
        if all_found[name][0].wanted.key is None:
            made[name] = propose(*all_found[name], dialect, key=WITH_DATABASE)
    for other, name in _sharing(made):
        if made[other][1] is not None and made[name][1] is not None:
            why = f"{name}: its rows and those of {other} could have the same key"
            fix = "let its keys begin with a text of its own: key = 'other:{pk}'"
            made[name] = Proposal(table=name, state="excluded", why=(why,), fix=(fix,)), None
    return [proposal for proposal, _ in made.values()]


def propose(
    one: Selected,
    columns: Sequence[Column],
    keys: UniqueKeys,
    dialect: Dialect,
    *,
    key: str | None = None,
) -> tuple[Proposal, Table | None]:
    """Return how a table can be captured, and the table if it can.

    Args:
        key: a template in place of that of the settings.
    """
    entry = one.entry
    if reason := no_base_table(entry) or engine_finding(entry.qualified, entry.sql, entry.engine):
        return _excluded(entry.qualified, reason), None
    wanted = one.wanted if key is None else replace(one.wanted, key=key)
    out = _left_out(columns, dialect)
    tries = [wanted, *([replace(wanted, exclude=(*wanted.exclude, *out))] if out else [])]
    if key is None and wanted.key is None:  # the default may begin as keys of cdc do
        tries += [replace(one, key=WITH_DATABASE) for one in tries]
    refusals: list[CdcError] = []
    for settings in tries:
        try:
            table = _builder(one, settings, columns, keys, dialect).table()
        except CdcError as error:
            refusals.append(error)
            continue
        why = _about_columns(out) if settings.exclude != wanted.exclude else ()
        return Proposal(
            table=entry.qualified,
            state="captured",
            settings=_lines(settings),
            about=_identity(table, keys),
            why=why,
        ), table
    if not keys.whole and "{pk}" in (wanted.key or "{pk}"):
        return _without_key(one, columns, keys, out, refusals[0]), None
    return _excluded(entry.qualified, refusals[0]), None


def _builder(
    one: Selected,
    settings: TableSettings,
    columns: Sequence[Column],
    keys: UniqueKeys,
    dialect: Dialect,
) -> TableBuilder:
    entry = one.entry
    return TableBuilder(entry.schema, entry.name, settings, columns, keys, None, dialect)


def _left_out(columns: Sequence[Column], dialect: Dialect) -> dict[str, str]:
    """Return columns that cannot be carried, each with why."""
    out = {c.name: why for c in columns if (why := refusal_of(c)) is not None}
    if dialect.omits_generated:
        out |= {c.name: "generated, which the binlog lacks" for c in columns if c.is_generated}
    return out


def _about_columns(out: Mapping[str, str]) -> tuple[str, ...]:
    listed = ", ".join(f"{name} ({why})" for name, why in out.items())
    return (f"columns that cannot be carried are left out: {listed}",)


def _lines(settings: TableSettings) -> tuple[tuple[str, object], ...]:
    lines = {
        "key": settings.key,
        "value": settings.value,
        "as": settings.model if settings.model != "string" else None,
        "exclude": settings.exclude or None,
    }
    return tuple((name, value) for name, value in lines.items() if value is not None)


def _identity(table: Table, keys: UniqueKeys) -> str:
    kind = "primary key" if keys.primary == table.identity else "unique key"
    return f"{kind} ({', '.join(table.identity)})"


def _excluded(table: str, reason: CdcError | Finding) -> Proposal:
    if isinstance(reason, Finding):
        findings: Sequence[Finding] = (reason,)
    elif isinstance(reason, Refused):
        findings = reason.findings
    else:
        findings = (of_error("mysql.table", reason),)
    # That there is nothing to capture then is not why.
    said = (f.seen if f.id == "mysql.table" else f.sentence() for f in findings)
    fix = "\n".join(finding.fix.text() for finding in findings)
    return Proposal(table=table, state="excluded", why=tuple(said), fix=tuple(fix.splitlines()))


def _without_key(
    one: Selected,
    columns: Sequence[Column],
    keys: UniqueKeys,
    out: Mapping[str, str],
    refusal: CdcError,
) -> Proposal:
    """Return what gives a table a key: a statement, or the columns to choose from."""
    findings = refusal.findings if isinstance(refusal, Refused) else ()
    lacking = [one for one in findings if one.id in ("mysql.table-key", "mysql.table-key-part")]
    usable = [c for c in columns if c.name not in out and not type_named(c.data_type).is_labels]
    template = unique_template(keys) or ":".join(["{table}", *_placeholders(usable)])
    statements = [line for finding in lacking for line in finding.fix.sql]
    listed = ", ".join(_listed(column) for column in usable)
    settings = replace(one.wanted, key=template, exclude=(*one.wanted.exclude, *out))
    return Proposal(
        table=one.entry.qualified,
        state="needs key",
        settings=_lines(settings),
        why=(*(finding.sentence() for finding in lacking), *(_about_columns(out) if out else ())),
        fix=(
            *(f"Either: {line}   (rebuilds the table)" for line in statements),
            f"Or choose columns that identify a row, none of them NULL: {listed}",
        ),
    )


def _placeholders(usable: Sequence[Column]) -> list[str]:
    """Return the columns that probably identify a row: ``["{id}"]``."""
    common = [c for c in usable if c.data_type in _TELLING]
    first = (
        [c for c in usable if c.is_auto_increment],
        [c for c in common if not c.nullable],
        common,
        usable,
    )
    return [f"{{{c.name}}}" for c in next(filter(None, first), [])]


def _listed(column: Column) -> str:
    """``id int unsigned NOT NULL``."""
    return f"{column.name} {column.column_type}{'' if column.nullable else ' NOT NULL'}"


def _sharing(made: Mapping[str, tuple[Proposal, Table | None]]) -> list[tuple[str, str]]:
    """Return pairs of tables of which a row each could have the same key, sorted."""
    tables = [table for _, table in made.values() if table is not None]
    letters = [alphabets_of(table) for table in tables]
    return sorted(
        (tables[a].qualified, tables[b].qualified)
        for a, b in pairs_to_compare([table.key for table in tables])
        if could_be_equal(tables[a].key, letters[a], tables[b].key, letters[b])
    )
