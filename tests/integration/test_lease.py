"""Leases on a real NATS: one owner, expiry in spite of renewal, and what all see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cdc.demo.servers import Nats
from cdc.errors import StreamError, UnavailableError
from cdc.jetstream.stream import api, close, connect
from redis_sink.partitions import lease as lease_module
from redis_sink.partitions.lease import Leases
from tests.support.sinking import LOG, in_a_loop, until


@asynccontextmanager
async def two_sinks(nats: Nats, pipeline: str) -> AsyncIterator[tuple[Leases, Leases]]:
    """Give the leases of a pipeline as two sinks see them."""
    nc = await connect(nats.url, name="test", inbox_prefix="_INBOX_sink", log=LOG)
    try:
        one, two = (
            Leases(nc, pipeline=pipeline, replicas=1, owner=owner) for owner in ("one", "two")
        )
        await asyncio.gather(one.declare(), two.declare())
        yield one, two
    finally:
        await close(nc)


@in_a_loop
async def test_a_partition_has_one_owner(nats: Nats) -> None:
    """Who comes second gets nothing, whether it has seen the first or not."""
    async with two_sinks(nats, "ONE") as (one, two):
        assert await one.take(0, held=False)
        assert await two.take(0, held=False) is None
        assert await two.take(0, held=True) is None
        assert await two.take(1, held=False)
        assert (await one.look()).held == {0, 1}


@in_a_loop
async def test_a_lease_that_is_given_back_is_free_at_once(nats: Nats) -> None:
    """Nobody waits for it to expire; the one before cannot renew it."""
    async with two_sinks(nats, "BACK") as (one, two):
        lease = await one.take(0, held=False)
        assert lease
        await lease.release()
        assert await two.take(0, held=True)
        assert not await lease.renew()
        await lease.release()
        assert await one.take(0, held=True) is None


@in_a_loop
async def test_a_renewed_lease_expires_all_the_same(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each renewal gives it the same time to live anew, and not for ever."""
    monkeypatch.setattr(lease_module, "TTL_S", 2)
    async with two_sinks(nats, "EXPIRES") as (one, two):
        lease = await one.take(0, held=False)
        assert lease
        await one.be_seen()
        for _ in range(3):
            assert await lease.renew()

        async def is_free() -> bool:
            return await two.take(0, held=False) is not None

        await until("the lease to expire", is_free, 8)
        assert not await lease.renew()
        board = await two.look()
        assert (board.live, sorted(board.held)) == (0, [0])


@in_a_loop
async def test_a_renewal_whose_answer_was_lost_is_found(nats: Nats) -> None:
    """It came through: the lease is this sink's, whatever sequence it remembers."""
    async with two_sinks(nats, "LOST") as (one, _):
        lease = await one.take(0, held=False)
        assert lease
        assert await one.put(0, lease.sequence, ttl_s=lease_module.TTL_S)
        assert await lease.renew()
        assert await lease.renew()


@in_a_loop
async def test_who_lives_is_seen_by_all(nats: Nats) -> None:
    """And who leaves is not counted any more, a second later."""
    async with two_sinks(nats, "LIVE") as (one, two):
        await one.be_seen()
        await two.be_seen()
        assert (await one.look()).live == 2
        await two.leave()

        async def is_alone() -> bool:
            return (await one.look()).live == 1

        await until("the other to be gone", is_alone, 5)


@in_a_loop
async def test_a_bucket_without_expiry_is_refused(nats: Nats) -> None:
    """A lease of a dead sink would stay for ever."""
    async with two_sinks(nats, "MADE") as (one, _):
        config = {"name": "KV_cdc_OLD", "subjects": ["$KV.cdc_OLD.>"]}
        await api(one._nc, "STREAM.CREATE.KV_cdc_OLD", config)
        old = Leases(one._nc, pipeline="OLD", replicas=1, owner="one")
        with pytest.raises(StreamError, match="expire"):
            await old.declare()


@in_a_loop
async def test_a_bucket_that_was_removed_is_made_again(nats: Nats) -> None:
    """Sinks wait a moment and declare it; all is free then, and one of two owners is left."""
    async with two_sinks(nats, "GONE") as (one, two):
        lease = await one.take(0, held=False)
        assert lease
        await api(one._nc, "STREAM.DELETE.KV_cdc_GONE")
        with pytest.raises(UnavailableError):
            await one.look()
        with pytest.raises(UnavailableError):
            await lease.renew()
        await one.declare()
        other = await two.take(0, held=False)
        assert other
        assert sorted([await lease.renew(), await other.renew()]) == [False, True]
