"""What it means that NATS acknowledges no message."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from cdc.errors import CdcError, UnavailableError
from cdc.jetstream.stream import stream_state

ANSWER_S = 2.0


async def unacknowledged(nc: Client, stream: str, seen: str) -> UnavailableError:
    """Return the error for it: a server that cannot write to its disk gives no answer.

    nats-server 2.15 stores nothing more in the stream then until it is started again, whatever
    room there is.

    Args:
        stream: one that may be asked about.
        seen: ``NATS did not acknowledge 12 messages in 10 s``
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            await stream_state(nc, stream)
    except (CdcError, TimeoutError):
        return UnavailableError(seen)
    return UnavailableError(
        f"{seen}, though it answers: its disk is full or fails, as a rule (no space left on "
        "device, in the log of nats-server); make room, then restart nats-server",
    )
