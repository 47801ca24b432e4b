"""The publisher against a real stream: fenced, in order, each message once."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.aio.msg import Msg

from cdc.demo.servers import Nats
from cdc.errors import FencedError, UnavailableError
from cdc.jetstream import stream
from cdc.jetstream.connection import Connection
from cdc.jetstream.consumer import Consumer
from cdc.jetstream.own_messages import OwnMessages
from cdc.message import Change, Heartbeat, Snapshot, decode_change, decode_snapshot, encode
from cdc.seal import UNSEALED, Seal
from cdc.settings import Settings
from cdc.telemetry import Log, as_json
from cdc.url import parse_url
from cdc_reader.messages.chains import Run
from cdc_reader.messages.flush import fast_block, sequence_fence
from cdc_reader.messages.large import parts_of
from cdc_reader.publish.publisher import Publisher
from cdc_reader.resume.stream_end import end_running_batch, read_tail
from redis_sink.plan.joiner import Joiner
from tests.conftest import NewNats
from tests.support.truth import assert_exactly_once, messages

LOG = Log(sys.stdout, as_json)


def change(number: int, *, size: int = 0) -> bytes:
    """Return the n-th change of a chain: its id has its number."""
    return encode(
        Change(
            key=f"t:{number}",
            value="x" * size,
            op="update",
            table="d.t",
            id=f"1.1.{number}.0",
            prev=f"1.1.{number - 1}.0" if number > 1 else "",
            ts=1,
        )
    )


def number_of(id_: str) -> int:
    """Return the number that `change` put into an id; 0 for none."""
    return int(id_.split(".")[2]) if id_ else 0


def run_of(first: int, last: int) -> list[Run]:
    """Return changes first … last as the assembler hands them over."""
    return [Run("update", "d.t", [change(n) for n in range(first, last + 1)])]


def heartbeat(last: str) -> Heartbeat:
    """Return the heartbeat that a reader claims the stream's end with."""
    return Heartbeat(
        epoch=1, server="s", file="b.000001", offset=4, gtid_set=None, last=last, snapshot={}, ts=1
    )


class Attempt:
    """One connection with its publisher, begun at the stream's end as a reader begins."""

    def __init__(self, nc: Connection, publisher: Publisher, last: int) -> None:
        self.nc, self.publisher, self.last = nc, publisher, last


def behind(
    nc: Connection,
    sequence: int,
    seal: Seal = UNSEALED,
    *,
    fast: bool = True,
    per_flush: int = 1000,
    max_row_bytes: int = 64 << 20,
) -> Publisher:
    """Return a publisher that expects this message to be the stream's last."""
    return Publisher(
        nc,
        stream="MYSQL",
        prefix="mysql",
        sequence=sequence,
        seal=seal,
        ours_at=sequence,
        fast_ingest=fast,
        flush_max_messages=per_flush,
        flush_max_bytes=1 << 20,
        max_row_bytes=max_row_bytes,
        log=LOG,
    )


@asynccontextmanager
async def attempt(
    server: Nats, *, fast: bool = True, per_flush: int = 1000
) -> AsyncIterator[Attempt]:
    """Attach to the stream MYSQL as a reader does."""
    settings = Settings(nats=parse_url(server.url, ("nats",)))
    nc = await stream.connect(server.url, name="t", inbox_prefix="_INBOX_reader", log=LOG)
    try:
        state = await stream.declare_stream(nc, settings)
        tail = await read_tail(nc, "MYSQL", "mysql")
        publisher = behind(nc, tail.sequence, state.seal, fast=fast, per_flush=per_flush)
        await publisher.open(heartbeat(tail.last))
        yield Attempt(nc, publisher, number_of(tail.last))
    finally:
        await stream.close(nc)


