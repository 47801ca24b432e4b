"""Whether all tables may be read again without a person: is it the server that we knew?

Pure.  A refresh makes Redis what MySQL shows.  Pointed at another server, or at one whose tables
were emptied by mistake, it would make Redis equally wrong (docs/guarantees.md, "Starting over").
"""

from __future__ import annotations

from collections.abc import Mapping

from cdc.errors import PositionLostError
from cdc.message import Heartbeat, TableProgress
from cdc.position import MySqlGtidSet
from cdc_reader.resume.resume import ServerLog

ROWS_COUNTED_MAX = 100_000
"""Of a larger table it is enough that so many rows exist."""
FEW_ROWS = 100
"""A table of fewer may lose half of them on any day."""
REFRESH_YOURSELF = "if that is right:  cdc refresh   (then start cdc run again)"


def rows_expected(progress: Mapping[str, TableProgress]) -> dict[str, int]:
    """Return how many rows tables must have at least, by how many were read the last time.

    ``{"shop.users": 500}``: it had 1,000 to 1,001.  Tables of few rows are not in it.
    """
    known = {name: one.rows for name, one in progress.items() if one.done}
    return {
        name: min(rows // 2, ROWS_COUNTED_MAX)
        for name, rows in known.items()
        if isinstance(rows, int) and rows >= FEW_ROWS
    }


def refuse_unknown(heartbeat: Heartbeat | None, server: ServerLog) -> None:
    """Refuse a server that is not the one of the stream, nor has all of its transactions.

    Raises:
        PositionLostError: a person has to say that it is right.
    """
    if heartbeat is None:
        raise _refused("the stream does not tell which server it followed")
    if heartbeat.server == server.server:
        return
    ours, theirs = heartbeat.gtid_set, server.newest.gtid_set
    if not server.mariadb and ours and theirs:
        if MySqlGtidSet.parse(theirs).issuperset(MySqlGtidSet.parse(ours)):
            return
        raise _refused(f"server {server.server} lacks transactions that the stream has")
    raise _refused(f"the stream followed server {heartbeat.server}, this is {server.server}")


def refuse_emptied(found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """Refuse a server whose tables have suddenly lost most of their rows.

    Args:
        found: rows of each table, counted up to what is expected.

    Raises:
        PositionLostError: a person has to say that it is right.
    """
    for table, least in expected.items():
        if found.get(table, least) < least:
            raise _refused(f"{table} has {found[table]:,} rows, and had {2 * least:,} or more")


def _refused(why: str) -> PositionLostError:
    return PositionLostError(
        f"changes are missing, and the tables are not read again without a person: {why}",
        safe="nothing was changed by this; Redis shows the state of before",
        fix=REFRESH_YOURSELF,
    )
