"""``python -m tests.support.sink_process NATS_URL REDIS_URL NAME``: a sink to be killed."""

from __future__ import annotations

import asyncio
import signal
import sys

from cdc.settings import Settings
from cdc.url import parse_url
from redis_sink import sink
from tests.support.planned import a_table
from tests.support.sinking import LOG, Counts


async def main(nats: str, redis: str, name: str) -> None:
    """Run until SIGTERM."""
    settings = Settings(
        nats=parse_url(nats, ("nats",)),
        redis=parse_url(redis, ("redis",)),
        stream=name,
        subject_prefix=name.lower(),
        pipeline=name.lower(),
        batch_max_messages=50,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await sink.run(settings, (a_table(),), stop=stop, log=LOG, meter=Counts())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
