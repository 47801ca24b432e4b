"""Rows larger than one NATS message: cut into parts, or left out where they are too large.

Pure.  A body that NATS carries goes as it is.  A larger one goes in parts (`cdc.message.RowPart`),
up to a limit; beyond it the row alone is left out: its key is sent without a value, marked
`too_large`.  See docs/adr/0032-large-rows.md.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from cdc.message import (
    PART,
    SNAPSHOT,
    Change,
    Member,
    RowPart,
    Snapshot,
    TooLarge,
    decode_change,
    decode_placed,
    decode_snapshot,
    encode,
)
from cdc.seal import TAIL_BYTES, Seal, mac_of
from cdc_reader.messages.chains import Run

PART_MAX_BYTES = 1 << 20
"""A part is no larger, whatever NATS carries: so much more is held here while a row is sent."""
_COUNTS = 10**9
"""Stands for a part's number, where its length is counted."""


class LargeRow(NamedTuple):
    """A body, without its MAC, that goes in parts."""

    body: bytes
    subject: bytes
    """``mysql.part``, ``mysql.part.2``"""


Left = Callable[[str, list[str], TooLarge], None]
"""Told of what is left out: table, keys, sizes."""


def pieces(
    runs: Sequence[Run], prefix: str, *, max_body_bytes: int, limit_bytes: int, left_out: Left
) -> Iterator[list[Run] | LargeRow]:
    """Yield runs of bodies that NATS carries, and between them the bodies that go in parts.

    Args:
        max_body_bytes: what NATS carries.
        limit_bytes: larger bodies are left out.
    """
    if all(_largest(run) <= min(max_body_bytes, limit_bytes) for run in runs):
        yield list(runs)
        return
    waiting: list[Run] = []
    for run in runs:
        bodies, begin = list(run.bodies), 0
        for n, body in enumerate(bodies):
            if (size_bytes := len(body) + TAIL_BYTES) > limit_bytes:
                too_large = TooLarge(size_bytes=size_bytes, limit_bytes=limit_bytes)
                bodies[n], keys = without_row(body, run.op, too_large)
                left_out(run.table, keys, too_large)
            elif size_bytes > max_body_bytes:
                if n > begin:
                    waiting.append(_some(run, bodies, begin, n))
                if waiting:
                    yield waiting
                    waiting = []
                yield LargeRow(body, _part_subject(run, n, prefix))
                begin = n + 1
        if begin < len(bodies):
            waiting.append(_some(run, bodies, begin, len(bodies)))
    if waiting:
        yield waiting


def _largest(run: Run) -> int:
    return max(map(len, run.bodies), default=0) + TAIL_BYTES


def _some(run: Run, bodies: list[bytes], begin: int, end: int) -> Run:
    addresses = run.addresses[begin:end] if run.addresses is not None else None
    return run._replace(bodies=bodies[begin:end], addresses=addresses)


def _part_subject(run: Run, n: int, prefix: str) -> bytes:
    subject = f"{prefix}.{PART}".encode()
    if run.addresses is None:
        return subject
    return subject + b"." + run.addresses[n].rpartition(b".")[2]


def parts_of(body: bytes, seal: Seal, max_body_bytes: int) -> Iterator[bytes]:
    """Yield the parts of a body, with their MACs, each when it is needed.

    Args:
        body: without its MAC.
    """
    placed = decode_placed(body)
    whole = seal.sealed(body)
    assert placed.op != "schema" and placed.op != "part"  # noqa: PT018 - narrows its type
    part = RowPart(
        of=placed.op,
        table=placed.table,
        gtid=placed.gtid,
        id=placed.id,
        prev=placed.prev,
        part=_COUNTS,
        parts=_COUNTS,
        whole=mac_of(whole),
        slice="",
    )
    room_bytes = min(max_body_bytes, PART_MAX_BYTES) - len(encode(part)) - TAIL_BYTES
    slice_bytes = max(3, room_bytes // 4 * 3)
    count = -(-len(whole) // slice_bytes)
    for n in range(count):
        piece = memoryview(whole)[n * slice_bytes : (n + 1) * slice_bytes]
        text = base64.b64encode(piece).decode()
        some = msgspec.structs.replace(part, part=n + 1, parts=count, slice=text)
        yield seal.sealed(encode(some))


def within(op: str, body: bytes, limit_bytes: int) -> bytes:
    """Return a body, or what is sent in its place where it is too large."""
    if (size_bytes := len(body) + TAIL_BYTES) <= limit_bytes:
        return body
    return without_row(body, op, TooLarge(size_bytes=size_bytes, limit_bytes=limit_bytes))[0]


def without_row(body: bytes, op: str, too_large: TooLarge) -> tuple[bytes, list[str]]:
    """Return a message that removes a row's key in place of one that writes it, and its keys.

    Entries in indexes go with it: the row has them no more.
    """
    if op == SNAPSHOT:
        snapshot = decode_snapshot(body)
        # The row that makes it so large is alone in its message: see `chains.packed`.
        rows = tuple(
            msgspec.structs.replace(row, value=None, index=None, too_large=too_large)
            for row in snapshot.rows
        )
        message: Change | Snapshot = msgspec.structs.replace(snapshot, rows=rows)
        return encode(message), [row.key for row in rows]
    change = decode_change(body)
    entries = (*map(_without_score, change.index or ()), *(change.old_index or ()))
    message = msgspec.structs.replace(
        change, value=None, index=None, old_index=entries or None, too_large=too_large
    )
    return encode(message), [change.key]


def _without_score(entry: Member) -> Member:
    return msgspec.structs.replace(entry, score=None)
