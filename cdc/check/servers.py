"""Before a role starts, and for ``cdc check``: all servers checked, all problems reported.

Nothing is created, nothing written.  Each side's questions belong to that side, which is imported
when it is asked.  What takes long (counting, scanning) is only done by ``cdc check``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from cdc.check.finding import Finding, Fix, Report, of_error, together
from cdc.check.room import check_room
from cdc.errors import (
    CdcError,
    PermissionDenied,
    SettingsError,
    UnavailableError,
    UsageError,
)
from cdc.key import DEFAULT_TEMPLATE, KeyTemplate, parse_template, refuse_own
from cdc.message import TableProgress
from cdc.settings import Settings
from cdc.table import Index, Table
from cdc.table_pattern import means, parse_pattern
from cdc.table_settings import SectionsOfTables, TableSettings
from cdc.telemetry import Log, names_text

if TYPE_CHECKING:
    from pymysql.connections import Connection

_T = TypeVar("_T")

EMBEDDED_MAX_PAYLOAD_BYTES = 1 << 20
"""nats-server's default."""
LEFT_OUT_LOGGED = 20
"""A line each for so many tables that only a pattern matches and that cannot be captured."""
DROPPED = "it was dropped, or this login may not see it any more"
_ORDER = ("mysql", "nats", "redis")


async def check(settings: Settings, role: str, log: Log) -> tuple[Table, ...]:
    """Return the captured tables, once every server that the role needs has passed.

    Args:
        role: ``both``, ``reader`` or ``sink``.

    Raises:
        CdcError: all problems in one, of the class of the first: MySQL's, NATS', Redis'.
    """
    report, aside = await _passed(settings, role)
    for finding in report.warnings:
        log.warning(finding.sentence(), fix=finding.fix.text() or None)
    for one in report.left_out[:LEFT_OUT_LOGGED]:
        log.warning("table not captured", table=one.table, pattern=one.pattern, why=one.why)
    if (others := len(report.left_out) - LEFT_OUT_LOGGED) > 0:
        log.warning("more tables not captured", number=others, fix="cdc check lists all of them")
    for name, why in aside.items():
        log.warning("a table cannot be captured now", table=name, why=why)
    log.info(
        "starting",
        tables=names_text([table.qualified for table in report.tables]),
        mysql=settings.mysql.address,
        nats=settings.nats.address,
        redis=settings.redis.address,
    )
    return _with_lost(settings, report, aside)


async def captured_tables(settings: Settings, role: str = "reader") -> tuple[Table, ...]:
    """Return the captured tables as `check` does, without a log line.

    Raises:
        CdcError: as `check`.
    """
    return (await _passed(settings, role))[0].tables


async def tables_and_lost(settings: Settings) -> tuple[tuple[Table, ...], dict[str, str]]:
    """Return the tables that are captured or set aside; and of those that are lost now, why.

    Raises:
        CdcError: as `check`.
    """
    report, lost = await _passed(settings, "reader")
    return _with_lost(settings, report, lost), lost


async def _passed(settings: Settings, role: str) -> tuple[Report, dict[str, str]]:
    """Return what was found, and tables that the reader sets aside, each with why.

    A table that the stream knows stops nothing: it was captured, and may be again.
    """
    report = await ask(settings, role)
    lost = {one.table: one.why for one in report.left_out}
    lost |= {finding.table: finding.seen for finding in report.errors}
    aside: dict[str, str] = {}
    is_asked = bool(lost) or has_patterns(settings)
    if is_asked and "" not in lost and settings.on_schema_change == "refresh":
        captured = {table.qualified for table in report.tables}
        for name in await _progress(settings):
            if why := lost.get(name) or lost.get(name.partition(".")[2]):
                aside[name] = why
            elif name not in captured and _is_matched(settings, name):
                aside[name] = DROPPED
    if errors := [one for one in report.errors if one.seen not in aside.values()]:
        raise together([finding.error() for finding in errors])
    return report, aside


