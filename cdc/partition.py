"""Which partition a key belongs to, and the subjects of a stream that has several.

Pure.  With one partition, subjects are ``mysql.update``; with N, ``mysql.update.<n>``, and
every message of one key is in one partition, so that each can be applied on its own
(docs/adr/0008-partitions.md).  Heartbeats and barriers are for all and keep their subjects.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from cdc.errors import StreamError
from cdc.message import (
    HEARTBEAT,
    OPERATIONS,
    PART,
    REFRESH,
    SCHEMA,
    SNAPSHOT,
    Heartbeat,
    subject_for,
)


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a Redis key: CRC-32 (of zip, gzip) of its UTF-8, modulo N.

    >>> partition_of("users:42", 4)
    2
    """
    return zlib.crc32(key.encode()) % partitions


def row_subject(prefix: str, op: str, partition: int, partitions: int) -> str:
    """Return the subject of a row's message.

    >>> row_subject("mysql", "update", 2, 4)
    'mysql.update.2'
    >>> row_subject("mysql", "update", 0, 1)
    'mysql.update'
    """
    subject = subject_for(prefix, op)
    return f"{subject}.{partition}" if partitions > 1 else subject


def row_subjects(prefix: str, partitions: int) -> Iterator[tuple[int, str]]:
    """Yield partition and subject of all that a reader publishes rows on."""
    for partition in range(partitions):
        for op in (*OPERATIONS, SNAPSHOT, PART):
            yield partition, row_subject(prefix, op, partition, partitions)


def is_row_subject(prefix: str, op: str, subject: str) -> bool:
    """Return whether rows of an operation are published there, whatever the number of partitions.

    >>> is_row_subject("mysql", "update", "mysql.update.12")
    True
    """
    whole = subject_for(prefix, op)
    dot, number = subject[len(whole) :][:1], subject[len(whole) + 1 :]
    if not subject.startswith(whole):
        return False
    return not dot or (dot == "." and number.isascii() and number.isdigit())


def filters(prefix: str, partition: int, partitions: int) -> tuple[str, ...]:
    """Return the subjects that the sink of one partition consumes; empty: all of the stream.

    An application's bare messages come on ``mysql.update`` and belong to their key's partition.
    """
    if partitions == 1:
        return ()
    return (
        f"{prefix}.*.{partition}",
        subject_for(prefix, "update"),
        subject_for(prefix, SCHEMA),
        subject_for(prefix, HEARTBEAT),
        subject_for(prefix, REFRESH),
    )


def check_partitions(heartbeat: Heartbeat | None, partitions: int, stream: str) -> None:
    """Make sure that the stream has as many partitions as the settings say.

    Args:
        heartbeat: the stream's newest; None: there is nothing of ours.

    Raises:
        StreamError: it has another number, so keys would change their place in the order.
    """
    if heartbeat is None or heartbeat.partitions == partitions:
        return
    raise StreamError(
        f"the stream {stream} has partitions = {heartbeat.partitions}, the settings have "
        f"{partitions}",
        safe="nothing was published, nothing written",
        fix=f"run with --partitions {heartbeat.partitions}; or begin a new stream with the "
        "number you want:\nstop cdc, name another --stream, --subject-prefix and --pipeline, and "
        "start with --adopt",
    )
