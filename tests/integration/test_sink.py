"""The sink on real servers: everything applied, once, in order, whatever happens."""

from __future__ import annotations

import asyncio
import base64
import functools
import random
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from cdc.demo.servers import Nats, Redis
from cdc.errors import PositionLostError, PreflightError
from cdc.jetstream.stream import StreamState, api, declare_stream, message_get, stream_state
from cdc.own_keys import position_key
from cdc.settings import Settings
from redis_sink.plan import applied
from redis_sink.store.writer import Writer
from tests.conftest import NewNats, NewRedis
from tests.support.planned import a_table
from tests.support.sinking import (
    Chain,
    a_chain,
    a_sink,
    client,
    in_a_loop,
    settings_for,
    strings,
    until,
)


def position(redis: Any, settings: Settings) -> applied.Applied:
    at = _at(redis, settings)
    assert at is not None, "no position"
    return at


def in_redis(redis: Any, chain: Chain) -> bool:
    return strings(redis) == chain.expected


@pytest.fixture
def redis(new_redis: NewRedis) -> Redis:
    return new_redis()


@in_a_loop
async def test_main_job(nats: Nats, redis: Redis) -> None:
    """Changes of string and hash tables stand in Redis, with a position that names the last."""
    settings, seen = settings_for(nats, redis, "MAIN"), client(redis)
    async with a_chain(settings) as chain, a_sink(settings) as running:
        await chain.some(500)
        row = '{"id":7,"total":"17.50","note":null,"n":18446744073709551615}'
        await chain.send(chain.change("carts:7", row, table="shop.carts"), chain.heartbeat())
        chain.expected.pop("carts:7")
        named = (chain.last, f"u:1-{chain.offset}")
        await until("position", lambda: _named(seen, settings) == named)
        await until("counted", lambda: running.applied == 501)
        assert strings(seen) == chain.expected
        assert seen.hgetall("carts:7") == {
            "id": "7", "total": "17.50", "n": "18446744073709551615",
        }  # fmt: skip
        # All is applied, so all is stored: before that, NATS may say less.
        state = await stream_state(chain.nc, settings.stream)
        assert _seq(seen, settings) == state.last_seq
        assert running.meter.of == {"applied": 501}
        assert min(running.meter.lags_s) > 0


def _has_come_to(seq: int, redis: Any, settings: Settings) -> bool:
    return _seq(redis, settings) >= seq


def _named(redis: Any, settings: Settings) -> tuple[str | None, str | None]:
    """Return the id and the GTID set of the position, if there is one yet."""
    at = _at(redis, settings)
    return (at.id, at.gtid_set) if at else (None, None)


def _seq(redis: Any, settings: Settings) -> int:
    at = _at(redis, settings)
    return at.seq if at else 0


def _at(redis: Any, settings: Settings) -> applied.Applied | None:
    raw = redis.get(position_key(settings.pipeline))
    return applied.decode(raw.encode(), key="") if raw else None


@in_a_loop
async def test_restart_replays_nothing(nats: Nats, redis: Redis) -> None:
    """A sink that starts again goes on after the position; keys it wrote are left alone."""
    settings, seen = settings_for(nats, redis, "AGAIN"), client(redis)
    async with a_chain(settings) as chain:
        await chain.some(100)
        async with a_sink(settings):
            await until("first part", lambda: in_redis(seen, chain))
        seen.set("users:1", "marked")
        async with a_sink(settings) as running:
            await chain.send(chain.change("users:2", "new"))
            await until("second part", lambda: seen.get("users:2") == "new")
        assert seen.get("users:1") == "marked"
        assert running.meter.of == {"applied": 1}


@in_a_loop
async def test_killed_at_random_moments(nats: Nats, redis: Redis) -> None:
    """SIGKILL at any moment loses nothing and repeats nothing (invariant 7)."""
    settings, seen = settings_for(nats, redis, "KILL"), client(redis)
    rng = random.Random(7)
    async with a_chain(settings) as chain:
        for i in range(8):
            await chain.some(400, start=400 * i)
            before = _seq(seen, settings)
            process = start_process(nats, redis, settings)
            try:
                reach = before + rng.randrange(1, 300)
                await until("progress", functools.partial(_has_come_to, reach, seen, settings))
            finally:
                process.kill()
                process.wait()
            # At one moment: the last batch may still lie in the socket of the dead process.
            at, values = _both(seen, settings)
            assert values == chain.state_at(at)
        await chain.send(chain.change("users:0", "the last"))
        process = start_process(nats, redis, settings)
        try:
            await until("the end", lambda: in_redis(seen, chain))
        finally:
            process.terminate()
            assert process.wait(10) == 0


