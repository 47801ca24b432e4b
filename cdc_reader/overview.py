"""What `cdc status` and `cdc wait` ask MySQL: cheap questions, read alone."""

from __future__ import annotations

import pymysql

from cdc.errors import PreflightError
from cdc.settings import Settings
from cdc_reader import catalog
from cdc_reader.server_log import log_status


def executed(settings: Settings) -> str:
    """Return all transactions that the server has committed: a GTID set, or MariaDB's position.

    Raises:
        PreflightError: it has no GTIDs.
        CdcError: it refuses, or does not answer.
    """
    connection = catalog.connect(settings.mysql)
    try:
        facts = catalog.server_facts(connection)
        with connection.cursor() as cursor:
            if facts.mariadb:
                cursor.execute("SELECT @@global.gtid_binlog_pos")
                found = str((cursor.fetchone() or ("",))[0] or "")
            else:
                found = log_status(cursor)[2].replace("\n", "") if facts.gtid else ""
    except (pymysql.MySQLError, OSError) as error:
        raise catalog.translated(error, settings.mysql) from None
    finally:
        connection.close()
    if not found:
        raise PreflightError(
            "MySQL has no GTIDs, or no transaction yet",
            remedy="SET GLOBAL gtid_mode = ON, step by step; until then wait for the row itself",
        )
    return found
