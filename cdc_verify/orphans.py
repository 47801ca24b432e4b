"""Keys under a table's template that no row makes: looked for in Redis, asked of MySQL.

Memory stays small however many keys there are: SCAN brings some at a time.  Of those that the
walk saw, up to `SEEN_MAX`, a number of 64 bits is remembered; for the others MySQL is asked for the
rows that they would be of, found through the template turned round.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Collection, Container, Sequence

from cdc import role
from cdc.table import Table
from cdc_verify.expected import Expected
from cdc_verify.inverse import Inverse
from cdc_verify.mysql_rows import MySqlRows
from cdc_verify.redis_keys import RedisKeys
from cdc_verify.select import Selects

SCAN_COUNT = 1000
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
        # The rule of the sweep, so that what is reported is what a refresh removes.
        self._is_of_cdc = role.loaded(role.IS_OF_CDC)
        self._is_only_of = role.loaded(role.IS_ONLY_OF)
        prefix = table.key.literal_prefix
        self.possible = bool(prefix)
        """A template that begins with a column owns no keys but those of its rows."""
        self._pattern = role.loaded(role.ESCAPED)(prefix) + "*"
        self._template, self._others = table.key, [other.key for other in others]
        self._inverse = Inverse(table)
        keys_alone = dataclasses.replace(table, value_column=table.key.columns[0], model="string")
        self._expected = Expected(keys_alone)
        self._selects = Selects(dataclasses.replace(keys_alone, chunk_key=()), self._expected)
        self._mysql, self._redis, self._seen = mysql, redis, seen
        self._parts, self._salt = round(sample * 100), str(seed).encode()

    def step(self, cursor: bytes) -> tuple[bytes, int, list[bytes]]:
        """Look at some keys; return where to go on, how many there were, and those of no row.

        Blocking.  The cursor is ``b"0"`` at the beginning and at the end.

        Raises:
            CdcError: a server refuses or does not answer.
        """
        scan = ("SCAN", cursor, "MATCH", self._pattern, "COUNT", SCAN_COUNT)
        (reply,) = self._redis.run(scan)
        keys = list(dict.fromkeys(key for key in reply[1] if self._is_ours(key)))
        return reply[0], len(keys), self._without_rows(keys)

    def _is_ours(self, raw: bytes) -> bool:
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            return False
        if self._parts < 10_000 and zlib.crc32(raw, zlib.crc32(self._salt)) % 10_000 >= self._parts:
            return False
        return not self._is_of_cdc(key) and self._is_only_of(key, self._template, self._others)

    def _without_rows(self, keys: Collection[bytes]) -> list[bytes]:
        keys = [key for key in keys if hash(key) not in self._seen]
        conditions = [self._inverse.condition(key.decode()) for key in keys]
        asked = [condition for condition in conditions if condition is not None]
        rows = self._mysql.found(self._selects, asked)
        alive = set(map(self._expected.key, rows))
        return [key for key in keys if key not in alive]