async def attach_below(nc: Connection, leaders: Iterator[str]) -> None:
    """Claim the end of a stream that stores nothing and has one leader after the other."""

    async def say_who_leads(msg: Msg) -> None:
        state = {"messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0}
        info = {"config": {"name": "MYSQL"}, "created": "", "state": state}
        await msg.respond(json.dumps(info | {"cluster": {"leader": next(leaders)}}).encode())

    async def take(_: Msg) -> None:
        """Acknowledge nothing."""

    await nc.subscribe("$JS.API.STREAM.INFO.MYSQL", cb=say_who_leads)
    await nc.subscribe("mysql.>", cb=take)
    await behind(nc, 0).open(heartbeat(""))


async def publish_up_to(
    server: Nats, target: int, *, fast: bool, meanwhile: Callable[[Attempt], Awaitable[None]]
) -> None:
    """Publish changes up to `target` as a reader does: begin again at the stream's end."""
    while True:
        try:
            async with attempt(server, fast=fast, per_flush=100) as a:
                at = a.last
                while at < target:
                    upto = min(at + 250, target)
                    await a.publisher.send(run_of(at + 1, upto))
                    at = upto
                    await meanwhile(a)
                await a.publisher.settle()
                return
        except UnavailableError:
            continue


async def nothing(_: Attempt) -> None:
    """Let the publishing continue undisturbed."""


def both(fast: bool) -> str:
    """Name the two ways of publishing."""
    return "fast_ingest" if fast else "single_publishes"


@pytest.mark.parametrize(
    ("leaders", "why"),
    [
        (["n1", "n1", "n2"], "the stream MYSQL has another leader, n2"),
        (["n1"] * 100, "NATS did not acknowledge 1 messages in 10 s"),
    ],
    ids=["another", "the_same"],
)
def test_an_acknowledgement_of_a_leader_that_is_none_any_more_is_not_awaited(
    new_nats: NewNats, leaders: list[str], why: str
) -> None:
    """The next leader does not have it; the same one may be slow, and gets its time."""
    server = new_nats({"jetstream": False})

    async def scenario() -> None:
        nc = await stream.connect(server.url, name="t", inbox_prefix="_INBOX_reader", log=LOG)
        try:
            with pytest.raises(UnavailableError, match=why):
                await attach_below(nc, iter(leaders))
        finally:
            await stream.close(nc)

    asyncio.run(scenario())


@pytest.mark.parametrize("fast", [True, False], ids=both)
def test_messages_arrive_once_and_in_order(new_nats: NewNats, fast: bool) -> None:
    """Flushes of every size give one unbroken chain."""
    server = new_nats()

    async def scenario() -> None:
        async with attempt(server, fast=fast) as a:
            at = 0
            for size in (1, 2, 3, 999, 1000, 1001, 2500):
                await a.publisher.send(run_of(at + 1, at + size))
                at += size
            await a.publisher.settle()
            state = await stream.stream_state(a.nc, "MYSQL")
            assert a.publisher.sequence == state.last_seq == at + 1

    asyncio.run(scenario())
    assert assert_exactly_once(server.url) == 5506


@pytest.mark.parametrize("fast", [True, False], ids=both)
def test_cut_connections_lose_and_repeat_nothing(new_nats: NewNats, fast: bool) -> None:
    """The connection is aborted at random moments; the stream's end tells where to resume."""
    server = new_nats()
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    cuts = 0

    async def cut(a: Attempt) -> None:
        nonlocal cuts
        if chance.random() < 0.2:
            cuts += 1
            a.nc._transport._io_writer.transport.abort()  # type: ignore[union-attr]

    asyncio.run(publish_up_to(server, 20_000, fast=fast, meanwhile=cut))
    assert assert_exactly_once(server.url) == 20_000
    assert cuts > 3


@pytest.mark.parametrize("fast", [True, False], ids=both)
def test_two_publishers_at_once_store_everything_once(new_nats: NewNats, fast: bool) -> None:
    """Two readers race on the same changes: each is stored once, in order, and both get there."""
    server = new_nats()

    async def scenario() -> None:
        await asyncio.gather(
            *(publish_up_to(server, 20_000, fast=fast, meanwhile=nothing) for _ in range(2))
        )

    asyncio.run(scenario())
    assert assert_exactly_once(server.url) == 20_000


def test_a_batch_under_way_ends_when_another_reader_takes_over(new_nats: NewNats) -> None:
    """What a frozen reader still has in its socket is refused once another one has begun."""
    server = new_nats()

    async def scenario() -> None:
        async with attempt(server) as old:
            blocks: list[bytes] = []
            await old.publisher.send(run_of(1, 10))
            await old.publisher.settle()
            _hold_back(old, blocks)
            sending = asyncio.ensure_future(old.publisher.send(run_of(11, 30)))
            await sending
            (block,) = blocks
            half = block.index(b"PUB mysql.update", len(block) // 2)
            await stream.write_block(old.nc, block[:half])
            await old.nc.flush()
            async with attempt(server) as taker:
                assert taker.last > 10
                assert taker.last < 30
                await taker.publisher.send(run_of(taker.last + 1, 40))
                await stream.write_block(old.nc, block[half:])
                await old.nc.flush()
                await taker.publisher.settle()
            with pytest.raises(UnavailableError):
                await old.publisher.settle()

    asyncio.run(scenario())
    assert assert_exactly_once(server.url) == 40


def _hold_back(a: Attempt, blocks: list[bytes]) -> None:
    """Let the publisher's next block go into a list instead of the socket."""

    async def hold(flush: Any) -> None:
        inbox = f"{a.publisher._inbox}.{flush.token}"
        fence = sequence_fence(a.publisher.sequence)
        blocks.append(fast_block(flush.messages, inbox, fence))

    a.publisher._write = hold  # type: ignore[method-assign]


@pytest.mark.parametrize("fast", [True, False], ids=both)
def test_foreign_messages_cost_a_refused_flush_and_nothing_else(
    new_nats: NewNats, fast: bool
) -> None:
    """An application that publishes beside us loses nothing, and neither do we."""
    server = new_nats()

    async def foreign(a: Attempt) -> None:
        await a.nc.publish("mysql.update", b'{"key":"user:1","value":"x"}')

    asyncio.run(publish_up_to(server, 20_000, fast=fast, meanwhile=foreign))
    assert assert_exactly_once(server.url) == 20_000
    foreign_messages = [body for _, body in messages(server.url) if body.keys() == {"key", "value"}]
    assert len(foreign_messages) == 80


def test_a_stream_that_applications_began_is_a_new_one(new_nats: NewNats) -> None:
    """What others published before the first reader came does not keep it out."""
    server = new_nats()

    async def scenario() -> None:
        settings = Settings(nats=parse_url(server.url, ("nats",)))
        nc = await stream.connect(server.url, name="t", inbox_prefix="_INBOX_reader", log=LOG)
        await stream.declare_stream(nc, settings)
        for operation in ("insert", "update", "delete", "snapshot", "schema", "heartbeat"):
            for body in (b"not the contract", b'{"key":"user:1","value":"x"}'):
                await nc.publish(f"mysql.{operation}", body)
        await nc.flush()
        await stream.close(nc)
        async with attempt(server) as here:
            assert here.last == 0
            await here.publisher.send(run_of(1, 3))
            await here.publisher.settle()

    asyncio.run(scenario())
    assert assert_exactly_once(server.url) == 3


def test_another_readers_message_is_not_stepped_over(new_nats: NewNats) -> None:
    """Once another reader published ours, this one begins again at the stream's end."""
    server = new_nats()

    async def scenario() -> None:
        async with attempt(server) as one, attempt(server) as other:
            assert other.publisher.sequence == one.publisher.sequence + 1
            await other.publisher.send(run_of(1, 5))
            await other.publisher.settle()
            await one.publisher.send(run_of(1, 5))
            with pytest.raises(FencedError):
                await one.publisher.settle()

    asyncio.run(scenario())
    assert assert_exactly_once(server.url) == 5


def test_a_connection_lost_before_the_claim_is_told_as_such(new_nats: NewNats) -> None:
    """Wherever NATS goes away while a reader attaches, it is waited for: no bug, no exit."""
    server = new_nats()

    async def scenario() -> None:
        async with attempt(server) as here:
            await here.publisher.send(run_of(1, 5))
            await here.publisher.settle()
            before = here.publisher.sequence
            async with attempt(server) as other:
                await other.nc.close()
                with pytest.raises(UnavailableError, match="is lost"):
                    await other.publisher.open(heartbeat(""))
                own = OwnMessages(other.nc, "MYSQL", "mysql", UNSEALED)
                with pytest.raises(UnavailableError, match="is lost"):
                    await end_running_batch(own, newest=before)

    asyncio.run(scenario())


SNAPSHOT_END = b'],"op":"snapshot","table":"d.t","id":"1.1.1.0.1","prev":"1.1.1.0","ts":1,"v":1}'


async def whole(nc: Connection, seal: Seal) -> list[Change | Snapshot]:
    """Return the rows of the stream as the sink sees them, those in parts put together."""
    consumer = Consumer(nc, "MYSQL", max_messages=1000)
    await consumer.open(1)
    joiner, out = Joiner("mysql", seal), list[Change | Snapshot]()
    last = (await stream.stream_state(nc, "MYSQL")).last_seq
    seq = 0
    while seq < last:
        for some in joiner.take(deliveries := await consumer.read(1.0)):
            for _, subject, body in some:
                if subject == b"mysql.snapshot":
                    out.append(decode_snapshot(body))
                elif subject == b"mysql.update":
                    out.append(decode_change(body))
        seq = deliveries[-1][0] if deliveries else seq
    await consumer.close()
    return out


def subjects(server: Nats) -> list[str]:
    """Return the last part of each message's subject, in order."""
    return [subject.rpartition(".")[2] for subject, _ in messages(server.url)]


@pytest.mark.parametrize("fast", [True, False], ids=["fast_ingest", "single_publishes"])
def test_a_message_larger_than_nats_carries_goes_in_parts(new_nats: NewNats, fast: bool) -> None:
    """As many as its size needs, each small enough; what is beside it stays as it is."""
    server = new_nats({"max_payload": 4096})

    async def scenario() -> None:
        async with attempt(server, fast=fast) as a:
            large = change(2, size=9000)
            await a.publisher.send([Run("update", "d.t", [change(1), large, change(3, size=3000)])])
            rows = b'{"key":"t:5000","value":"%b"}' % (b"x" * 5000)
            read = b'{"rows":[' + rows + SNAPSHOT_END.replace(b"1.1.1.0", b"1.1.3.0")
            await a.publisher.send([Run("snapshot", "d.t", [read])])
            await a.publisher.settle()
            seal = (await stream.stream_state(a.nc, "MYSQL")).seal
            got = await whole(a.nc, seal)
            assert [decode_change(large), decode_snapshot(read)] == [got[1], got[3]]
            assert len(got) == 4

    asyncio.run(scenario())
    expected = ["heartbeat", "update", *["part"] * 4, "update", *["part"] * 3]
    assert expected == subjects(server)
    assert assert_exactly_once(server.url) == 4


def test_a_row_whose_reader_was_killed_between_two_parts_is_published_again(
    new_nats: NewNats,
) -> None:
    """The stream's end is the message before it; NATS may carry less by then, or more."""
    server = new_nats({"max_payload": 4096})
    large = change(2, size=20_000)

    async def begin(parts: int) -> None:
        async with attempt(server) as a:
            if not a.last:
                await a.publisher.send(run_of(1, 1))
                await a.publisher.settle()
            assert a.last in (0, 1)
            seal = (await stream.stream_state(a.nc, "MYSQL")).seal
            some = list(parts_of(large, seal, a.nc.max_payload - 512))[:parts]
            await a.publisher._put([(b"mysql.part", body) for body in some])
            await a.publisher.settle()

    async def finish() -> None:
        async with attempt(server) as a:
            assert a.last == 1
            await a.publisher.send([Run("update", "d.t", [large, change(3)])])
            await a.publisher.settle()
            seal = (await stream.stream_state(a.nc, "MYSQL")).seal
            assert await whole(a.nc, seal) == [*map(decode_change, (change(1), large, change(3)))]

    asyncio.run(begin(3))
    asyncio.run(begin(5))
    for max_payload in (2048, 16_384):
        server.stop()
        server.options = {"max_payload": max_payload}
        server.start()
        if max_payload == 2048:
            asyncio.run(begin(9))
    asyncio.run(finish())
    assert assert_exactly_once(server.url) == 3


def test_a_reader_that_was_taken_over_between_two_parts_sends_no_more(new_nats: NewNats) -> None:
    """The other publishes the row again, and it is there once."""
    server = new_nats({"max_payload": 4096})
    large = change(2, size=20_000)

    async def scenario() -> None:
        async with attempt(server) as first:
            await first.publisher.send(run_of(1, 1))
            await first.publisher.settle()
            seal = (await stream.stream_state(first.nc, "MYSQL")).seal
            parts = list(parts_of(large, seal, first.nc.max_payload - 512))
            await first.publisher._put([(b"mysql.part", body) for body in parts[:3]])
            await first.publisher.settle()
            async with attempt(server) as second:
                assert second.last == 1
                await first.publisher._put([(b"mysql.part", body) for body in parts[3:]])
                with pytest.raises(FencedError):
                    await first.publisher.settle()
                await second.publisher.send([Run("update", "d.t", [large])])
                await second.publisher.settle()
                got = await whole(second.nc, seal)
                assert got == [decode_change(change(1)), decode_change(large)]

    asyncio.run(scenario())
    assert assert_exactly_once(server.url) == 2


def test_a_row_that_the_stream_has_no_room_for_is_left_out(new_nats: NewNats) -> None:
    """It would fill the stream, of which nothing can be removed before the row is whole."""
    server = new_nats()

    async def scenario() -> None:
        async with attempt(server) as a:
            a.publisher.room_bytes = 4 << 20
            bodies = [change(1, size=1 << 20), change(2, size=3 << 20), change(3)]
            await a.publisher.send([Run("update", "d.t", bodies)])
            await a.publisher.settle()
            seal = (await stream.stream_state(a.nc, "MYSQL")).seal
            first, left_out, last = await whole(a.nc, seal)
            assert isinstance(left_out, Change)
            assert left_out.too_large is not None
            assert (left_out.key, left_out.value) == ("t:2", None)
            assert left_out.too_large.limit_bytes == 2 << 20
            assert [first, last] == [decode_change(bodies[0]), decode_change(bodies[2])]

    asyncio.run(scenario())
    assert assert_exactly_once(server.url) == 3


def test_a_full_stream_is_waited_for(new_nats: NewNats) -> None:
    """When the limit is raised, publishing resumes where it stopped."""
    server = new_nats()

    async def scenario() -> None:
        async with attempt(server) as a:
            config = (await stream.stream_state(a.nc, "MYSQL")).config
            await stream.api(a.nc, "STREAM.UPDATE.MYSQL", config | {"max_msgs": 50})
            await a.publisher.send(run_of(1, 100))
            waiting = asyncio.ensure_future(a.publisher.settle())
            while (await stream.stream_state(a.nc, "MYSQL")).last_seq < 50:
                assert not waiting.done()
            await stream.api(a.nc, "STREAM.UPDATE.MYSQL", config)
            await waiting

    asyncio.run(scenario())
    assert assert_exactly_once(server.url) == 100