def start_process(nats: Nats, redis: Redis, settings: Settings) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "tests.support.sink_process"]
    return subprocess.Popen([*program, nats.url, redis.url, settings.stream])


@in_a_loop
async def test_two_sinks_at_once(nats: Nats, redis: Redis) -> None:
    """Two sinks of one pipeline fence each other: data and position never disagree."""
    settings, seen = settings_for(nats, redis, "TWO", batch_max_messages=20), client(redis)
    async with a_chain(settings) as chain, a_sink(settings) as one, a_sink(settings) as two:
        for i in range(10):
            await chain.some(200, start=200 * i)
            at, values = _both(seen, settings)
            assert values == chain.state_at(at)
        await until("the end", lambda: in_redis(seen, chain))
        await until("counted once", lambda: one.applied + two.applied == 2000)


def _both(redis: Any, settings: Settings) -> tuple[int, dict[str, str]]:
    """Return sequence and data as they stand at one moment."""
    keys = [f"users:{i}" for i in range(100)]
    pipe = redis.pipeline(transaction=True)
    pipe.get(position_key(settings.pipeline)).mget(keys)
    raw, values = pipe.execute()
    seq = applied.decode(raw.encode(), key="").seq if raw else 0
    return seq, {k: v for k, v in zip(keys, values, strict=True) if v is not None}


@in_a_loop
async def test_emptied_redis_is_filled_again(nats: Nats, redis: Redis) -> None:
    """FLUSHALL under a running sink: the whole stream is applied again, by itself."""
    settings, seen = settings_for(nats, redis, "FLUSH"), client(redis)
    async with a_chain(settings) as chain, a_sink(settings):
        await chain.some(300)
        await until("first part", lambda: in_redis(seen, chain))
        seen.flushall()
        await chain.some(300, start=300)
        await until("everything", lambda: in_redis(seen, chain))
        seen.flushall()  # and while nothing comes
        await until("everything again", lambda: in_redis(seen, chain))


@in_a_loop
async def test_nats_goes_away(new_nats: NewNats, redis: Redis) -> None:
    """A NATS that dies is waited for; then nothing is lost."""
    nats = new_nats()
    settings, seen = settings_for(nats, redis, "NATSDOWN"), client(redis)
    async with a_sink(settings):
        async with a_chain(settings) as chain:
            await chain.some(200)
            await until("first part", lambda: in_redis(seen, chain))
            nats.kill()
        nats.start()
        async with a_chain(settings) as again:
            again.last, again.offset, again.expected = chain.last, chain.offset, chain.expected
            await again.some(200, start=200)
            await until("second part", lambda: in_redis(seen, again))


@in_a_loop
async def test_redis_goes_away(nats: Nats, redis: Redis) -> None:
    """A Redis that dies is waited for; then data and position agree again."""
    settings, seen = settings_for(nats, redis, "REDISDOWN"), client(redis)
    async with a_chain(settings) as chain, a_sink(settings):
        for i in range(3):
            await chain.some(200, start=400 * i)
            redis.kill()
            await chain.some(200, start=400 * i + 200)
            redis.start()
            await until("everything", lambda: in_redis(seen, chain))


@in_a_loop
async def test_malformed_goes_to_the_dead_letters(nats: Nats, redis: Redis) -> None:
    """A message that can never be applied is kept with reason and bytes; the rest flows."""
    settings, seen = settings_for(nats, redis, "DEADLY"), client(redis)
    async with a_chain(settings) as chain, a_sink(settings) as running:
        await chain.send(
            chain.change("users:1", "a"),
            chain.line("update", b"no json"),
            chain.line("update", b'{"key":"users:9","value":"John Doe"}'),
            chain.line("update", b'{"key":"foreign:9","value":"x"}'),
            chain.change("users:2", "b"),
        )
        await until("the last", lambda: seen.get("users:2") == "b")
        await until("counted", lambda: running.meter.of == {"applied": 3, "dead": 2})
        assert seen.get("users:9") == "John Doe"
        assert not seen.exists("foreign:9")
        names = await api(chain.nc, "STREAM.NAMES", {"subject": "cdc.dead.deadly"})
        last = await message_get(chain.nc, names["streams"][0], last_by_subject="cdc.dead.deadly")
        assert last is not None
        letter = msgspec.json.decode(last.data)
        assert (letter["seq"], letter["subject"], letter["key"]) == (
            4,
            "deadly.update",
            "foreign:9",
        )
        assert base64.b64decode(letter["body"]) == b'{"key":"foreign:9","value":"x"}'


