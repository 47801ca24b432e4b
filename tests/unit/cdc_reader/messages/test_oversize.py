"""What is reported of a message that is larger than NATS carries."""

from __future__ import annotations

import pytest

from cdc.errors import PositionLostError, StreamError
from cdc.message import Change, Snapshot, SnapshotRow, encode
from cdc_reader.messages.chains import Run
from cdc_reader.messages.oversize import boundary_too_large, row_too_large

MIB = 1 << 20


def change(key: str, size: int) -> bytes:
    """Return a change with a value of this many bytes."""
    return encode(
        Change(key=key, value="x" * size, op="insert", table="shop.t", id="1", prev="", ts=1)
    )


def snapshot(**sizes: int) -> bytes:
    """Return rows of a snapshot by key."""
    rows = tuple(SnapshotRow(key=key, value="y" * size) for key, size in sizes.items())
    return encode(Snapshot(rows=rows, table="shop.t", id="1.2.3.0.1", prev="", ts=1))


@pytest.mark.parametrize(
    ("bodies", "key"),
    [
        ([change("small", 1), change("large", 2 * MIB), change("last", 3)], "'large'"),
        ([snapshot(a=1, b=2 * MIB, c=5)], "'b'"),
        ([b'{"statement":"' + b"z" * 2 * MIB + b'"}'], "'(a schema change)'"),
    ],
)
def test_the_row_that_is_too_large_is_named_by_its_key(bodies: list[bytes], key: str) -> None:
    """The largest of a run, and of a snapshot its largest row; never a value."""
    error = row_too_large(Run("insert", "shop.t", bodies), max_payload=MIB)

    assert PositionLostError is type(error)
    assert f"{key} of shop.t" in error.seen
    assert f"{max(map(len, bodies)):,} bytes" in error.seen
    assert len(error.text()) < 1000


@pytest.mark.parametrize(
    ("size_bytes", "wanted"),
    [
        (10, 2),
        (MIB, 2),
        (2 * MIB - 513, 2),
        (2 * MIB - 512, 4),
        (2 * MIB, 4),
        (5 * MIB, 8),
        (40 * MIB, 64),
    ],
)
def test_the_payload_that_is_asked_for_holds_the_message_and_its_headers(
    size_bytes: int, wanted: int
) -> None:
    """A power of two of mebibytes, more than the message and 512 bytes."""
    boundary = boundary_too_large(b"mysql.heartbeat", b"x" * size_bytes, max_payload=MIB)
    row = row_too_large(Run("insert", "t", [b"x" * size_bytes]), max_payload=MIB)

    assert StreamError is type(boundary)
    assert f"max_payload: {wanted}MB" in boundary.fix
    assert f"max_payload: {wanted}MB" in row.fix
    assert wanted * MIB > size_bytes + 512
    assert "mysql.heartbeat" in boundary.seen
