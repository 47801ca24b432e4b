"""What a sink that shares partitions does with the loops that follow them."""

from __future__ import annotations

import asyncio

import pytest

from cdc.demo.servers import Nats
from cdc.errors import CdcError, PermissionDenied, PositionLostError
from cdc.settings import Settings
from cdc.url import parse_url
from redis_sink.partitions.owner import share_partitions
from tests.support.sinking import LOG, in_a_loop, until


class Loop:
    """Stands for the loop of one partition: steady, or ending with an error."""

    def __init__(self, told: asyncio.Event, error: CdcError | None) -> None:
        self.told, self.error, self.drained = told, error, False

    async def follow_for_ever(self) -> None:
        """Follow until told, or refuse."""
        if self.error is not None:
            raise self.error
        await self.told.wait()
        self.drained = True

    def wake(self) -> None:
        """Nothing waits but for the event."""


def settings_for(nats: Nats, pipeline: str) -> Settings:
    return Settings(nats=parse_url(nats.url, ("nats",)), pipeline=pipeline, partitions=3)


@in_a_loop
async def test_all_partitions_are_followed_and_drained(nats: Nats) -> None:
    """A sink alone takes them all; told to stop, each finishes and the next sink need not wait."""
    for _ in range(2):
        stop, loops = asyncio.Event(), dict[int, Loop]()

        def begin(partition: int, told: asyncio.Event, loops: dict[int, Loop] = loops) -> Loop:
            loops[partition] = Loop(told, None)
            return loops[partition]

        settings = settings_for(nats, "DRAINED")
        sharing = asyncio.create_task(share_partitions(settings, begin, stop=stop, log=LOG))
        await until("all three", lambda loops=loops: len(loops) == 3, 8)  # type: ignore[misc]
        stop.set()
        await asyncio.wait_for(sharing, 5)
        assert all(loop.drained for loop in loops.values())


@pytest.mark.parametrize("kind", [PermissionDenied, PositionLostError])
@in_a_loop
async def test_a_loop_that_cannot_go_on_ends_the_sink(nats: Nats, kind: type[CdcError]) -> None:
    """With its own error, whatever the others do; they are drained first."""
    loops: dict[int, Loop] = {}

    def begin(partition: int, told: asyncio.Event) -> Loop:
        error = kind("no") if partition == 1 else None
        loops[partition] = Loop(told, error)
        return loops[partition]

    settings = settings_for(nats, kind.__name__)
    with pytest.raises(kind, match="no"):
        async with asyncio.timeout(10):
            await share_partitions(settings, begin, stop=asyncio.Event(), log=LOG)
    assert all(loop.drained for loop in loops.values() if loop.error is None)
