"""Keys of rows that no longer exist: removed at the end of a refresh.

A table was read again, and every key that a message named since is in a set
(`redis_sink.plan.planner`).  A key under the table's template that is not in that set has no row
any more.  Step by step, between batches: each removal is in a transaction with the
position, so that another sink that writes at the same time refuses it (docs/adr/0011-refresh.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from cdc.key import escaped, is_only_of
from cdc.own_keys import is_of_cdc
from cdc.partition import partition_of
from cdc.table import Table
from redis_sink.plan.batch import Command
from redis_sink.plan.state import Ground, grounds_of
from redis_sink.store.writer import Writer

SCAN_COUNT = 1000
_WITHIN = {"hash": ("HSCAN", "HDEL"), "set": ("SSCAN", "SREM"), "zset": ("ZSCAN", "ZREM")}


class Sweep:
    """One table's, over one SCAN for each template of its keys."""

    def __init__(
        self,
        table: Table,
        others: Sequence[Table],
        *,
        number: int,
        live_keys: str,
        partition: int,
        partitions: int,
        older: Sequence[Ground] = (),
    ) -> None:
        """Begin at the first key.

        Args:
            others: tables whose keys are not to be touched.
            number: of the refresh that the table was read for.
            live_keys: key of the set of keys that stay.
            older: where the table's rows were with earlier settings.
        """
        self.table, self.number = table.qualified, number
        self.removed = 0
        own = [*grounds_of(table), *older]
        # Of many tables, few have keys that could be taken for this one's.
        self._near = [
            ground
            for one in (table, *others)
            for ground in grounds_of(one)
            if any(ground.template.begins_as(mine.template) for mine in own)
        ]
        # A template without a beginning has no keys that could be looked for.
        self._left = [g for g in own if g.template.literal_prefix]
        self._live_keys = live_keys
        self._partition, self._partitions = partition, partitions
        self._cursor = b"0"
        self._inside: list[bytes] = []
        """Keys with several rows, to be looked through."""
        self._inside_cursor = b"0"

    @property
    def is_done(self) -> bool:
        """Whether all keys have been looked at."""
        return not self._left

    async def step(self, writer: Writer, position: bytes) -> None:
        """Look at some keys, remove those that are no rows.

        Args:
            position: as it is in Redis.

        Raises:
            FencedError: another sink wrote; nothing was removed.
            CdcError: Redis refuses, or does not answer.
        """
        if not self._left:
            return
        if self._inside:
            await self._step_inside(writer, position)
        else:
            await self._step_keys(writer, position)
        if self._cursor == b"" and not self._inside:
            self._left.pop(0)
            self._cursor = b"0"

    async def _step_keys(self, writer: Writer, position: bytes) -> None:
        ground = self._left[0]
        pattern = escaped(ground.template.literal_prefix) + "*"
        scan = ("SCAN", self._cursor, "MATCH", pattern, "COUNT", str(SCAN_COUNT))
        ((cursor, found),) = await writer.ask(scan)
        keys = [key for key in found if self._may_be_ours(key, ground)]
        if keys and ground.kind is None:
            await self._remove(writer, position, keys, keys, ("UNLINK",))
        elif keys:
            self._inside = await self._of_their_kind(writer, position, keys, ground)
        self._cursor = cursor if cursor != b"0" else b""

    async def _step_inside(self, writer: Writer, position: bytes) -> None:
        """Look at some fields or members of one key."""
        kind, key = self._left[0].kind, self._inside[0]
        scan, remove = _WITHIN[kind or "set"]
        ((cursor, found),) = await writer.ask(
            (scan, key, self._inside_cursor, "COUNT", str(SCAN_COUNT))
        )
        names = found if kind == "set" else found[::2]
        if kind != "hash" and self._partitions > 1:
            # With several partitions a member is its row's key, and one of its partition.
            names = [name for name in names if self._is_in_partition(name)]
        begin = b"\0%b\0%d\0%b" % ((kind or "").encode(), len(key), key)
        entries = [begin + name for name in names]
        if names:
            await self._remove(writer, position, names, entries, (remove, key))
        self._inside_cursor = cursor
        if cursor == b"0":
            self._inside.pop(0)

    async def _remove(
        self,
        writer: Writer,
        position: bytes,
        names: Sequence[bytes],
        entries: Sequence[bytes],
        command: Command,
    ) -> None:
        """Remove those whose entry is not in the set of what is alive."""
        (stays,) = await writer.ask(("SMISMEMBER", self._live_keys, *entries))
        gone = [name for name, is_alive in zip(names, stays, strict=True) if not is_alive]
        if gone:
            await writer.apply([(*command, *gone)], position)
            self.removed += len(gone)

    async def _of_their_kind(
        self, writer: Writer, position: bytes, keys: Sequence[bytes], ground: Ground
    ) -> list[bytes]:
        """Return those of the right type; remove others that no other template may have made."""
        kinds = await writer.ask(*(("TYPE", key) for key in keys))
        wrong = [k for k, kind in zip(keys, kinds, strict=True) if kind.decode() != ground.kind]
        rivals = [other.template for other in self._near if other != ground]
        gone = [key for key in wrong if is_only_of(key.decode(), ground.template, rivals)]
        if gone:
            await writer.apply([("UNLINK", *gone)], position)
            self.removed += len(gone)
        return [key for key in keys if key not in wrong]

    def _may_be_ours(self, raw: bytes, ground: Ground) -> bool:
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            return False
        if is_of_cdc(key):
            return False
        if ground.kind in (None, "hash") and not self._is_in_partition(raw):
            return False
        # A key of several rows is told from other kinds by its TYPE, and from its own by name.
        rivals = [
            other.template
            for other in self._near
            if other != ground and ground.kind in (None, other.kind)
        ]
        return is_only_of(key, ground.template, rivals)

    def _is_in_partition(self, raw: bytes) -> bool:
        return partition_of(raw.decode(errors="replace"), self._partitions) == self._partition
