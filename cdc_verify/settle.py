"""Candidates are looked at again until it is certain which of them are wrong.

A key that differed may just have been on its way.  A round:

1. Take the newest boundary of the stream: everything up to message `low` is before it.
2. Read the rows from MySQL, not older than that boundary, and where the binlog ends after.
3. Wait until Redis has everything up to there.
4. Read Redis, and then its position: message `high`.
5. What still differs and is spoken of by no message in (low, high] is wrong for certain: all
   changes that MySQL's row has are applied, and Redis has none that the row has not.

What such a message speaks of is looked at again, a few rounds long; then it is `unsettled`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cdc.errors import UnavailableError
from cdc.table import Table
from cdc_verify.boundary import Boundary, LogPosition, SinkPosition, has_passed
from cdc_verify.compare import Difference, difference
from cdc_verify.expected import Content, Expected
from cdc_verify.mysql_rows import MySqlRows
from cdc_verify.parts import Places, has_parts
from cdc_verify.redis_keys import RedisKeys
from cdc_verify.select import KeyText, Selects
from cdc_verify.stream_window import StreamWindow

ROUNDS = 6
LOOK_S = 0.05


@dataclass(slots=True)
class _Wanted:
    contents: list[Content] = field(default_factory=list)
    row: KeyText = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of candidates; the rest is as it should be."""

    wrong: list[Difference]
    unsettled: list[bytes]


class Settling:
    """Settles candidates of one table, on other connections than those of the walk."""

    def __init__(
        self,
        table: Table,
        expected: Expected,
        selects: Selects,
        *,
        mysql: MySqlRows,
        redis: RedisKeys,
        stream: StreamWindow,
        positions: Callable[[], list[SinkPosition]],
        server: str,
        wait_s: float,
    ) -> None:
        """Args: positions: asks Redis; server: whose binlog we read; wait_s: see `until_passed`."""
        self._table, self._expected, self._selects = table, expected, selects
        self._inverse = Places(table)
        self._mysql, self._redis, self._stream = mysql, redis, stream
        self._positions, self._server, self._wait_s = positions, server, wait_s

    async def settle(self, candidates: Collection[bytes]) -> Settled:
        """Return which keys are wrong for certain, and which never held still.

        Raises:
            UnavailableError: a server does not answer, or the sink does not move.
            CdcError: a server refuses.
        """
        left = list(candidates)
        wrong: list[Difference] = []
        for _ in range(ROUNDS):
            if not left:
                break
            low = await self._boundary()
            wanted, place = await asyncio.to_thread(self._wanted, low, left)
            await self.until_passed(place)
            suspects, positions = await asyncio.to_thread(self._suspects, left, wanted)
            if not suspects:
                return Settled(wrong, [])
            if not has_passed(positions, await self._boundary(), place):
                continue  # Redis was put back meanwhile
            names = {key.decode(): key for key in suspects}
            high = max(applied.seq for applied in positions)
            touched = await self._stream.touched(low.seq, high, names)
            if touched is None:
                touched = set(names)
            wrong += [suspects[key] for name, key in names.items() if name not in touched]
            left = [key for name, key in names.items() if name in touched]
        return Settled(wrong, left)

    async def until_passed(self, place: LogPosition) -> None:
        """Wait until Redis has everything up to a place of the binlog.

        Raises:
            UnavailableError: neither reader nor sink has moved for `wait_s`.
        """
        before: list[int] = []
        since_s = time.monotonic()
        while True:
            positions = await asyncio.to_thread(self._positions)
            boundary = await self._boundary()
            if has_passed(positions, boundary, place):
                return
            # Each of them: one that moves on does not help one that does not.
            now = sorted(a.seq for a in positions if not has_passed([a], boundary, place))
            if now != before:
                before, since_s = now, time.monotonic()
            elif time.monotonic() - since_s > self._wait_s:
                raise _stands_still(positions, boundary, place, self._wait_s)
            await asyncio.sleep(LOOK_S)

    async def _boundary(self) -> Boundary:
        boundary = await self._stream.boundary()
        if boundary.server != self._server:
            raise UnavailableError(
                f"the stream follows the server {boundary.server}, this MySQL is {self._server}",
                safe="nothing was compared with it",
                fix="name the MySQL that cdc run follows; after a failover, wait for cdc run",
            )
        return boundary

    def _wanted(
        self, low: Boundary, keys: Sequence[bytes]
    ) -> tuple[Mapping[bytes, _Wanted], LogPosition]:
        conditions = [condition for key in keys if (condition := self._inverse.condition(key))]
        found, place = self._mysql.rows_behind(low, self._selects, conditions)
        out: dict[bytes, _Wanted] = {}
        for rows in found:
            together: dict[bytes, _Wanted] = {}
            for row in rows:
                for key, content in self._expected.places(row):
                    wanted = together.setdefault(key, _Wanted())
                    wanted.contents.append(content)
                    wanted.row = self._selects.key_text(row)
            # All rows of a key are in the SELECT that asks for it; others may find some of them.
            for key, wanted in together.items():
                if key not in out or len(out[key].contents) < len(wanted.contents):
                    out[key] = wanted
        return out, place

    def _suspects(
        self, keys: Sequence[bytes], wanted: Mapping[bytes, _Wanted]
    ) -> tuple[dict[bytes, Difference], list[SinkPosition]]:
        out: dict[bytes, Difference] = {}
        read = self._redis.places if has_parts(self._table) else self._redis.contents
        for key, found in zip(keys, read(keys, self._table.model), strict=True):
            want = wanted.get(key)
            contents = want.contents if want else []
            kind = difference(contents, found, has_row=want is not None)
            if kind == "missing" and self._table.ttl_s:
                kind = None  # a cache: what it holds is right, but a row may have no key
            if kind is not None:
                row = want.row if want else ()
                out[key] = Difference(key, kind, row, contents[0] if contents else None, found)
        return out, self._positions()


def _stands_still(
    positions: Sequence[SinkPosition], boundary: Boundary, place: LogPosition, wait_s: float
) -> UnavailableError:
    # A sink that stopped first lacks the reader's last heartbeat: each is said for itself.
    who = []
    if boundary.place < place:
        who.append("the reader has not published what MySQL has")
    if any(a.seq < boundary.seq or a.created != boundary.created for a in positions):
        who.append("the sink has not applied what was published")
    return UnavailableError(
        f"{', and '.join(who)}; nothing has moved for {wait_s:.0f} s",
        safe="progress is kept; nothing was reported that may be on its way",
        fix="start cdc run, or check its log; then cdc verify resumes where it was",
    )
