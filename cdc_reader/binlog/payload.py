"""The events of a compressed transaction (``binlog_transaction_compression``).

Pure.  Source: libs/mysql/binlog/event/codecs/binary.cpp, Transaction_payload_event.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from cdc_reader.binlog.event import (
    EVENT_MAX_BYTES,
    HEADER,
    HEADER_BYTES,
    TABLE_ID_BYTES,
    Event,
    Needs,
    damaged,
    read_lenenc,
)

_UNPACK_BYTES = 1 << 18
_HEAD_BYTES = HEADER_BYTES + TABLE_ID_BYTES
_TORN = "a compressed transaction ends in the middle of an event"


def expand_payload(event: Event, needs: Needs) -> Iterator[Event]:
    """Yield the events of a compressed transaction (event 40).

    They have no checksum and no position of their own: `end_offset` and `size_bytes` are
    the outer event's.  The payload is unpacked as a stream, so that a transaction of any
    size takes the memory of one event, and none of one that is not needed.

    Source: libs/mysql/binlog/event/codecs/binary.cpp, Transaction_payload_event.
    """
    fields: dict[int, int] = {}
    at = event.start
    while at < event.end:
        field, at = read_lenenc(event.buffer, at)
        if field == 0:
            break
        length, at = read_lenenc(event.buffer, at)
        fields[field], _ = read_lenenc(event.buffer, at)
        at += length
    compression = fields.get(2, 0)
    if compression not in (0, 255):
        raise damaged(f"a transaction compressed by unknown algorithm {compression}")
    payload = memoryview(event.buffer)[at : event.end]
    for raw in _split(payload, needs, zstd=compression == 0):
        timestamp_s, kind, server_id, _, _, flags = HEADER.unpack_from(raw)
        place = (event.end_offset, event.size_bytes)
        yield Event(kind, raw, HEADER_BYTES, len(raw), *place, timestamp_s, server_id, flags)


def _split(payload: memoryview, needs: Needs, *, zstd: bool) -> Iterator[bytes]:
    """Yield the events of an unpacked payload one by one.

    Of those that are not whole in one piece and not needed, only the first bytes.
    """
    pieces = _unpacked(payload) if zstd else _pieces(payload)
    held = b""
    for piece in pieces:
        held += piece
        at = 0
        while len(held) - at >= HEADER_BYTES:
            size = int.from_bytes(held[at + 9 : at + 13], "little")
            if size < HEADER_BYTES:
                raise damaged("an event in a compressed transaction is shorter than its header")
            if size > EVENT_MAX_BYTES:
                raise damaged(f"an event of {size} bytes in a compressed transaction")
            if len(held) - at >= size:
                yield held[at : at + size]
                at += size
                continue
            if len(held) - at < _HEAD_BYTES or size <= _UNPACK_BYTES:
                break
            is_needed = needs(held[at + 4], held[at + HEADER_BYTES : at + _HEAD_BYTES])
            raw, held = _long(held[at:], pieces, size, is_needed=is_needed)
            at = 0
            yield raw
        held = held[at:]
    if held:
        raise damaged(_TORN)


def _long(
    begun: bytes, pieces: Iterator[bytes], size: int, *, is_needed: bool
) -> tuple[bytes, bytes]:
    """Return an event that goes over many pieces, or its first bytes, and what comes after it."""
    held = BytesIO()  # gives what it holds without a copy
    held.write(begun if is_needed else begun[:_HEAD_BYTES])
    missing = size - len(begun)
    for piece in pieces:
        if is_needed:
            held.write(memoryview(piece)[:missing])
        missing -= len(piece)
        if missing <= 0:
            return held.getvalue(), piece[len(piece) + missing :]
    raise damaged(_TORN)


def _pieces(payload: memoryview) -> Iterator[bytes]:
    return (bytes(payload[at : at + _UNPACK_BYTES]) for at in range(0, len(payload), _UNPACK_BYTES))


def _unpacked(payload: memoryview) -> Iterator[bytes]:
    import zstandard  # 6 ms to import, and most servers never send a compressed transaction

    try:
        with zstandard.ZstdDecompressor().stream_reader(payload) as reader:
            while piece := reader.read(_UNPACK_BYTES):
                yield piece
    except zstandard.ZstdError as error:
        raise damaged(f"a compressed transaction: {error}") from None
