"""Report of a message that is larger than NATS carries.

Pure.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from cdc.errors import PositionLostError, StreamError
from cdc.message import decode_change, decode_snapshot
from cdc_reader.messages.chains import Run

HEADERS_BYTES = 512
"""The server counts headers in; ours never take as many."""


def boundary_too_large(subject: bytes, body: bytes, *, max_payload: int) -> StreamError:
    """Return the error of a heartbeat, an announcement or a list."""
    return StreamError(
        f"a message on {subject.decode()} has {len(body):,} bytes; NATS carries "
        f"{max_payload - HEADERS_BYTES:,} (max_payload {max_payload:,})",
        safe="all changes before it were published; nothing was skipped",
        fix="in nats-server.conf: max_payload: "
        f"{_next_mib(len(body) + HEADERS_BYTES)}MB, then start cdc again",
    )


def row_too_large(run: Run, *, max_payload: int) -> PositionLostError:
    """Return the error of the largest message of a run."""
    body = max(run.bodies, key=len)
    key = _key_in(body)
    return PositionLostError(
        f"the message for {key!r} of {run.table} has {len(body):,} bytes; NATS carries "
        f"{max_payload - HEADERS_BYTES:,} (max_payload {max_payload:,})",
        safe="all changes before it were published; nothing was skipped",
        fix="in nats-server.conf: max_payload: "
        f"{_next_mib(len(body) + HEADERS_BYTES)}MB, then start cdc again; "
        "or leave large columns out with --value COLUMN",
        table=run.table,
    )


def _key_in(body: bytes) -> str:
    with suppress(msgspec.DecodeError):
        return decode_change(body).key
    with suppress(msgspec.DecodeError):
        # The one row that makes it so large: rows are combined only up to a far smaller size.
        return max(decode_snapshot(body).rows, key=lambda row: len(row.value or "")).key
    return "(a schema change)"


def _next_mib(size_bytes: int) -> int:
    return max(2, 1 << (size_bytes // (1 << 20)).bit_length())
