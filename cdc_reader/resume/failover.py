"""State of a server's binlog at connection, and of another server's after a failover.

Asked at every connection.  Where the server is not the one that the stream follows, its
configuration is looked at again, and what it still applies of ours is waited for.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pymysql

from cdc.check.finding import together
from cdc.jetstream.connection import Connection
from cdc.message import Heartbeat
from cdc.mysql.connection import connect, translated
from cdc.position import MariaDbGtidSet, MySqlGtidSet
from cdc.settings import Settings
from cdc_reader.catalog.facts import check_rights, server_facts
from cdc_reader.catalog.source_check import check_source
from cdc_reader.resume.published import Published
from cdc_reader.resume.resume import ServerLog, Tail
from cdc_reader.resume.server_log import (
    event_at,
    file_start,
    read_server_log,
    wait_until_visible,
)
from cdc_reader.resume.stream_end import published_behind

APPLY_WAIT_S = 10.0
"""A replica that has just been promoted may still apply what it received."""
_APPLY_LOOK_S = 0.2


def ask_server_log(settings: Settings, heartbeat: Heartbeat | None) -> tuple[ServerLog, str | None]:
    """Return the binlog's extent, and the event at the heartbeat's position in it.

    Without a heartbeat its newest position and GTID set belong together exactly.

    Raises:
        PreflightError: it is another server than before, and configured so that changes
            would be lost or guessed.
        UnavailableError, PermissionDenied: it cannot be asked.
    """
    connection = connect(settings.mysql)
    try:
        facts = server_facts(connection)
        if heartbeat is not None and heartbeat.server != facts.server:
            passes = settings.on_schema_change == "continue"
            found = check_source(facts, needs_names=passes)
            found += check_rights(connection, facts, settings.mysql)
            if errors := [finding.error() for finding in found if finding.stops]:
                raise together(errors)
        elif heartbeat is not None and facts.gtid and not facts.mariadb:
            wait_until_visible(connection, heartbeat.gtid_set or "")
        log = read_server_log(
            connection,
            mariadb=facts.mariadb,
            gtid=facts.gtid,
            server=facts.server,
            exact=heartbeat is None,
        )
        next_event: str | None = ""
        # Positions in another server's files are not comparable.
        if heartbeat is not None and heartbeat.server == facts.server:
            next_event = event_at(connection, heartbeat.file, heartbeat.offset)
            file = log.oldest_file if facts.mariadb else heartbeat.file
            log = replace(log, file=file_start(connection, file))
        return log, next_event
    except pymysql.MySQLError as error:
        raise translated(error, settings.mysql) from None
    finally:
        connection.close()


async def follow_to(
    nc: Connection, settings: Settings, tail: Tail, log: ServerLog
) -> tuple[ServerLog, Published]:
    """Return another server's binlog, and what the stream has of it.

    Waits until the server has executed that, as far as it does.

    Raises:
        PositionLostError: the stream does not reach back to its newest boundary.
        UnavailableError, PermissionDenied: a server cannot be asked.
    """
    published = await published_behind(
        nc, settings.stream, settings.subject_prefix, tail, mariadb=log.mariadb
    )
    kind = MariaDbGtidSet if log.mariadb else MySqlGtidSet
    ours = kind.parse((tail.heartbeat and tail.heartbeat.gtid_set) or "")
    deadline_s = time.monotonic() + APPLY_WAIT_S
    while log.lacks(ours, published) and time.monotonic() < deadline_s:
        await asyncio.sleep(_APPLY_LOOK_S)
        log, _ = await asyncio.to_thread(ask_server_log, settings, None)
    return log, published
