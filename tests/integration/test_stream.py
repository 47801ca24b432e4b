"""Stream, connection and consumer on a real NATS."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from nats.aio.msg import Msg

from cdc.check.finding import Report
from cdc.check.nats import ask_nats
from cdc.demo.servers import MySQL, Nats
from cdc.errors import PermissionDenied, SettingsError, StreamError, UnavailableError
from cdc.jetstream.consumer import PULLS, Consumer
from cdc.jetstream.stream import (
    API_TIMEOUT_S,
    ApiError,
    Connection,
    api,
    close,
    connect,
    declare_dead_letters,
    declare_stream,
    message_get,
    named_stream_state,
    stream_config,
    stream_state,
    write_block,
)
from cdc.message import Delivery
from cdc.seal import UNSEALED
from cdc.settings import Settings
from cdc.url import Url, parse_url
from tests.conftest import NewNats
from tests.support.proxy import Proxy
from tests.support.sinking import LOG, in_a_loop, until

ROUNDS = 20
"""Of what two processes do at once."""


def settings_for(nats: Nats, name: str) -> Settings:
    return Settings(
        nats=parse_url(nats.url, ("nats",)), stream=name, subject_prefix=name.lower(), pipeline=name
    )


@asynccontextmanager
async def connected(url: Url | str) -> AsyncIterator[Connection]:
    nc = await connect(url, name="test", inbox_prefix="_INBOX_test", log=LOG)
    try:
        yield nc
    finally:
        await close(nc)


async def refused(url: str) -> Any:
    """Return the error that connecting ends with."""
    with pytest.raises((UnavailableError, PermissionDenied, SettingsError)) as caught:
        async with connected(url):
            pass
    return caught.value


@in_a_loop
async def test_stream_is_created_once(nats: Nats) -> None:
    """Many processes may declare it at the same time; it is there once, as we want it."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(connected(nats.url)) for _ in range(10)]
        for n in range(ROUNDS):
            settings = settings_for(nats, f"CREATED{n}")
            state, *others = await asyncio.gather(
                *(declare_stream(nc, settings) for nc in processes)
            )
            assert {other.created for other in others} == {state.created}
            wanted = stream_config(settings, fast_ingest=True)
            assert {name: state.config[name] for name in wanted} == wanted
            assert (state.config["discard"], state.config["deny_delete"]) == ("new", True)
            assert (state.first_seq, state.last_seq) == (0, 0)


@in_a_loop
async def test_a_check_takes_no_offence_at_a_stream_that_was_made_meanwhile(nats: Nats) -> None:
    """Reader and sink start together: one makes the stream just after the other looked for it."""
    async with connected(nats.url) as nc:
        for n in range(ROUNDS):
            settings, report = settings_for(nats, f"MEANWHILE{n}"), Report()
            looked = await nc.subscribe(f"$JS.API.STREAM.INFO.{settings.stream}")
            check = asyncio.create_task(ask_nats(settings, "sink", report))
            await looked.next_msg(timeout=10)
            await declare_stream(nc, settings)
            await check
            assert report.findings == []


@in_a_loop
async def test_a_stream_that_is_named_and_not_there_yet_is_waited_for(nats: Nats) -> None:
    """A cluster names a stream while it makes it; one that does not come is told."""
    settings = settings_for(nats, "NAMED")
    async with connected(nats.url) as nc:
        looked = await nc.subscribe(f"$JS.API.STREAM.INFO.{settings.stream}")
        named = asyncio.create_task(named_stream_state(nc, settings.stream))
        for _ in range(3):
            await looked.next_msg(timeout=10)
        made = await declare_stream(nc, settings)
        assert (await named).created == made.created
        with pytest.raises(ApiError, match="not found"):
            await named_stream_state(nc, "NOWHERE")


@in_a_loop
async def test_other_configuration_is_refused_and_printed(nats: Nats) -> None:
    """A stream that is not ours is left alone; both configurations are shown."""
    settings = settings_for(nats, "OTHER")
    async with connected(settings.nats) as nc:
        await declare_stream(nc, settings)
        with pytest.raises(StreamError) as caught:
            await declare_stream(nc, dataclasses.replace(settings, stream_max_bytes=4096))
        lines = caught.value.text().splitlines()
        assert [line.split() for line in lines if line.startswith(">")] == [
            [">", "max_bytes", "4096", "-1"]
        ]
        assert any(line.split()[:2] == ["subjects", '["other.>"]'] for line in lines)
        assert (await stream_state(nc, "OTHER")).config["max_bytes"] == -1


