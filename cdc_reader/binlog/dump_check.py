"""Open a dump for a moment, to check that this login may read the binlog and receives it.

The dump itself needs REPLICATION SLAVE, and it is the connection that `cdc run` needs: what
breaks it (a right, TLS, a proxy between) shows here.  COM_REGISTER_SLAVE asks for the same right,
but leaves a dead pointer in MySQL 8.0.15, which a later SHOW SLAVE HOSTS follows: the server dies.
Source: mysql-server 8.0.15, sql/rpl_master.cc, register_slave and show_slave_hosts.
"""

from __future__ import annotations

import asyncio

from cdc.errors import UnavailableError
from cdc.position import Position
from cdc.url import Url
from cdc_reader.binlog.source import Source

FIRST_EVENT_S = 8.0
OLDEST = ("", 4)
"""No file's name: the server begins with its oldest."""


def try_dump(url: Url, place: tuple[str, int] = OLDEST) -> None:
    """Open a dump, return with its first event and leave; in a thread without a loop.

    ``try_dump(url, ("binlog.000042", 157))``

    The server ends its part at the end of its binlog: nothing remains open, and another
    reader's dump is not touched, since number and uuid are new each time.

    Raises:
        PermissionDenied: the login, or REPLICATION SLAVE, is refused.
        PositionLostError: there is no such position, or no binlog at all.
        UnavailableError: the connection breaks, or nothing comes on it.
    """
    asyncio.run(_first_event(url, Position(file=place[0], offset=place[1], gtid_set=None)))


async def _first_event(url: Url, position: Position) -> None:
    source = await Source.open(url, position, mariadb=False, waits=False)
    loop = asyncio.get_running_loop()
    end_s = loop.time() + FIRST_EVENT_S
    try:
        while (left_s := end_s - loop.time()) > 0:
            for _ in source.packets.feed(await source.read(left_s)):
                return
    finally:
        source.close()
    raise UnavailableError(
        f"MySQL at {url.address} takes the binlog dump and sends nothing for {FIRST_EVENT_S:g} s",
        fix="look for a proxy or a firewall between cdc and MySQL, and in MySQL's log",
    )
