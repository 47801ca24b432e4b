"""What is reported of a boundary that is larger than NATS carries."""

from __future__ import annotations

import pytest

from cdc.errors import StreamError
from cdc_reader.messages.oversize import boundary_too_large

MIB = 1 << 20


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

    assert StreamError is type(boundary)
    assert f"max_payload: {wanted}MB" in boundary.fix
    assert wanted * MIB > size_bytes + 512
    assert "mysql.heartbeat" in boundary.seen