@in_a_loop
async def test_discard_old_is_refused(nats: Nats) -> None:
    """A stream that forgets what was not read yet cannot carry the promise."""
    settings = settings_for(nats, "FORGETS")
    async with connected(settings.nats) as nc:
        config = stream_config(settings, fast_ingest=True) | {"discard": "old"}
        await api(nc, "STREAM.CREATE.FORGETS", config)
        with pytest.raises(StreamError, match="discard"):
            await declare_stream(nc, settings)


@in_a_loop
async def test_older_stream_learns_fast_ingest(nats: Nats) -> None:
    """A stream made before the server knew fast ingest is updated in place."""
    settings = settings_for(nats, "OLDER")
    async with connected(settings.nats) as nc:
        old = await api(nc, "STREAM.CREATE.OLDER", stream_config(settings, fast_ingest=False))
        state = await declare_stream(nc, settings)
        assert (state.config["allow_batched"], state.created) == (True, old["created"])


@in_a_loop
async def test_overlapping_subjects_are_refused(nats: Nats) -> None:
    """A second stream on the same subjects is an error that names the settings."""
    settings = settings_for(nats, "FIRST")
    async with connected(settings.nats) as nc:
        await declare_stream(nc, settings)
        with pytest.raises(StreamError, match="overlap") as caught:
            await declare_stream(nc, dataclasses.replace(settings, stream="SECOND"))
        assert "subject_prefix" in caught.value.fix


@in_a_loop
async def test_dead_letters_are_shared(nats: Nats) -> None:
    """Pipelines share one dead-letter stream; one that forgets is refused."""
    settings = settings_for(nats, "DEAD1")
    async with connected(settings.nats) as nc:
        name = await declare_dead_letters(nc, settings)
        assert await declare_dead_letters(nc, settings_for(nats, "DEAD2")) == name
        assert (await stream_state(nc, name)).config["subjects"] == ["cdc.dead.>"]


@in_a_loop
async def test_messages_can_be_read_back(nats: Nats) -> None:
    """By sequence and by newest on a subject, wildcards included; None when there is none."""
    settings = settings_for(nats, "BACK")
    async with connected(settings.nats) as nc:
        await declare_stream(nc, settings)
        assert await message_get(nc, "BACK", last_by_subject="back.>") is None
        await write_block(
            nc,
            b"PUB back.update 1\r\na\r\n"
            b"HPUB back.heartbeat 22 23\r\nNATS/1.0\r\nA: \xc3\xa9xyz\r\n\r\nb\r\n"
            b"PUB back.update 0\r\n\r\n",
        )
        await nc.flush(10)
        first = await message_get(nc, "BACK", seq=1)
        assert first is not None
        assert (first.seq, first.subject, first.data, first.headers) == (
            1,
            "back.update",
            b"a",
            b"",
        )
        beat = await message_get(nc, "BACK", last_by_subject="back.heartbeat")
        assert beat is not None
        assert (beat.seq, beat.data, beat.headers[:8]) == (2, b"b", b"NATS/1.0")
        newest = await message_get(nc, "BACK", last_by_subject="back.>")
        assert newest is not None
        assert (newest.seq, newest.data) == (3, b"")
        assert await message_get(nc, "BACK", seq=4) is None
        with pytest.raises(ApiError) as caught:
            await message_get(nc, "NOWHERE", seq=1)
        assert caught.value.err_code == 10059


@in_a_loop
async def test_jetstream_off(new_nats: NewNats) -> None:
    """Without JetStream the error says how to switch it on."""
    nats = new_nats({"jetstream": False})
    settings = settings_for(nats, "OFF")
    async with connected(settings.nats) as nc:
        with pytest.raises(StreamError, match="JetStream is off") as caught:
            await declare_stream(nc, settings)
        assert "-js" in caught.value.fix