@in_a_loop
async def test_dead_letters_are_not_repeated(nats: Nats, redis: Redis) -> None:
    """A message that is quarantined again after a crash leaves one dead letter, not two."""
    settings, seen = settings_for(nats, redis, "ONCE"), client(redis)
    async with a_chain(settings) as chain:
        await chain.send(chain.line("update", b"no json"), chain.change("users:1", "a"))
        for _ in range(2):
            async with a_sink(settings):
                await until("applied", lambda: in_redis(seen, chain))
            seen.flushall()
        names = await api(chain.nc, "STREAM.NAMES", {"subject": "cdc.dead.once"})
        info = await api(
            chain.nc, f"STREAM.INFO.{names['streams'][0]}", {"subjects_filter": "cdc.dead.once"}
        )
        assert info["state"]["subjects"] == {"cdc.dead.once": 1}


@in_a_loop
async def test_foreign_keys_are_refused(nats: Nats, redis: Redis) -> None:
    """Keys that stand already are reported and nothing is written; adopt takes them over."""
    settings, seen = settings_for(nats, redis, "FOREIGN"), client(redis)
    for i in range(5):
        seen.set(f"users:{i}", "the application's secret")
    async with a_chain(settings) as chain:
        await chain.send(chain.change("users:3", "ours"))
        with pytest.raises(PreflightError) as caught:
            async with a_sink(settings) as running:
                await running.task
        text = caught.value.text()
        assert "5 keys" in text
        assert "'users:0', 'users:1', 'users:2'" in text
        assert "--adopt" in text
        assert "secret" not in text
        assert seen.dbsize() == 5
        adopting = settings_for(nats, redis, "FOREIGN", adopt=True)
        async with a_sink(adopting):
            await until("adopted", lambda: seen.get("users:3") == "ours")
        assert seen.get("users:4") == "the application's secret"


@in_a_loop
async def test_own_keys_are_not_foreign(nats: Nats, redis: Redis) -> None:
    """Names that merely resemble the prefix do not stop the first start."""
    settings, seen = settings_for(nats, redis, "GLOB"), client(redis)
    seen.set("users1:3", "other")
    seen.set("usersX", "other")
    async with a_chain(settings) as chain, a_sink(settings, a_table(key="users[1]*:{id}")):
        await chain.send(chain.change("users[1]*:1", "a"))
        await until("applied", lambda: seen.get("users[1]*:1") == "a")


@in_a_loop
async def test_gap_stops_with_the_position_unmoved(nats: Nats, redis: Redis) -> None:
    """A missing message stops the sink; Redis stays as of the last complete batch."""
    settings, seen = settings_for(nats, redis, "GAP"), client(redis)
    async with a_chain(settings) as chain:
        await chain.send(chain.change("users:1", "a"))
        async with a_sink(settings):
            await until("first", lambda: seen.get("users:1") == "a")
        before = position(seen, settings)
        chain.change("users:2", "never sent")
        await chain.send(chain.change("users:1", "b"))
        with pytest.raises(PositionLostError) as caught:
            async with a_sink(settings) as running:
                await running.task
        assert before.id in caught.value.seen
        assert chain.last in caught.value.seen
        assert (position(seen, settings), seen.get("users:1")) == (before, "a")


@in_a_loop
async def test_stream_made_anew_is_a_gap(nats: Nats, redis: Redis) -> None:
    """A stream that was removed and written anew stops the sink, and the fix works."""
    settings, seen = settings_for(nats, redis, "ANEW"), client(redis)
    async with a_chain(settings) as chain:
        await chain.some(50)
        async with a_sink(settings):
            await until("first", lambda: in_redis(seen, chain))
        await api(chain.nc, f"STREAM.DELETE.{settings.stream}")
    async with a_chain(settings) as new:
        new.offset = chain.offset + 1000
        await new.send(new.change("users:1", "afresh"))
        with pytest.raises(PositionLostError) as caught:
            async with a_sink(settings) as running:
                await running.task
        assert caught.value.heals_by_refresh
        seen.delete(position_key(settings.pipeline), *strings(seen))
        async with a_sink(settings):
            await until("afresh", lambda: in_redis(seen, new))


@pytest.mark.parametrize(("has_marks", "skipped"), [(True, 10), (False, 20)])
@in_a_loop
async def test_stream_that_lost_its_end(
    nats: Nats, redis: Redis, has_marks: bool, skipped: int
) -> None:
    """What the reader publishes again after NATS lost it is skipped, what is new is applied.

    It is looked through from the newest mark that stands; without marks from its beginning.
    """
    settings, seen = settings_for(nats, redis, f"TAIL{skipped}"), client(redis)
    async with a_chain(settings) as chain:
        lines = [chain.change(f"users:{i}", str(i)) for i in range(20)]
        await chain.send(*lines[:10])
        async with a_sink(settings):
            await until("first", lambda: len(strings(seen)) == 10)
        at = position(seen, settings)
        # As if 20 had been there and applied before NATS fell back to 10.
        assert at.marks[-1][0] == at.seq
        ahead = msgspec.structs.replace(
            at,
            seq=at.seq + 10,
            id=chain.last,
            id_seq=at.id_seq + 10,
            marks=at.marks if has_marks else (),
        )
        seen.set(position_key(settings.pipeline), applied.encode(ahead))
        for i in range(10, 20):
            seen.set(f"users:{i}", str(i))
        seen.set("users:15", "marked")
        before = await _consumers(chain, settings)
        async with a_sink(settings) as running:
            await until("begun", functools.partial(_has_begun, chain, settings, before))
            await chain.send(*lines[10:], chain.change("users:20", "20"))
            await until("new one", lambda: seen.get("users:20") == "20")
        assert running.meter.of == {"skipped": skipped, "applied": 1}
        assert seen.get("users:15") == "marked"
        assert not position(seen, settings).catching_up


