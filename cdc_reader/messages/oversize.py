"""Report of a boundary that is larger than NATS carries.

Pure.
"""

from __future__ import annotations

from cdc.errors import StreamError

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


def _next_mib(size_bytes: int) -> int:
    return max(2, 1 << (size_bytes // (1 << 20)).bit_length())
