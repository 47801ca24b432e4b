"""Which partitions this sink applies, from its first look at the others to its last.

Every second: renew what is held, see how many sinks live, give up what is too much, try
for what is free.  Each partition has its own loop and connections;
what goes wrong there is that loop's.  See docs/adr/0008-partitions.md.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

from cdc.errors import CdcError, PermissionDenied
from cdc.jetstream.stream import close, connect
from cdc.process.role import DRAIN_S as ROLE_DRAIN_S
from cdc.settings import Settings
from cdc.telemetry import Log
from redis_sink.partitions.backoff import Backoff
from redis_sink.partitions.lease import RENEW_S, Lease, Leases, new_owner
from redis_sink.partitions.share import candidates, fair_share, surplus

TICK_S = 1.0
DRAIN_S = ROLE_DRAIN_S - 2
"""What hangs is given up before the process is; the rest is for giving back the leases."""


class Follower(Protocol):
    """What follows one partition."""

    async def follow_for_ever(self) -> None:
        """Follow it until told to stop."""

    def wake(self) -> None:
        """Wake it, so that it notices `stop`."""


Begin = Callable[[int, asyncio.Event], Follower]
"""Makes the follower of a partition, which stops when the event is set."""


async def share_partitions(
    settings: Settings, begin: Begin, *, stop: asyncio.Event, log: Log
) -> None:
    """Follow a fair share of the partitions until `stop` is set; then give them back.

    Raises:
        CdcError: of a follower that cannot continue, or of the leases.
    """
    sharing = _Sharing(settings, begin, stop, log)
    try:
        await sharing.share_for_ever()
    finally:
        await sharing.end(sharing.following)


class _Following:
    """One partition that this sink follows, and its lease."""

    def __init__(self, lease: Lease, begin: Begin) -> None:
        self.lease = lease
        self.told = asyncio.Event()
        self.follower = begin(lease.partition, self.told)
        self.task = asyncio.create_task(self.follower.follow_for_ever())

    def tell(self) -> None:
        """Tell it to finish what is in flight and end."""
        self.told.set()
        self.follower.wake()


class _Sharing:
    """The partitions of one sink."""

    def __init__(self, settings: Settings, begin: Begin, stop: asyncio.Event, log: Log) -> None:
        self._settings, self._begin, self._stop, self._log = settings, begin, stop, log
        self._owner = new_owner()
        self._at = random.randrange(settings.partitions)
        self._seen_s = -RENEW_S
        self.following: dict[int, _Following] = {}

    async def share_for_ever(self) -> None:
        """Share until `stop`, resuming after every lost connection."""
        waiting = Backoff(self._stop, self._log)
        while not self._stop.is_set():
            try:
                async with self._leases() as leases:
                    await self._share(leases, waiting)
            except CdcError as error:
                if error.heals_by_waiting:
                    await self._end_expired()
                else:
                    # A follower's own refusal ends the sink, as with one partition.
                    self._raise_failed()
                    if not (self.following and isinstance(error, PermissionDenied)):
                        raise
                await waiting.after_error(error, "leases: ")

    @asynccontextmanager
    async def _leases(self) -> AsyncIterator[Leases]:
        settings = self._settings
        name = f"cdc-sink-{settings.pipeline}-leases"
        nc = await connect(settings.nats, name=name, inbox_prefix="_INBOX_sink", log=self._log)
        try:
            leases = Leases(
                nc,
                pipeline=settings.pipeline,
                replicas=settings.stream_replicas,
                owner=self._owner,
            )
            await leases.declare()
            yield leases
        finally:
            await close(nc)

    async def _share(self, leases: Leases, waiting: Backoff) -> None:
        for following in self.following.values():
            following.lease.leases = leases
        while not self._stop.is_set():
            await self._tick(leases)
            waiting.over()
            await self._pause()
        held = [following.lease for following in self.following.values()]
        await self.end(self.following)
        await asyncio.gather(*(lease.release() for lease in held))
        await leases.leave()

    async def _tick(self, leases: Leases) -> None:
        await self._renew(leases)
        board = await leases.look()
        share = fair_share(self._settings.partitions, board.live)
        if too_many := surplus(self.following, share):
            held = [self.following[n].lease for n in too_many]
            self._log.info("partitions handed over", partitions=_listed(too_many), sinks=board.live)
            await self.end(too_many)
            await asyncio.gather(*(lease.release() for lease in held))
        for n in candidates(self.following, self._settings.partitions, board.held, self._at):
            if len(self.following) >= share or self._stop.is_set():
                break
            if lease := await leases.take(n, held=n in board.held):
                self._log.info("partition taken", partition=n, sinks=board.live)
                self.following[n] = _Following(lease, self._begin)

    async def _renew(self, leases: Leases) -> None:
        now_s = time.monotonic()
        if now_s - self._seen_s >= RENEW_S:
            await leases.be_seen()
            self._seen_s = now_s
        due = [f for f in self.following.values() if now_s - f.lease.renewed_s >= RENEW_S]
        kept = await asyncio.gather(*(following.lease.renew() for following in due))
        lost = [f.lease.partition for f, is_kept in zip(due, kept, strict=True) if not is_kept]
        if lost:
            self._log.warning("another sink took partitions over", partitions=_listed(lost))
            await self.end(lost)

    async def _end_expired(self) -> None:
        """Stop following what another sink may follow by now."""
        now_s = time.monotonic()
        await self.end([n for n, f in self.following.items() if f.lease.valid_until_s < now_s])
        self._raise_failed()

    async def _pause(self) -> None:
        """Wait for the next tick, `stop`, or a follower that ends."""
        stopping = asyncio.create_task(self._stop.wait())
        tasks = [following.task for following in self.following.values()]
        await asyncio.wait((stopping, *tasks), timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self._raise_failed()

    def _raise_failed(self) -> None:
        for following in self.following.values():
            if following.task.done():
                following.task.result()

    async def end(self, partitions: Iterable[int]) -> None:
        """Stop following; what is in flight is finished."""
        ending = [self.following.pop(n) for n in list(partitions)]
        if not ending:
            return
        for following in ending:
            following.tell()
        tasks = [following.task for following in ending]
        await asyncio.wait(tasks, timeout=DRAIN_S)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, asyncio.CancelledError):
                raise result


def _listed(partitions: Iterable[int]) -> str:
    return " ".join(map(str, partitions))
