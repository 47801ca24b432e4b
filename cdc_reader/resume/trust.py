"""Whether all tables may be read again without a person: is it the server that we knew?

Pure.  A refresh makes Redis what MySQL shows.  Pointed at another server, or at one whose tables
were emptied by mistake, it would make Redis equally wrong (docs/guarantees.md, "Starting over").
"""

from __future__ import annotations

from collections.abc import Mapping

from cdc.errors import PositionLostError
from cdc.message import Heartbeat, TableProgress
from cdc.position import MariaDbGtidSet, MySqlGtidSet
from cdc_reader.resume.resume import ServerLog

ROWS_COUNTED_MAX = 100_000
"""Of a larger table it is enough that so many rows exist."""
FEW_ROWS = 100
"""A table of fewer may lose half of them on any day; all of them together may not."""
REFRESH_YOURSELF = "if that is right:  cdc refresh   (then start cdc run again)"


def rows_expected(progress: Mapping[str, TableProgress]) -> dict[str, int]:
    """Return half of the rows that tables had when they were read the last time.

    ``{"shop.users": 500}``: it had 1,000 to 1,001.
    """
    known = {name: one.rows for name, one in progress.items() if one.done}
    return {
        name: min(rows // 2, ROWS_COUNTED_MAX)
        for name, rows in known.items()
        if isinstance(rows, int) and rows > 1
    }


def refuse_unknown(heartbeat: Heartbeat | None, server: ServerLog) -> None:
    """Refuse a server that is not the one of the stream, nor has all of its transactions.

    Raises:
        PositionLostError: a person has to say that it is right.
    """
    if heartbeat is None:
        raise _refused("the stream does not tell which server it followed")
    is_same = heartbeat.server == server.server
    if is_same and not server.mariadb:
        return  # its server_uuid; a server_id of MariaDB is 1 on many servers
    if heartbeat.server.isdigit() != server.mariadb or not heartbeat.gtid_set:
        raise _refused(f"the stream followed server {heartbeat.server}, this is {server.server}")
    if not _has_all(server.newest.gtid_set or "", heartbeat.gtid_set, mariadb=server.mariadb):
        raise _refused(f"server {server.server} lacks transactions that the stream has")


def refuse_emptied(found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """Refuse a server whose tables have suddenly lost most of their rows.

    Args:
        found: rows of each table, counted up to what is expected.

    Raises:
        PositionLostError: a person has to say that it is right.
    """
    for table, least in expected.items():
        if found.get(table, least) < least and 2 * least >= FEW_ROWS:
            raise _refused(f"{table} has {found[table]:,} rows, and had {2 * least:,} or more")
    rows, wanted = (sum(of[name] for name in expected if name in found) for of in (found, expected))
    if rows < wanted:
        raise _refused(f"all tables together have {rows:,} rows, and had {2 * wanted:,} or more")


def _has_all(theirs: str, ours: str, *, mariadb: bool) -> bool:
    if mariadb:
        position = MariaDbGtidSet.parse(theirs)
        return all(gtid in position for gtid in ours.split(","))
    return MySqlGtidSet.parse(theirs).issuperset(MySqlGtidSet.parse(ours))


def _refused(why: str) -> PositionLostError:
    return PositionLostError(
        f"changes are missing, and the tables are not read again without a person: {why}",
        safe="nothing was changed by this; Redis shows the state of before",
        fix=REFRESH_YOURSELF,
    )
