"""Before a role starts: all three servers are asked, and all problems told at once.

Only asked: nothing is created, nothing written.  Each side's questions belong to that side and
are loaded by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from cdc.errors import CdcError, UsageError
from cdc.finding import Finding, together
from cdc.key import DEFAULT_TEMPLATE, parse_template
from cdc.settings import Settings
from cdc.table import Table


@dataclass(slots=True)
class _Report:
    errors: list[CdcError] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    tables: tuple[Table, ...] = ()

    def take(self, findings: list[Finding]) -> None:
        self.errors += [finding.error() for finding in findings if finding.stops]
        self.warnings += [finding for finding in findings if not finding.stops]


async def check(settings: Settings, role: str, log: Any) -> tuple[Table, ...]:
    """Return the captured tables, once every server that the role needs has said yes.

    Args:
        role: ``both``, ``reader`` or ``sink``.

    Raises:
        CdcError: all problems in one, of the class of the first: MySQL's, NATS', Redis'.
    """
    report = await _ask_all(settings, role, log)
    if report.errors:
        raise together(report.errors)
    for finding in report.warnings:
        log.warning(finding.seen, next=finding.remedy or None)
    log.info(
        "starting",
        tables=" ".join(table.qualified for table in report.tables),
        mysql=settings.mysql.address,
        nats=settings.nats.address,
        redis=settings.redis.address,
    )
    return report.tables


async def _ask_all(settings: Settings, role: str, log: Any) -> _Report:
    report = _Report()
    asked = [_nats_problem(settings, role, log)]
    if role != "reader":
        asked.append(_redis_problem(settings, log))
    answers = asyncio.gather(*asked)
    if role == "sink":
        try:
            report.tables = sink_tables(settings)
        except CdcError as error:
            report.errors.append(error)
    else:
        await asyncio.to_thread(_ask_mysql, settings, report)
    report.errors += [error for error in await answers if error]
    return report


def _ask_mysql(settings: Settings, report: _Report) -> None:
    import pymysql

    from cdc_reader import catalog

    try:
        connection = catalog.connect(settings.mysql)
    except CdcError as error:
        report.errors.append(error)
        return
    try:
        facts = catalog.server_facts(connection)
        report.take(catalog.check_source(facts))
        report.take(catalog.check_rights(connection, facts, settings.mysql))
        report.tables = catalog.resolve_tables(connection, settings)
        report.take(catalog.check_tables(connection, settings, report.tables))
    except CdcError as error:
        report.errors.append(error)
    except (pymysql.MySQLError, OSError) as error:
        report.errors.append(catalog.translated(error, settings.mysql))
    finally:
        connection.close()


async def _nats_problem(settings: Settings, role: str, log: Any) -> CdcError | None:
    from cdc import stream

    async def ask() -> None:
        side = "sink" if role == "sink" else "reader"
        nc = await stream.connect(
            settings.nats, name="cdc-preflight", inbox_prefix=f"_INBOX_{side}", log=log
        )
        try:
            await stream.api(nc, "INFO")
        finally:
            await stream.close(nc)

    return await _problem(ask())


async def _redis_problem(settings: Settings, log: Any) -> CdcError | None:
    from redis_sink.applied import position_key
    from redis_sink.preflight import check_server
    from redis_sink.writer import Writer

    async def ask() -> None:
        key = position_key(settings.pipeline, 0, settings.partitions)
        writer = Writer(settings.redis, key=key, name="cdc-preflight")
        try:
            await writer.open()
            await check_server(writer, log)
        finally:
            writer.close()

    return await _problem(ask())


async def _problem(asking: Awaitable[None]) -> CdcError | None:
    try:
        await asking
    except CdcError as error:
        return error
    return None


def sink_tables(settings: Settings) -> tuple[Table, ...]:
    """Return what the sink needs of the tables; MySQL is not asked, so it may be down.

    Raises:
        UsageError: a table's database is not named.
    """
    if not settings.tables:
        raise UsageError("no table is named", remedy="cdc run --role sink --table shop.users")
    out = []
    for wanted in settings.tables:
        name = wanted.name if "." in wanted.name else f"{settings.mysql.database}.{wanted.name}"
        schema, _, table = name.partition(".")
        if not schema:
            raise UsageError(
                f"the sink alone does not ask MySQL in which database {wanted.name!r} stands",
                remedy=f"write it with its database: --table shop.{wanted.name}",
            )
        text = wanted.key or DEFAULT_TEMPLATE
        out.append(
            Table(
                schema=schema,
                name=table,
                columns=(),
                identity=(),
                chunk_key=(),
                # Keys come ready-made in messages; only the literal parts matter here.
                key=parse_template(text, schema=schema, table=table, pk=("pk",)),
                value_column=wanted.value,
                model=wanted.model,
            )
        )
    return tuple(out)