def _with_lost(settings: Settings, report: Report, lost: Iterable[str]) -> tuple[Table, ...]:
    return (*report.tables, *(_by_name(settings, name) for name in lost))


def _is_matched(settings: Settings, name: str) -> bool:
    from cdc_reader.catalog.selection import is_matched

    return is_matched(settings, name)


def _by_name(settings: Settings, name: str) -> Table:
    """Return a table that the catalog does not show now, as the settings have it."""
    schema, _, table = name.partition(".")
    database = settings.mysql.database
    exact = (w for w in settings.tables if not w.is_pattern and w.name in (name, table))
    patterns = (w for w in settings.tables if w.is_pattern)
    matching = (w for w in patterns if parse_pattern(w.name, database).matches(schema, table))
    sections = SectionsOfTables(settings.sections, database, folds=False)
    wanted = sections.of(schema, table, next(chain(exact, matching)))
    return _sink_table(schema, table, wanted)


async def _progress(settings: Settings) -> Mapping[str, TableProgress]:
    """Return the tables of the stream's newest boundary; none where it cannot be asked."""
    from cdc.check.nats_rights import Refusals
    from cdc.jetstream import stream
    from cdc_reader.resume.stream_end import newest_boundary

    if settings.nats.scheme == "embedded":
        return {}  # it starts with cdc run
    with contextlib.suppress(CdcError):
        async with stream.opened(
            settings.nats, name="cdc-preflight", inbox_prefix="_INBOX_reader", log=Refusals()
        ) as nc:
            boundary = await newest_boundary(nc, settings.stream, settings.subject_prefix)
            return boundary.snapshot if boundary else {}
    return {}


async def ask(settings: Settings, role: str, *, thorough: bool = False) -> Report:
    """Ask every server that the role needs, and return everything found.

    Args:
        thorough: what takes long as well: sizes of the tables, existing keys in Redis.
    """
    from cdc.check.nats import ask_nats

    report = Report()
    tables: asyncio.Future[Sequence[Table]] = asyncio.get_running_loop().create_future()
    asked = []
    if settings.nats.scheme == "embedded":
        report.notes.append("NATS: the embedded server starts with cdc run and was not checked")
        report.max_payload_bytes = EMBEDDED_MAX_PAYLOAD_BYTES
    else:
        asked.append(ask_nats(settings, role, report))
    if role != "reader":
        from redis_sink.store.preflight import ask_redis

        asked.append(ask_redis(settings, tables, report, thorough=thorough))
    answers = asyncio.gather(*asked)
    try:
        if role == "sink" and not has_patterns(settings):
            _ask_settings(settings, report)
        elif role == "sink":
            await asyncio.to_thread(_ask_names, settings, report)
        else:
            await asyncio.to_thread(_ask_mysql, settings, report, thorough)
    finally:
        tables.set_result(report.tables or _named(settings))
    await answers
    if thorough:
        report.findings += check_room(settings, report)
        if role != "sink":
            report.findings += _set_aside(report.tables, await _progress(settings))
        report.notes += _could_be_larger(settings, report)
    report.findings.sort(key=_place)
    return report


def _set_aside(tables: Sequence[Table], progress: Mapping[str, TableProgress]) -> Iterator[Finding]:
    """Find tables that the reader sets aside, though they look well now."""
    for table in tables:
        aside = progress[table.qualified].aside if table.qualified in progress else None
        if aside:
            yield Finding(
                id="mysql.set-aside",
                seen=f"{table.qualified} is set aside: {aside.reason}",
                fix=Fix(advice=aside.fix),
                stops=False,
                table=table.qualified,
            )


def _place(finding: Finding) -> int:
    return _ORDER.index(finding.id.partition(".")[0])


def _ask_settings(settings: Settings, report: Report) -> None:
    try:
        report.tables = sink_tables(settings)
    except CdcError as error:
        report.findings.append(of_error("mysql.table", error))


