"""Keys of rows that are gone: removed at the end of a refresh.

A table has been read anew, and every key that a message spoke of meanwhile stands in a
set (`redis_sink.plan`).  What stands under the table's template and not in that set is no
row any more.  Step by step, between batches: each removal is in a transaction with the
position, so that another sink that writes meanwhile refuses it (docs/adr/0011-refresh.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cdc.key import KeyTemplate
from cdc.partition import partition_of
from cdc.table import Table
from redis_sink.writer import Writer

SCAN_COUNT = 1000
_OF_CDC = re.compile(r"cdc:[A-Za-z0-9_-]+:((position|counts|refresh:[0-9]+)(:[0-9]+)?|error)")


class Sweep:
    """One table's, over one SCAN."""

    def __init__(
        self,
        table: Table,
        others: Sequence[Table],
        *,
        number: int,
        live_keys: str,
        partition: int,
        partitions: int,
    ) -> None:
        """Begin at the first key.

        Args:
            others: tables whose keys are not to be touched.
            number: of the refresh that the table was read for.
            live_keys: key of the set of keys that stay.
        """
        self.table, self.number = table.qualified, number
        self.removed = 0
        self._template = table.key
        self._others = [other.key for other in others]
        self._live_keys = live_keys
        self._partition, self._partitions = partition, partitions
        self._pattern = escaped(table.key.literal_prefix) + "*"
        self._cursor: bytes | None = b"0" if table.key.literal_prefix else None

    @property
    def is_done(self) -> bool:
        """Whether all keys have been looked at; a template without a beginning has none."""
        return self._cursor is None

    async def step(self, writer: Writer, position: bytes) -> None:
        """Look at some keys, remove those that are no rows.

        Args:
            position: as it stands in Redis.

        Raises:
            Fenced: another sink wrote; nothing was removed.
            CdcError: Redis refuses, or does not answer.
        """
        if self._cursor is None:
            return
        scan = ("SCAN", self._cursor, "MATCH", self._pattern, "COUNT", str(SCAN_COUNT))
        ((cursor, found),) = await writer.ask(scan)
        keys = [key for key in found if self._may_be_ours(key)]
        if keys:
            (stays,) = await writer.ask(("SMISMEMBER", self._live_keys, *keys))
            gone = [key for key, is_alive in zip(keys, stays, strict=True) if not is_alive]
            if gone:
                await writer.apply([("UNLINK", *gone)], position)
                self.removed += len(gone)
        self._cursor = cursor if cursor != b"0" else None

    def _may_be_ours(self, raw: bytes) -> bool:
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            return False
        return (
            not is_of_cdc(key)
            and partition_of(key, self._partitions) == self._partition
            and is_only_of(key, self._template, self._others)
        )


def is_of_cdc(key: str) -> bool:
    """Say whether a key looks like one that cdc keeps for itself, of whatever pipeline.

    >>> is_of_cdc("cdc:default:position:3"), is_of_cdc("cdc:42")
    (True, False)
    """
    return _OF_CDC.fullmatch(key) is not None


def is_only_of(key: str, template: KeyTemplate, others: Sequence[KeyTemplate]) -> bool:
    """Say whether a table's template may have made a key, and no other's."""
    return template.may_have_made(key) and not any(
        other.literal_prefix and other.may_have_made(key) for other in others
    )


def escaped(prefix: str) -> str:
    r"""Return a text for SCAN's pattern that matches itself alone.

    >>> escaped("a*b:")
    'a\\*b:'
    """
    return re.sub(r"([*?\[\]\\])", r"\\\1", prefix)
