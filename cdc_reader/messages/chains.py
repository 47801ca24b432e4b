"""Runs of messages, and the chains of a stream with several partitions.

Pure.  Each partition has a chain of its own: ``prev`` is the id of the message before it
there.  Ids grow through all of them, so that one id tells what a restart has to skip
(docs/adr/0008-partitions.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from cdc.message import SNAPSHOT
from cdc.partition import partition_of

WHOLE = -1
"""No row is half published."""


class Run(NamedTuple):
    """Messages of one operation on one table, in order."""

    op: str
    table: str
    bodies: list[bytes]
    addresses: list[bytes] | None = None
    """Of each body, ``b"update.2"``, where there are several partitions: a key that leaves
    its partition is deleted there in the middle of updates.  None: all on `op`."""
    snapshot_rows: int = 0
    """Rows in the bodies of a snapshot; every other body is one."""

    @property
    def rows(self) -> int:
        """How many rows the bodies carry."""
        return self.snapshot_rows or len(self.bodies)


@dataclass(slots=True)
class Chains:
    """The end of each chain, and where the messages of the current run go."""

    last_of: list[str]
    """`id` of the newest message of each partition."""
    half: int = WHOLE
    """Row of the event whose message is in the stream, perhaps without the delete after it."""

    @property
    def partitions(self) -> int:
        """How many there are."""
        return len(self.last_of)

    def barrier(self, id: str) -> None:
        """Put a message at the end of every chain."""
        self.last_of[:] = [id] * len(self.last_of)


SNAPSHOT_MESSAGE_BYTES = 32 << 10
"""At this many bytes of rows a message is full: what NATS takes for one is spread over a
hundred rows, and its smallest limit is far (docs/adr/0006-snapshot-in-line.md)."""


class _Keyed(msgspec.Struct):
    key: str


_decode_keyed = msgspec.json.Decoder(_Keyed).decode


def packed(rows: Sequence[bytes], partitions: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield partition and rows of each message of a snapshot.

    Args:
        rows: ``{"key":"users:7","value":"…"}`` each.
    """
    waiting: list[list[bytes]] = [[] for _ in range(partitions)]
    sizes_bytes = [0] * partitions
    for row in rows:
        n = partition_of(_decode_keyed(row).key, partitions) if partitions > 1 else 0
        if len(row) >= SNAPSHOT_MESSAGE_BYTES and waiting[n]:
            # Only this row: it may be as large as NATS takes.
            yield n, waiting[n]
            waiting[n], sizes_bytes[n] = [], 0
        waiting[n].append(row)
        sizes_bytes[n] += len(row)
        if sizes_bytes[n] >= SNAPSHOT_MESSAGE_BYTES:
            yield n, waiting[n]
            waiting[n], sizes_bytes[n] = [], 0
    yield from ((n, some) for n, some in enumerate(waiting) if some)


def snapshot_run(
    table: str,
    rows: Sequence[bytes],
    *,
    read_us: int,
    last: str,
    before: tuple[int, ...],
    chains: Chains | None,
) -> tuple[Run, str]:
    """Return messages with rows of the snapshot, in line after the newest message, and the last id.

    Their ids are that of the message before them with one more counter, from `read_us` on: after
    NATS lost its end, rows that are read again never get an id that was applied.

    Args:
        rows: ``{"key":"users:7","value":"…"}`` each, as of `SelectCodec.rows`.
        read_us: when they were read, in microseconds since 1970.
        last: `id` of the newest message; empty: none.
        before: the same as numbers; of the boundary, where there is no message.
        chains: moved to the last message of each partition; None with one.
    """
    counter = max(read_us - 1, before[4] if len(before) == 5 else 0)
    prefix = ".".join(map(str, before[:4]))
    run = Run(SNAPSHOT, table, [], [] if chains else None, len(rows))
    about = b'],"op":"snapshot","table":%b,"id":"' % msgspec.json.encode(table)
    for partition, some in packed(rows, chains.partitions if chains else 1):
        counter += 1
        prev = chains.last_of[partition] if chains else last
        last = f"{prefix}.{counter}"
        end = f'{last}","prev":"{prev}","ts":{read_us},"v":1}}'.encode()
        run.bodies.append(b'{"rows":[' + b",".join(some) + about + end)
        if chains and run.addresses is not None:
            chains.last_of[partition] = last
            run.addresses.append(f"{SNAPSHOT}.{partition}".encode())
    return run, last


def cut(held: int, bodies: list[bytes], addresses: list[bytes] | None) -> None:
    """Take messages back that were made after the first `held`."""
    del bodies[held:]
    if addresses is not None:
        del addresses[held:]