@in_a_loop
async def test_login_and_rights(new_nats: NewNats) -> None:
    """A refused login and a missing right are named, and no password is shown."""
    nats = new_nats(
        'authorization { users: [ {user: a, password: "p@ss", permissions: '
        '{publish: ["mysql.>"], subscribe: ">"}}, {user: b, password: "tok/en"} ] }'
    )
    place = f"127.0.0.1:{nats.port}"
    for url in (f"nats://{place}", f"nats://a:geheim@{place}", f"nats://geheim@{place}"):
        error = await refused(url)
        assert type(error) is PermissionDenied
        assert "geheim" not in error.text()
    async with connected(f"nats://a:p%40ss@{place}") as nc:
        with pytest.raises(PermissionDenied, match=r"\$JS\.API\.STREAM\.INFO\.X"):
            await stream_state(nc, "X")
    async with connected(f"nats://b:tok%2Fen@{place}") as nc:
        await declare_stream(nc, settings_for(nats, "RIGHTS"))


@in_a_loop
async def test_no_password_without_tls(nats: Nats) -> None:
    """With tls:// and a server that offers none, the login is not sent."""
    error = await refused(f"tls://ada:geheim@127.0.0.1:{nats.port}")
    assert type(error) is PermissionDenied
    assert "no password" in error.text()
    assert type(await refused(f"tls://127.0.0.1:{nats.port}")) is PermissionDenied


@in_a_loop
async def test_tls(mysql: MySQL, new_nats: NewNats) -> None:
    """TLS is verified: with the authority it works, without it the login is not sent."""
    certificates = mysql.folder  # MySQL makes itself an authority and a certificate
    nats = new_nats(
        f'tls {{ cert_file: "{certificates}/server-cert.pem", '
        f'key_file: "{certificates}/server-key.pem" }}\n'
        "authorization { user: ada, password: geheim }"
    )
    place = f"tls://ada:geheim@127.0.0.1:{nats.port}"
    async with connected(f"{place}?ssl-ca={certificates}/ca.pem&ssl-mode=verify-ca") as nc:
        await api(nc, "INFO")
    async with asyncio.timeout(5):
        error = await refused(place)
    assert type(error) is PermissionDenied
    assert "ssl-ca" in error.fix
    assert "geheim" not in error.text()


@in_a_loop
async def test_server_that_is_down(new_nats: NewNats) -> None:
    """A server that is down is an error that waiting can heal."""
    nats = new_nats()
    url = nats.url
    nats.kill()
    error = await refused(url)
    assert (type(error), error.retryable) == (UnavailableError, True)
    assert "refuses the connection" in error.seen


@in_a_loop
async def test_of_several_servers_the_next_one_is_tried(new_nats: NewNats) -> None:
    """Behind one that is frozen, one that is down, and in any order."""
    frozen, down, good = new_nats(), new_nats(), new_nats()
    places = ",".join(f"127.0.0.1:{nats.port}" for nats in (frozen, down, good))
    frozen.pause()
    down.kill()
    try:
        for _ in range(5):
            async with connected(f"nats://{places}") as nc:
                assert (nc.is_connected, nc.address) == (True, places)
    finally:
        frozen.resume()


@in_a_loop
async def test_not_a_url() -> None:
    """A URL that is none is a setting's error."""
    assert type(await refused("http://127.0.0.1:4222")) is SettingsError


@in_a_loop
async def test_lost_connection(new_nats: NewNats) -> None:
    """A connection that breaks says so at once, and takes no more blocks."""
    nats = new_nats()
    async with connected(nats.url) as nc:
        nats.kill()
        async with asyncio.timeout(5):
            await nc.lost.wait()
        with pytest.raises(UnavailableError):
            await write_block(nc, b"PUB a 0\r\n\r\n")
        with pytest.raises(UnavailableError):
            await api(nc, "INFO")


@in_a_loop
async def test_a_request_ends_with_its_connection(new_nats: NewNats) -> None:
    """What was asked when the connection broke fails at once, not after its timeout."""
    nats = new_nats()
    async with connected(nats.url) as nc:
        nats.pause()
        asking = asyncio.create_task(api(nc, "INFO"))
        await until("the request", lambda: bool(nc._resp_map))
        nats.kill()
        async with asyncio.timeout(API_TIMEOUT_S - 0.5):
            with pytest.raises(UnavailableError, match="is lost"):
                await asking


@in_a_loop
async def test_what_was_asked_between_two_leaders_is_asked_again(new_nats: NewNats) -> None:
    """Nobody answers a request of that time; one that would act twice is not repeated."""
    nats = new_nats({"jetstream": False})
    async with connected(nats.url) as nc:
        asked: list[str] = []

        async def answer_the_second(msg: Msg) -> None:
            asked.append(msg.subject)
            if len(asked) == 2:
                await msg.respond(b'{"streams": ["MYSQL"]}')

        await nc.subscribe("$JS.API.>", cb=answer_the_second)
        assert await api(nc, "STREAM.NAMES", {}) == {"streams": ["MYSQL"]}
        assert len(asked) == 2
        with pytest.raises(UnavailableError, match="does not answer"):
            await api(nc, "STREAM.MSG.DELETE.MYSQL", {"seq": 1})
        assert len(asked) == 3


