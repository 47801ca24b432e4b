"""Before a role starts, and for ``cdc check``: all servers checked, all problems reported.

Nothing is created, nothing written.  Each side's questions belong to that side, which is imported
when it is asked.  What takes long (counting, scanning) is only done by ``cdc check``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cdc.check.finding import Finding, Report, of_error, together
from cdc.check.room import check_room
from cdc.errors import (
    CdcError,
    PermissionDenied,
    SettingsError,
    UnavailableError,
    UsageError,
)
from cdc.key import DEFAULT_TEMPLATE, KeyTemplate, parse_template, refuse_own
from cdc.settings import Settings
from cdc.table import Index, Table
from cdc.table_settings import TableSettings
from cdc.telemetry import Log, names_text

if TYPE_CHECKING:
    from pymysql.connections import Connection

EMBEDDED_MAX_PAYLOAD_BYTES = 1 << 20
"""nats-server's default."""
_ORDER = ("mysql", "nats", "redis")


async def check(settings: Settings, role: str, log: Log) -> tuple[Table, ...]:
    """Return the captured tables, once every server that the role needs has passed.

    Args:
        role: ``both``, ``reader`` or ``sink``.

    Raises:
        CdcError: all problems in one, of the class of the first: MySQL's, NATS', Redis'.
    """
    report = await _passed(settings, role)
    for finding in report.warnings:
        log.warning(finding.sentence(), fix=finding.fix.text() or None)
    log.info(
        "starting",
        tables=names_text([table.qualified for table in report.tables]),
        mysql=settings.mysql.address,
        nats=settings.nats.address,
        redis=settings.redis.address,
    )
    return report.tables


async def captured_tables(settings: Settings) -> tuple[Table, ...]:
    """Return the captured tables for a command other than `cdc run`, which logs the warnings.

    Raises:
        CdcError: as `check`.
    """
    return (await _passed(settings, "reader")).tables


async def _passed(settings: Settings, role: str) -> Report:
    report = await ask(settings, role)
    if report.errors:
        raise together([finding.error() for finding in report.errors])
    return report


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
        if role == "sink":
            _ask_settings(settings, report)
        else:
            await asyncio.to_thread(_ask_mysql, settings, report, thorough)
    finally:
        tables.set_result(report.tables or _named(settings))
    await answers
    if thorough:
        report.findings += check_room(settings, report)
        report.notes += _could_be_larger(report)
    report.findings.sort(key=_place)
    return report


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
        return sink_tables(settings)
    except CdcError:
        return ()


def _ask_mysql(settings: Settings, report: Report, thorough: bool) -> None:
    import pymysql

    from cdc.mysql.connection import connect, translated
    from cdc_reader.catalog.facts import check_rights, server_facts, server_state
    from cdc_reader.catalog.source_check import check_retention, check_source, check_state, notes
    from cdc_reader.catalog.table_check import check_tables
    from cdc_reader.catalog.tables import find_tables

    try:
        connection = connect(settings.mysql)
    except CdcError as error:
        report.findings.append(_of_mysql(error))
        return
    try:
        facts = server_facts(connection)
        report.servers["mysql"] = f"{facts.kind} {facts.version_text} at {settings.mysql.address}"
        report.findings += check_source(facts)
        if not thorough:
            report.findings += check_retention(facts)
        report.findings += check_rights(connection, facts, settings.mysql)
        report.tables, found = find_tables(connection, settings)
        report.findings += found
        state = server_state(connection, facts)
        report.findings += check_state(facts, state, report.tables, settings.server_id)
        report.findings += check_tables(connection, settings, report.tables)
        if thorough:
            report.notes += notes(facts, state, settings.server_id)
            _size(connection, settings, report)
            snapshot_s = sum(size.snapshot_s for size in report.sizes.values())
            report.findings += check_retention(facts, snapshot_s)
    except CdcError as error:
        report.findings.append(_of_mysql(error))
    except (pymysql.MySQLError, OSError) as error:
        report.findings.append(_of_mysql(translated(error, settings.mysql)))
    finally:
        connection.close()


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


def _could_be_larger(report: Report) -> list[str]:
    from cdc_reader.snapshot.table_size import large_columns

    limit = report.max_payload_bytes
    found = {table.qualified: large_columns(table, limit) for table in report.tables if limit}
    return [
        f"{name}: {', '.join(columns)} may hold more than max_payload of NATS;\n"
        "such a row would stop the reader"
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
    return tuple(_sink_table(settings, wanted) for wanted in settings.tables)


def _sink_table(settings: Settings, wanted: TableSettings) -> Table:
    name = wanted.name if "." in wanted.name else f"{settings.mysql.database}.{wanted.name}"
    schema, _, table = name.partition(".")
    if not schema:
        raise UsageError(
            f"the sink does not ask MySQL which database has {wanted.name!r}",
            fix=f"name its database: --table shop.{wanted.name}",
        )

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