async def _has_begun(chain: Chain, settings: Settings, before: set[str]) -> bool:
    """Say whether a sink has begun to read; the consumer of one before it may be there still."""
    return bool(await _consumers(chain, settings) - before)


async def _consumers(chain: Chain, settings: Settings) -> set[str]:
    found = await api(chain.nc, f"CONSUMER.LIST.{settings.stream}")
    return {consumer["name"] for consumer in found["consumers"]}


@in_a_loop
async def test_stop_while_servers_are_away(new_nats: NewNats, redis: Redis) -> None:
    """A sink that waits for a server still stops at once."""
    nats = new_nats()
    settings = settings_for(nats, redis, "STOPPING")
    nats.kill()
    async with asyncio.timeout(5), a_sink(settings) as running:
        await asyncio.sleep(0)
        await running.stop()


@in_a_loop
async def test_stop_while_redis_hangs(nats: Nats, redis: Redis, monkeypatch: Any) -> None:
    """A Redis that hangs holds a stopping sink up for the drain time, not longer."""
    monkeypatch.setattr("redis_sink.sink.DRAIN_S", 0.3)
    settings, seen = settings_for(nats, redis, "HANGING"), client(redis)
    async with a_chain(settings) as chain, asyncio.timeout(10), a_sink(settings) as running:
        await chain.some(10)
        await until("applied", lambda: in_redis(seen, chain))
        redis.pause()
        try:
            await chain.some(10, start=10)
            await running.stop()
        finally:
            redis.resume()


@in_a_loop
async def test_what_another_sink_has_applied_is_no_gap(
    nats: Nats, redis: Redis, monkeypatch: Any
) -> None:
    """It goes on, and the stream's head leaves, between our look at Redis and at the stream."""
    settings, seen = settings_for(nats, redis, "BESIDE"), client(redis)
    looked: list[int] = []
    async with a_chain(settings) as chain:
        await chain.some(20)
        async with a_sink(settings):
            await until("first", lambda: in_redis(seen, chain))

        async def declared_late(nc: Any, of: Settings) -> StreamState:
            monkeypatch.setattr("redis_sink.sink.declare_stream", declare_stream)
            await chain.some(20, start=20)
            async with a_sink(settings):
                await until("the other one", lambda: in_redis(seen, chain))
            looked.append(position(seen, settings).seq)
            await api(nc, f"STREAM.PURGE.{settings.stream}", {"seq": looked[0] + 1})
            return await declare_stream(nc, of)

        monkeypatch.setattr("redis_sink.sink.declare_stream", declared_late)
        async with a_sink(settings) as running:
            await until("both have looked", lambda: bool(looked))
            await chain.some(20, start=40)
            await until("it goes on", lambda: in_redis(seen, chain))
            await until("it applies", lambda: running.applied > 0)
        assert running.meter.of.get("skipped", 0) == 0


@in_a_loop
async def test_a_position_is_asked_for_before_the_stream(
    nats: Nats, redis: Redis, monkeypatch: Any
) -> None:
    """Whatever another sink applies beside us, the stream does not seem to have lost its end."""
    settings, seen = settings_for(nats, redis, "ASKED_IN_ORDER"), client(redis)
    async with a_chain(settings) as chain:
        await chain.some(20)
        arm, armed = Writer.arm, 0

        async def armed_late(writer: Writer) -> bytes | None:
            nonlocal armed
            armed += 1
            if armed == 1:
                async with a_sink(settings):
                    await chain.some(20, start=20)
                    await until("the other one", lambda: in_redis(seen, chain))
            return await arm(writer)

        monkeypatch.setattr(Writer, "arm", armed_late)
        async with a_sink(settings) as running:
            await until("it begins", lambda: armed >= 2 and in_redis(seen, chain))
            await chain.some(20, start=40)
            await until("it goes on", lambda: in_redis(seen, chain))
        assert running.meter.of.get("skipped", 0) == 0
