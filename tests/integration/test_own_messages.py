"""Our newest messages are found before any number of others, and no other counts as one."""

from __future__ import annotations

import asyncio

from cdc.jetstream.own_messages import OwnMessages
from cdc.jetstream.stream import api, close, connect, stream_config, stream_state, write_block
from cdc.message import encode
from cdc.seal import UNSEALED
from cdc.settings import Settings
from cdc.url import parse_url
from cdc_reader.resume.stream_end import end_running_batch, read_tail
from tests.conftest import NewNats
from tests.integration.test_publisher import LOG, attempt, change, heartbeat, run_of
from tests.support.forger import AHEAD, LOGINS, REST, forged, publish
from tests.support.sinking import in_a_loop

FLOOD = 200_000
"""Far above what it takes, far below what single requests would take."""
BARE = b'{"key":"users:1","value":"by hand"}'


def flood(count: int) -> list[tuple[str, bytes]]:
    """Return bare messages and messages far ahead, in turn."""
    ahead = AHEAD % (b"update", REST)
    return [("mysql.update", ahead if n % 2 else BARE) for n in range(count)]


def test_the_end_is_found_behind_any_number_of_foreign_messages(new_nats: NewNats) -> None:
    """The newest of ours is found, however many others follow it."""
    server = new_nats(LOGINS)

    async def ours(first: int, last: int) -> None:
        async with attempt(server) as here:
            assert here.last == first - 1
            await here.publisher.send(run_of(first, last))
            await here.publisher.settle()

    asyncio.run(ours(1, 300))
    sent = publish(server, "app", flood(FLOOD))
    asyncio.run(ours(301, 310))

    assert sent > FLOOD


def test_no_forged_message_counts_as_the_end(new_nats: NewNats) -> None:
    """With any content at any sequence: the end, the boundary, the epoch stay ours."""
    server = new_nats(LOGINS)

    async def tail_behind(messages: list[tuple[str, bytes]]) -> None:
        async with attempt(server) as here:
            await here.publisher.send(run_of(here.last + 1, here.last + 3))
            await here.publisher.settle()
            await asyncio.to_thread(publish, server, "loud", messages)
            tail = await read_tail(here.nc, "MYSQL", "mysql")
            assert tail.heartbeat is not None
            assert (tail.heartbeat.epoch, tail.last) == (1, f"1.1.{here.last + 3}.0")
            state = await stream_state(here.nc, "MYSQL")
            own = OwnMessages(here.nc, "MYSQL", "mysql", state.seal)
            assert await own.newest_refresh() is None
            await here.publisher.send(run_of(here.last + 4, here.last + 6))
            await here.publisher.settle()

    for message in forged(b"s"):
        asyncio.run(tail_behind([message]))
    asyncio.run(tail_behind(forged(b"s") * 100))


def test_a_copy_of_our_own_message_is_behind_the_true_one(new_nats: NewNats) -> None:
    """Who may read can repeat what is there: the same end, and nothing is sent again."""
    server = new_nats(LOGINS)

    async def scenario() -> None:
        async with attempt(server) as here:
            await here.publisher.send(run_of(1, 20))
            await here.publisher.settle()
            state = await stream_state(here.nc, "MYSQL")
            own = OwnMessages(here.nc, "MYSQL", "mysql", state.seal)
            copied = [stored async for stored in own.backwards(state.last_seq)]
            rows = [(m.subject, m.data) for m in copied if m.subject == "mysql.update"]
            assert len(rows) == 20
            await asyncio.to_thread(publish, server, "app", rows)
            tail = await read_tail(here.nc, "MYSQL", "mysql")
            assert tail.last == "1.1.20.0"

    asyncio.run(scenario())


def test_a_batch_is_ended_behind_foreign_messages(new_nats: NewNats) -> None:
    """The batch that runs is found, not one that a foreign message claims to have begun."""
    server = new_nats(LOGINS)

    async def scenario() -> None:
        async with attempt(server) as here:
            await here.publisher.send(run_of(1, 20))
            await here.publisher.settle()
            claimed = b"HPUB mysql.update %d %d\r\n%b%b\r\n"
            head = b"NATS/1.0\r\nNats-Expected-Last-Sequence: %d\r\nCdc-Batch: x\r\n\r\n"
            head %= here.publisher.sequence
            await write_block(here.nc, claimed % (len(head), len(head) + len(BARE), head, BARE))
            await here.nc.flush()
            await asyncio.to_thread(publish, server, "app", flood(3000))
            state = await stream_state(here.nc, "MYSQL")
            own = OwnMessages(here.nc, "MYSQL", "mysql", state.seal)
            # It waits for an answer of NATS about the batch, which no batch called x would give.
            await end_running_batch(own, newest=state.last_seq)

    asyncio.run(scenario())


def test_a_stream_of_an_older_cdc_goes_on(new_nats: NewNats) -> None:
    """Its messages have no MAC and count, up to where the key was made, and not after it."""
    server = new_nats(LOGINS)
    settings = Settings(nats=parse_url(server.url, ("nats",)))

    async def scenario() -> None:
        nc = await connect(server.url, name="t", inbox_prefix="_INBOX_reader", log=LOG)
        await api(nc, "STREAM.CREATE.MYSQL", stream_config(settings, fast_ingest=True))
        await nc.publish("mysql.heartbeat", encode(heartbeat("")))
        for number in range(1, 6):
            await nc.publish("mysql.update", change(number))
        await nc.flush()
        await close(nc)
        async with attempt(server) as here:
            assert here.last == 5
            await here.nc.publish("mysql.update", change(6))
            await here.nc.flush()
            assert (await read_tail(here.nc, "MYSQL", "mysql")).last == "1.1.5.0"

    asyncio.run(scenario())


@in_a_loop
async def test_backwards_is_every_message_once(new_nats: NewNats) -> None:
    """Over the single requests and all pieces, of one subject or of all, down to the floor."""
    server = new_nats(LOGINS)
    async with attempt(server) as here:
        subjects = ("mysql.update", "mysql.insert", "mysql.update")
        many = [(subjects[n % 3], b"%d" % n) for n in range(12_000)]
        await asyncio.to_thread(publish, server, "loud", many)
        last = (await stream_state(here.nc, "MYSQL")).last_seq
        own = OwnMessages(here.nc, "MYSQL", "mysql", UNSEALED)

        everything = [m.seq async for m in own.backwards(last)]
        assert everything == list(range(last, 0, -1))
        inserts = [m async for m in own.backwards(last, floor=500, subject="mysql.insert")]
        assert {m.subject for m in inserts} == {"mysql.insert"}
        assert [m.seq for m in inserts] == sorted({m.seq for m in inserts}, reverse=True)
        first = [m async for m in own.backwards(500, subject="mysql.insert")]
        assert len(inserts) + len(first) == 4000
        assert [m async for m in own.backwards(last, subject="mysql.delete")] == []
