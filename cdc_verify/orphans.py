"""Keys under a table's template that no row makes: looked for in Redis, asked of MySQL.

Memory stays small however many keys there are: SCAN brings some at a time.  Of those that the
walk saw, up to `SEEN_MAX`, a number of 64 bits is remembered; for the others MySQL is asked for the
rows that they would be of, found through the template turned round.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Collection, Container, Iterator, Sequence

from cdc.key import KeyTemplate, escaped, is_only_of
from cdc.own_keys import is_of_cdc
from cdc.table import Table
from cdc_verify.mysql_rows import MySqlRows
from cdc_verify.parted import expected_of
from cdc_verify.parts import Part, PartKind, Places, grounds, has_parts, names_of
from cdc_verify.redis_keys import RedisKeys
from cdc_verify.select import Selects

SCAN_COUNT = 1000
NEXT = b"next"
"""A cursor: the keys of the next template, from their beginning."""
SEEN_MAX = 1_000_000
"""Keys of rows that are remembered, at about 65 bytes."""


class Orphans:
    """One look through the keys of Redis."""

    def __init__(
        self,
        table: Table,
        others: Sequence[Table],
        *,
        mysql: MySqlRows,
        redis: RedisKeys,
        sample: float,
        seed: int,
        seen: Container[int],
    ) -> None:
        """Begin at the first key.

        Args:
            others: tables whose keys are not this one's.
            sample: percent of the keys.
            seen: `hash` of keys that have a row.
        """
        own = grounds(table)
        # Of many tables, few have keys that could be taken for this one's.
        self._near = [
            ground
            for one in (table, *others)
            for ground in grounds(one)
            if any(ground[1].begins_as(mine) for _, mine in own)
        ]
        self._left = [ground for ground in own if ground[1].literal_prefix]
        self.possible = len(self._left) == len(own)
        """A template that begins with a column owns no keys but those of its rows."""
        self._places = Places(table)
        if has_parts(table):
            alone = table
        else:
            alone = dataclasses.replace(
                table, value_column=table.key.columns[0], model="string", fields=None
            )
        self._expected = expected_of(alone)
        self._selects = Selects(dataclasses.replace(alone, chunk_key=()), self._expected)
        self._mysql, self._redis, self._seen = mysql, redis, seen
        self._parts, self._salt = round(sample * 100), str(seed).encode()

    def step(self, cursor: bytes) -> tuple[bytes, int, list[bytes]]:
        """Look at some keys; return where to go on, how many there were, and those of no row.

        Blocking.  The cursor is ``b"0"`` at the beginning, and at the end of the last template.

        Raises:
            CdcError: a server refuses or does not answer.
        """
        if not self._left:
            return b"0", 0, []
        kind, template = ground = self._left[0]
        pattern = escaped(template.literal_prefix) + "*"
        at = b"0" if cursor == NEXT else cursor
        (reply,) = self._redis.run(("SCAN", at, "MATCH", pattern, "COUNT", SCAN_COUNT))
        keys = list(dict.fromkeys(key for key in reply[1] if self._is_ours(key, ground)))
        places = keys if kind is None else [p for key in keys for p in self._within(kind, key)]
        places = [place for place in places if self._is_sampled(place)]
        if reply[0] == b"0":
            self._left.pop(0)
        following = NEXT if reply[0] == b"0" and self._left else reply[0]
        return following, len(places), self._without_rows(places)

    def _within(self, kind: PartKind, key: bytes) -> Iterator[bytes]:
        """Yield the places of a key of several rows; the key itself where it is another kind."""
        scan = {"hash": "HSCAN", "set": "SSCAN", "zset": "ZSCAN"}[kind]
        cursor = b"0"
        while True:
            (reply,) = self._redis.run((scan, key, cursor, "COUNT", SCAN_COUNT))
            if isinstance(reply, Exception):
                return  # of another type: what rows have there is found wrong by the walk
            for name in names_of(reply[1], kind):
                yield Part(kind, key, name).place
            cursor = reply[0]
            if cursor == b"0":
                return

    def _is_ours(self, raw: bytes, ground: tuple[PartKind | None, KeyTemplate]) -> bool:
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            return False
        # The rule of the sweep, so that what is reported is what a refresh removes; a key of
        # several rows is told by its TYPE too.
        rivals = [g[1] for g in self._near if g != ground and ground[0] in (None, g[0])]
        return not is_of_cdc(key) and is_only_of(key, ground[1], rivals)

    def _is_sampled(self, place: bytes) -> bool:
        if self._parts >= 10_000:
            return True
        return zlib.crc32(place, zlib.crc32(self._salt)) % 10_000 < self._parts

    def _without_rows(self, places: Collection[bytes]) -> list[bytes]:
        places = [place for place in places if hash(place) not in self._seen]
        conditions = [self._places.condition(place) for place in places]
        asked = [condition for condition in conditions if condition is not None]
        rows = self._mysql.found(self._selects, asked)
        alive = {place for row in rows for place, _ in self._expected.places(row)}
        return [place for place in places if place not in alive]
