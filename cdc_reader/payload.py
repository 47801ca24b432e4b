"""A compressed transaction of MySQL, unpacked to its events.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from cdc_reader.event import (
    EVENT_MAX_BYTES,
    HEADER_BYTES,
    Event,
    damaged,
    parse_event,
    read_lenenc,
)


def expand_payload(event: Event) -> Iterator[Event]:
    """Yield the events of a compressed transaction (event 40).

    They have no checksum and no place of their own: `end_offset` and `size_bytes` are
    the outer event's.  The payload is unpacked as a stream, so that a transaction of any
    size takes the memory of one event.

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
    for raw in _split(payload, zstd=compression == 0):
        inner = parse_event(raw, 0, len(raw), checksum=False)
        yield inner._replace(end_offset=event.end_offset, size_bytes=event.size_bytes)


_UNPACK_BYTES = 1 << 18


def _split(payload: memoryview, *, zstd: bool) -> Iterator[bytes]:
    """Yield the events of an unpacked payload one by one."""
    pieces = _unpacked(payload) if zstd else iter((bytes(payload),))
    held = bytearray()
    for piece in pieces:
        held += piece
        at = 0
        while len(held) - at >= HEADER_BYTES:
            size = int.from_bytes(held[at + 9 : at + 13], "little")
            if size < HEADER_BYTES:
                raise damaged("an event in a compressed transaction is shorter than its header")
            if size > EVENT_MAX_BYTES:
                raise damaged(f"an event of {size} bytes in a compressed transaction")
            if len(held) - at < size:
                break
            yield bytes(held[at : at + size])
            at += size
        del held[:at]
    if held:
        raise damaged("a compressed transaction ends in the middle of an event")


def _unpacked(payload: memoryview) -> Iterator[bytes]:
    import zstandard  # 6 ms to import, and most servers never send a compressed transaction

    try:
        with zstandard.ZstdDecompressor().stream_reader(payload) as reader:
            while piece := reader.read(_UNPACK_BYTES):
                yield piece
    except zstandard.ZstdError as error:
        raise damaged(f"a compressed transaction: {error}") from None