@in_a_loop
async def test_a_reset_with_something_unsent_is_tidied_up(nats: Nats) -> None:
    """No task of nats-py is left behind, and none ends with an error that nobody takes."""
    with Proxy(nats.port) as proxy:
        async with connected(f"nats://127.0.0.1:{proxy.port}") as nc:
            subscription = await nc.subscribe("x", cb=_nothing)
            await nc.flush()
            waiting: Any = subscription._wait_for_msgs_task
            reading: Any = nc._reading_task
            nc._pending, nc._pending_data_size = [b"PUB x 1\r\nx\r\n"], 12
            assert await asyncio.to_thread(proxy.cut, reset=True) == 1
            await reading
            await until("the end", nc.lost.is_set)
            await until("its task to end", waiting.done)


async def _nothing(_: object) -> None:
    """Take a message."""


@in_a_loop
async def test_a_greeting_that_is_cut_anywhere_is_a_server_that_does_not_answer(
    nats: Nats,
) -> None:
    """Within its first word, its JSON, or behind it: waited for, never a bug of ours."""
    with Proxy(nats.port) as proxy:
        for passed in (*range(1, 12), 100, 200, 300):
            proxy.cut_next = lambda n=passed: ("down", n, False)  # type: ignore[misc]
            error = await refused(f"nats://127.0.0.1:{proxy.port}")
            assert type(error) is UnavailableError, passed


@in_a_loop
async def test_slow_server_slows_the_writer(new_nats: NewNats) -> None:
    """A server that does not read stops `write_block`; nothing is lost, memory stays bounded."""
    nats = new_nats()
    settings = settings_for(nats, "SLOW")
    async with connected(settings.nats) as nc:
        await declare_stream(nc, settings)
        block = (b"PUB slow.update 1000\r\n" + b"x" * 1000 + b"\r\n") * 1000
        nats.pause()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(40):
                await write_block(nc, block)
                sent += 1

        flooding = asyncio.create_task(flood())
        done, _ = await asyncio.wait((flooding,), timeout=1.0)
        assert not done
        assert sent < 40
        nats.resume()
        await flooding
        await nc.flush(30)
        await until("stored", lambda: _has(nc, "SLOW", 40_000))


async def _has(nc: Connection, stream: str, count: int) -> bool:
    return (await stream_state(nc, stream)).messages == count


@asynccontextmanager
async def filled(nats: Nats, name: str, count: int) -> AsyncIterator[Connection]:
    """Give a connection, and a stream with numbered messages on it."""
    settings = settings_for(nats, name)
    async with connected(settings.nats) as nc:
        await declare_stream(nc, settings)
        lines = []
        for i in range(1, count + 1):
            body = b"%d" % i
            head = b"NATS/1.0\r\nA: b\r\n\r\n" if i % 2 else b""
            word = b"HPUB" if head else b"PUB"
            sizes = b"%d %d" % (len(head), len(head + body)) if head else b"%d" % len(body)
            subject = name.lower().encode()
            lines.append(b"%b %b.update %b\r\n%b%b\r\n" % (word, subject, sizes, head, body))
        await write_block(nc, b"".join(lines))
        await nc.flush(30)
        yield nc


async def read_until(consumer: Consumer, last: int) -> list[Delivery]:
    out: list[Delivery] = []
    async with asyncio.timeout(30):
        while not out or out[-1][0] < last:
            out += await consumer.read(1.0)
    return out


@in_a_loop
async def test_consumer_reads_everything_in_order(nats: Nats) -> None:
    """From any sequence on, each message once, with its subject and body."""
    async with filled(nats, "ORDER", 5000), connected(nats.url) as nc:
        consumer = Consumer(nc, "ORDER", max_messages=300)
        await consumer.open(1001)
        got = await read_until(consumer, 5000)
        assert got == [(i, b"order.update", b"%d" % i) for i in range(1001, 5001)]
        assert await consumer.read(0.05) == []