def _named(settings: Settings) -> Sequence[Table]:
    """Return what the settings have of the tables, for the checks of Redis."""
    try:
        return () if has_patterns(settings) else sink_tables(settings)
    except CdcError:
        return ()


def has_patterns(settings: Settings) -> bool:
    """Return whether only MySQL's catalog tells which tables are captured."""
    return any(table.is_pattern for table in settings.tables)


async def named_tables(settings: Settings) -> tuple[Table, ...]:
    """Return the tables as `sink_tables`; MySQL is asked for those that patterns match.

    Raises:
        CdcError: a pattern matches nothing, or MySQL does not answer.
    """
    if has_patterns(settings):
        report = Report()
        settings = await asyncio.to_thread(_named_in_catalog, settings, report)
        if report.errors:
            raise together([finding.error() for finding in report.errors])
    return sink_tables(settings)


def matched_names(settings: Settings) -> frozenset[str]:
    """Return the tables and views that the settings name or match now, fit or not.

    Raises:
        CdcError: MySQL refuses, or does not answer.
    """
    from cdc_reader.catalog.tables import selected_names

    report = Report()
    found = _with_mysql(settings, report, lambda connection: selected_names(connection, settings))
    if found is None:
        raise together([finding.error() for finding in report.errors])
    return found


def _ask_names(settings: Settings, report: Report) -> None:
    """Ask MySQL for the tables of a sink that runs alone, whose settings have patterns."""
    settings = _named_in_catalog(settings, report)
    if not report.errors:
        _ask_settings(settings, report)


def _named_in_catalog(settings: Settings, report: Report) -> Settings:
    """Return the settings with the tables that patterns match in place of the patterns."""
    named = [table for table in settings.tables if not table.is_pattern]
    patterns = tuple(table for table in settings.tables if table.is_pattern)

    def ask(connection: Connection[Any]) -> Settings:
        from cdc_reader.catalog.tables import find_tables

        found = find_tables(connection, replace(settings, tables=patterns))
        report.findings += found.findings
        report.left_out += found.left_out
        known = {".".join(_split(table, settings.mysql.database)) for table in named}
        others = (table for table in found.wanted if table.name not in known)
        return replace(settings, tables=(*named, *others))

    return _with_mysql(settings, report, ask) or settings


def _with_mysql(
    settings: Settings, report: Report, ask: Callable[[Connection[Any]], _T]
) -> _T | None:
    """Return what is asked of MySQL; None: it does not answer, which is a finding."""
    from cdc.mysql.connection import connected

    try:
        with connected(settings.mysql) as connection:
            return ask(connection)
    except CdcError as error:
        report.findings.append(_of_mysql(error))
    return None


def _ask_mysql(settings: Settings, report: Report, thorough: bool) -> None:
    from cdc_reader.catalog.facts import check_rights, server_facts, server_state
    from cdc_reader.catalog.source_check import check_retention, check_source, check_state, notes
    from cdc_reader.catalog.table_check import cascade_notes, check_tables
    from cdc_reader.catalog.tables import find_tables

    def ask(connection: Connection[Any]) -> None:
        facts = server_facts(connection)
        report.servers["mysql"] = f"{facts.kind} {facts.version_text} at {settings.mysql.address}"
        passes = settings.on_schema_change == "continue"
        report.findings += check_source(facts, needs_names=passes)
        if not thorough:
            report.findings += check_retention(facts)
        report.findings += check_rights(connection, facts, settings.mysql)
        found = find_tables(connection, settings)
        report.tables, report.left_out = tuple(found.tables), found.left_out
        report.findings += found.findings
        state = server_state(connection, facts, settings.server_id)
        report.findings += check_state(facts, state, report.tables, settings.server_id)
        report.findings += check_tables(connection, settings, report.tables)
        if thorough:
            report.notes += notes(facts, state, settings.server_id)
            _size(connection, settings, report)
            if settings.cascades == "follow":
                report.notes += cascade_notes(connection, report.tables, report.sizes)
            snapshot_s = sum(size.snapshot_s for size in report.sizes.values())
            report.findings += check_retention(facts, snapshot_s)

    _with_mysql(settings, report, ask)


def _size(connection: Connection[Any], settings: Settings, report: Report) -> None:
    from cdc_reader.snapshot.table_size import check_order, read_size

    for table in report.tables:
        size = read_size(connection, table)
        if size is None:
            report.notes.append(f"{table.qualified}: its rows cannot be counted (no SELECT right)")
            continue
        report.sizes[table.qualified] = size
        if not size.is_exact:
            report.notes.append(f"{table.qualified}: too large to count; estimated")
        if settings.snapshot:
            report.findings += check_order(connection, table, size)


def _could_be_larger(settings: Settings, report: Report) -> list[str]:
    from cdc_reader.snapshot.table_size import large_columns

    limit = settings.max_row_bytes
    found = {table.qualified: large_columns(table, limit) for table in report.tables}
    return [
        f"{name}: {', '.join(columns)} may hold more than max_row_bytes;\n"
        "such a row becomes a dead letter"
        for name, columns in found.items()
        if columns
    ]


def _of_mysql(error: CdcError) -> Finding:
    if isinstance(error, UsageError):
        return of_error("mysql.database", error)
    away = isinstance(error, UnavailableError)
    refused = isinstance(error, PermissionDenied | SettingsError)
    return of_error(
        "mysql.unreachable" if away else "mysql.refused" if refused else "mysql.unexpected", error
    )


def sink_tables(settings: Settings) -> tuple[Table, ...]:
    """Return what the sink needs of the tables; MySQL is not asked, so it may be down.

    Raises:
        UsageError: a table's database is not named.
    """
    if not settings.tables:
        raise UsageError("no table is named", fix="cdc run --role sink --table shop.users")
    database = settings.mysql.database
    sections = SectionsOfTables(settings.sections, database)
    found = []
    for wanted in settings.tables:
        schema, table = _split(wanted, database)
        if not any(means(text, schema, table, database) for text in settings.exclude_tables):
            found.append(_sink_table(schema, table, sections.of(schema, table, wanted)))
    if not found:
        raise UsageError("every table that is named is excluded", fix="see exclude_tables")
    return tuple(found)


def _split(wanted: TableSettings, database: str) -> tuple[str, str]:
    name = wanted.name if "." in wanted.name else f"{database}.{wanted.name}"
    schema, _, table = name.partition(".")
    if not schema:
        raise UsageError(
            f"the sink does not ask MySQL which database has {wanted.name!r}",
            fix=f"name its database: --table shop.{wanted.name}",
        )
    return schema, table


def _sink_table(schema: str, table: str, wanted: TableSettings) -> Table:
    def key(text: str, *, is_index: bool = False) -> KeyTemplate:
        return refuse_own(template(text, is_index=is_index), f"{schema}.{table}")

    def template(text: str, *, is_index: bool = False) -> KeyTemplate:
        # Keys come ready-made in messages; only the literal parts matter here.
        return parse_template(
            text, schema=schema, table=table, pk=("pk",), may_be_constant=is_index
        )

    return Table(
        schema=schema,
        name=table,
        columns=(),
        identity=(),
        chunk_key=(),
        key=key(wanted.key or DEFAULT_TEMPLATE),
        value_column=wanted.value,
        model=wanted.model,
        field=None if wanted.field is None else template(wanted.field),
        indexes=tuple(
            Index(
                kind=one.kind,
                key=key(one.key, is_index=True),
                score=one.score,
                member=None if one.member is None else template(one.member),
            )
            for one in wanted.index
        ),
        ttl_s=wanted.ttl_s,
    )