@in_a_loop
async def test_consumer_that_is_deleted_is_made_anew(nats: Nats) -> None:
    """Somebody deletes our consumer: it goes on at the next sequence, without a hole."""
    async with filled(nats, "DELETED", 3000) as other, connected(nats.url) as nc:
        consumer = Consumer(nc, "DELETED", max_messages=100)
        await consumer.open(1)
        got: list[Delivery] = []
        while len(got) < 3000:
            got += await consumer.read(5.0)
            if len(got) in (200, 1000, 2000):
                names = await api(other, "CONSUMER.NAMES.DELETED")
                for name in names["consumers"] or ():
                    await api(other, f"CONSUMER.DELETE.DELETED.{name}")
        assert [seq for seq, _, _ in got] == list(range(1, 3001))


@in_a_loop
async def test_consumer_asks_for_no_more_than_it_can_hold(nats: Nats) -> None:
    """While nobody reads, no more than the open pull requests arrives (bounded memory)."""
    async with filled(nats, "BOUND", 5000) as other, connected(nats.url) as nc:
        consumer = Consumer(nc, "BOUND", max_messages=100)
        await consumer.open(1)
        (name,) = (await api(other, "CONSUMER.NAMES.BOUND"))["consumers"]

        async def delivered() -> bool:
            info = await api(other, f"CONSUMER.INFO.BOUND.{name}")
            assert info["delivered"]["stream_seq"] <= 100 * PULLS
            return bool(info["delivered"]["stream_seq"] == 100 * PULLS)

        await until("delivered", delivered)
        assert len(await read_until(consumer, 5000)) == 5000


@in_a_loop
async def test_consumer_notices_the_end(new_nats: NewNats) -> None:
    """A NATS that dies ends a waiting read at once."""
    nats = new_nats()
    async with filled(nats, "END", 1):
        async with connected(nats.url) as nc:
            consumer = Consumer(nc, "END", max_messages=100)
            await consumer.open(2)
            reading = asyncio.create_task(consumer.read(60.0))
            await asyncio.sleep(0)
            nats.kill()
            async with asyncio.timeout(5):
                with pytest.raises(UnavailableError):
                    await reading


@in_a_loop
async def test_large_messages(new_nats: NewNats) -> None:
    """Messages larger than a pull request's usual limit still come."""
    nats = new_nats({"max_payload": 8 << 20})
    settings = settings_for(nats, "LARGE")
    async with connected(settings.nats) as nc:
        await declare_stream(nc, settings)
        size = 7 << 20
        for _ in range(4):
            await write_block(nc, b"PUB large.update %d\r\n%b\r\n" % (size, b"x" * size))
        await nc.flush(30)
        async with connected(nats.url) as mine:
            consumer = Consumer(mine, "LARGE", max_messages=100)
            await consumer.open(1)
            assert [len(body) for _, _, body in await read_until(consumer, 4)] == [size] * 4


@in_a_loop
async def test_a_stream_of_an_older_cdc_gets_one_key(nats: Nats) -> None:
    """Two that find it without end with the same; what others wrote of it stays as it is."""
    settings = settings_for(nats, "KEYLESS")
    async with connected(settings.nats) as one, connected(settings.nats) as two:
        config = stream_config(settings, fast_ingest=True) | {"metadata": {"owner": "payments"}}
        await api(one, "STREAM.CREATE.KEYLESS", config)
        await one.publish("keyless.update", b"of an older cdc")
        await one.flush()
        assert (await stream_state(one, "KEYLESS")).seal is UNSEALED

        states = await asyncio.gather(*(declare_stream(nc, settings) for nc in (one, two)))
        later = await declare_stream(one, settings)

    assert len({state.seal for state in (*states, later)}) == 1
    assert later.seal.fits(1, b"of an older cdc")
    assert not later.seal.fits(2, b"of an older cdc")
    assert later.config["metadata"]["owner"] == "payments"
    assert later.seal.key.hex() not in repr(later)


@in_a_loop
async def test_each_new_stream_has_a_key_of_its_own(nats: Nats) -> None:
    """Its first message needs a MAC already; processes that make it at once share the key."""
    seals = []
    for name in ("FIRST", "NEXT"):
        settings = settings_for(nats, name)
        async with connected(settings.nats) as one, connected(settings.nats) as two:
            made = await asyncio.gather(*(declare_stream(nc, settings) for nc in (one, two)))
        assert made[0].seal == made[1].seal
        seals.append(made[0].seal)

    assert seals[0].key != seals[1].key
    assert [seal.since for seal in seals] == [1, 1]
