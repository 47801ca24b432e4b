"""The writer on a real Redis: both or neither, fenced, and never a value in an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdc.demo.servers import Redis
from cdc.errors import (
    CdcError,
    FencedError,
    InternalError,
    PermissionDenied,
    PreflightError,
    UnavailableError,
)
from cdc.url import SecretSource, Url, parse_url
from redis_sink.plan.batch import Command
from redis_sink.store.preflight import check_server
from redis_sink.store.writer import Full, Writer
from tests.conftest import NewRedis
from tests.support.sinking import LOG, client, in_a_loop

KEY = "cdc:default:position"
SECRET = "row-value-canary"


def url_of(server: Redis, **more: Any) -> Url:
    return replace(parse_url(server.url, ("redis",)), **more)


@asynccontextmanager
async def a_writer(server: Redis, **login: Any) -> AsyncIterator[Writer]:
    writer = Writer(url_of(server, **login), key=KEY, name="cdc-sink-test")
    try:
        await writer.open()
        await writer.arm()
        yield writer
    finally:
        writer.close()


def sets(**values: str) -> list[Command]:
    return [("SET", key, value) for key, value in values.items()]


@pytest.fixture
def redis(new_redis: NewRedis) -> Redis:
    return new_redis()


@in_a_loop
async def test_data_and_position_together(redis: Redis) -> None:
    """A batch writes data and position; the next one follows on the same connection."""
    async with a_writer(redis) as writer:
        assert await writer.arm() is None
        await writer.apply([("MSET", "a", "1", "b", "\u00e9"), ("HSET", "h", "f", b"v")], b"p1")
        await writer.apply([("UNLINK", "a", "nothing")], b"p2")
        await writer.check()
        seen = client(redis)
        assert (seen.get("a"), seen.get("b"), seen.hgetall("h")) == (None, "\u00e9", {"f": "v"})
        assert seen.get(KEY) == "p2"
        assert await writer.arm() == b"p2"


@in_a_loop
async def test_large_batch(redis: Redis) -> None:
    """A batch of many megabytes and thousands of commands goes in one piece."""
    async with a_writer(redis) as writer:
        hashes: list[Command] = [("HSET", f"h:{i}", "f", "x" * 100) for i in range(5000)]
        strings: Command = ("MSET", *(part for i in range(8) for part in (f"s:{i}", "y" * 2**20)))
        await writer.apply([*hashes, strings], b"p1")
        assert client(redis).dbsize() == 5009


@in_a_loop
async def test_second_writer_is_fenced(redis: Redis) -> None:
    """Of two writers at the same position one applies; the other's batch leaves no trace."""
    async with a_writer(redis) as one, a_writer(redis) as two:
        await one.apply(sets(k="new"), b"p1")
        with pytest.raises(FencedError):
            await two.apply(sets(k="old", other="x"), b"p1b")
        seen = client(redis)
        assert (seen.get("k"), seen.exists("other"), seen.get(KEY)) == ("new", 0, "p1")
        await two.open()
        assert await two.arm() == b"p1"
        await two.apply(sets(k="newer"), b"p2")
        with pytest.raises(FencedError):
            await one.check()


@in_a_loop
async def test_emptied_redis_fences(redis: Redis) -> None:
    """After FLUSHALL nothing is applied on top of nothing."""
    async with a_writer(redis) as writer:
        await writer.apply(sets(a="1"), b"p1")
        client(redis).flushall()
        with pytest.raises(FencedError):
            await writer.apply(sets(a="2"), b"p2")
        assert client(redis).dbsize() == 0


@in_a_loop
async def test_batch_of_a_dropped_connection_never_lands(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that timed out never overwrites a newer one, even when Redis gets it later."""
    monkeypatch.setattr("redis_sink.store.writer.REPLY_TIMEOUT_S", 0.3)
    async with a_writer(redis) as old, a_writer(redis) as new:
        redis.pause()
        try:
            with pytest.raises(UnavailableError, match="does not answer"):
                await old.apply(sets(k="old", **{f"pad{i}": "x" * 60 for i in range(400)}), b"p1")
        finally:
            redis.resume()
        try:
            await new.apply(sets(k="new"), b"p2")
        except FencedError:  # the old batch was whole and first: allowed, and visible
            await new.open()
            assert await new.arm() == b"p1"
            await new.apply(sets(k="new"), b"p2")
        seen = client(redis)
        assert (seen.get("k"), seen.get(KEY)) == ("new", "p2")
        assert seen.dbsize() in (2, 402)


@in_a_loop
async def test_full_redis_is_waited_for(new_redis: NewRedis) -> None:
    """OOM: nothing is applied, not even the deletes, and it is a matter of waiting."""
    redis = new_redis(("--maxmemory-policy", "noeviction"))
    async with a_writer(redis) as writer:
        await writer.apply(sets(a="1"), b"p1")
        client(redis).config_set("maxmemory", "1")
        with pytest.raises(UnavailableError, match="OOM") as caught:
            await writer.apply([("UNLINK", "a"), *sets(b=SECRET)], b"p2")
        assert SECRET not in caught.value.text()
        client(redis).config_set("maxmemory", "0")
        await writer.open()
        assert await writer.arm() == b"p1"
        await writer.apply([("UNLINK", "a"), *sets(b="2")], b"p2")


@asynccontextmanager
async def a_full_redis(new_redis: NewRedis, **login: Any) -> AsyncIterator[tuple[Writer, Any]]:
    """Give a writer, and a Redis with 200 rows and no room for anything."""
    redis = new_redis(("--maxmemory-policy", "noeviction"))
    seen = client(redis)
    if login:
        seen.execute_command(  # type: ignore[no-untyped-call]
            "ACL SETUSER sink on >geheim ~* -@all +multi +exec +watch +get +set +mset +unlink "
            "+hset +select +client|setname"
        )
    async with a_writer(redis, **login) as writer:
        rows = {f"users:{n}": "x" * 2000 for n in range(200)}
        await writer.apply([*sets(**rows), ("HSET", "carts:1", "a", "y" * 2000)], b"p1")
        seen.config_set("maxmemory", seen.info("memory")["used_memory"] - 100_000)
        yield writer, seen


@in_a_loop
async def test_deletes_make_room_in_a_full_redis(new_redis: NewRedis) -> None:
    """With the position, in one step, whoever else writes; what grows waits."""
    async with a_full_redis(new_redis) as (writer, seen):
        await writer.apply([("UNLINK", "users:1", "carts:1", "users:none")], b"p2")
        assert (seen.exists("users:1", "carts:1"), seen.get(KEY)) == (0, "p2")
        # An insert that waits in front, and deletes behind it.
        mixed = [("MSET", "users:new", "n" * 3000), ("UNLINK", "users:2", "users:3")]
        await writer.apply(mixed, b"p3")
        assert seen.mget("users:new", "users:2", KEY) == ["n" * 3000, None, "p3"]
        hashed = [("UNLINK", "carts:2", "users:4"), ("HSET", "carts:2", "a", "1", "b", "2")]
        await writer.apply([*hashed, ("HINCRBY", "cdc:default:counts", "t", "1")], b"p4")
        assert seen.hgetall("carts:2") == {"a": "1", "b": "2"}
        await writer.apply([("MSET", "users:5", "same " * 390)], b"p5")
        assert (seen.get("users:5"), seen.get(KEY)) == ("same " * 390, "p5")
        await writer.apply([], b"p6")  # a boundary alone
        with pytest.raises(Full, match="its memory is full"):
            await writer.apply([("UNLINK", "users:6"), *sets(more="m" * 5000)], b"p7")
        assert (seen.exists("users:6"), seen.get(KEY)) == (1, "p6")


@in_a_loop
async def test_a_full_redis_has_a_fence_too(new_redis: NewRedis) -> None:
    """Another sink moved the position: nothing is deleted."""
    async with a_full_redis(new_redis) as (writer, seen):
        seen.config_set("maxmemory", "0")
        seen.set(KEY, "another's")
        seen.config_set("maxmemory", "1")
        with pytest.raises(FencedError):
            await writer.apply([("UNLINK", "users:1")], b"p2")
        assert (seen.exists("users:1"), seen.get(KEY)) == (1, "another's")
        seen.config_set("maxmemory", "0")


@in_a_loop
async def test_a_full_redis_without_the_right_to_a_script(new_redis: NewRedis) -> None:
    """It is waited for, and the fix names the right."""
    login = {"user": "sink", "password": "geheim"}
    async with a_full_redis(new_redis, **login) as (writer, seen):
        with pytest.raises(Full) as caught:
            await writer.apply([("UNLINK", "users:1")], b"p2")
        assert "+eval" in caught.value.text()
        assert (seen.exists("users:1"), seen.get(KEY)) == (1, "p1")


@in_a_loop
async def test_missing_right(redis: Redis) -> None:
    """NOPERM: nothing is applied, and the error names neither value nor password."""
    seen = client(redis)
    seen.execute_command(  # type: ignore[no-untyped-call]
        "ACL SETUSER sink on >geheim ~users:* ~cdc:* +multi +exec +watch +get +set "
        "+select +client|setname +role"
    )
    login = {"user": "sink", "password": "geheim"}
    async with a_writer(redis, **login) as writer:
        await check_server(writer, LOG)
        await writer.arm()
        await writer.apply([("SET", "users:1", "a")], b"p1")
        with pytest.raises(PermissionDenied, match="NOPERM") as caught:
            await writer.apply([("SET", "users:1", "b"), ("SET", "foreign:1", SECRET)], b"p2")
        assert SECRET not in caught.value.text()
        assert "geheim" not in caught.value.text()
        assert (seen.get("users:1"), seen.get(KEY)) == ("a", "p1")


@in_a_loop
async def test_forbidden_transactions_are_found_first(redis: Redis) -> None:
    """Without MULTI commands would run unprotected: found before the first write."""
    client(redis).execute_command(  # type: ignore[no-untyped-call]
        "ACL SETUSER sink on >geheim ~* +@all -multi +client|setname"
    )
    async with a_writer(redis, user="sink", password="geheim") as writer:
        with pytest.raises(PermissionDenied, match="MULTI"):
            await check_server(writer, LOG)


@in_a_loop
async def test_refused_login(new_redis: NewRedis) -> None:
    """A wrong or missing password is a refusal, not a wait."""
    redis = new_redis(("--requirepass", "right"))
    refused = "refuses the login"
    for login, why in (
        ({}, "wants a login"),
        ({"password": "geheim"}, refused),
        ({"user": "x", "password": "geheim"}, refused),
    ):
        with pytest.raises(PermissionDenied, match=why) as caught:
            async with a_writer(redis, **login):
                pass
        assert "geheim" not in caught.value.text()
    async with a_writer(redis, password="right") as writer:
        await writer.apply([], b"p1")


@in_a_loop
async def test_a_password_of_all_is_read_at_each_connection(redis: Redis, tmp_path: Path) -> None:
    """That of ``requirepass``: set first at the server or first in the file; and taken away."""
    path, seen = tmp_path / "password", client(redis)
    source = SecretSource(setting="CDC_REDIS_PASSWORD_FILE", file=str(path))

    async def refused(why: str) -> None:
        with pytest.raises(PermissionDenied, match=why) as caught:
            async with a_writer(redis, secret=source):
                pass
        assert caught.value.is_login
        assert f"the file {path} (CDC_REDIS_PASSWORD_FILE)" in caught.value.fix

    path.write_text("first")
    await refused("NOAUTH")
    for password in ("first", "second"):
        seen.config_set("requirepass", password)
        if password != "first":
            await refused("WRONGPASS")
        path.write_text(password)
        async with a_writer(redis, secret=source) as writer:
            await writer.apply([], password.encode())
        assert seen.get(KEY) == password


@in_a_loop
async def test_replica_is_waited_for(redis: Redis, new_redis: NewRedis) -> None:
    """A Redis that became a replica takes no writes: a failover is under way."""
    master = new_redis()
    async with a_writer(redis) as writer:
        await check_server(writer, LOG)
        await writer.arm()
        client(redis).execute_command(  # type: ignore[no-untyped-call]
            "REPLICAOF", "127.0.0.1", str(master.port)
        )
        with pytest.raises(UnavailableError, match="replica"):
            await check_server(writer, LOG)
    async with a_writer(redis) as writer:
        with pytest.raises(UnavailableError, match=r"READONLY|LOADING|MASTERDOWN"):
            await writer.apply(sets(a="1"), b"p1")


@in_a_loop
async def test_cluster_is_refused(new_redis: NewRedis) -> None:
    """A cluster cannot keep data and position in one transaction."""
    redis = new_redis(("--cluster-enabled", "yes"))
    with pytest.raises((PreflightError, UnavailableError)) as caught:
        async with a_writer(redis) as writer:
            await check_server(writer, LOG)
    assert "cluster" in caught.value.text()


@in_a_loop
async def test_server_that_is_down(redis: Redis) -> None:
    """A Redis that is down is waited for; a connection that breaks as well."""
    async with a_writer(redis) as writer:
        redis.kill()
        with pytest.raises(UnavailableError):
            await writer.apply(sets(a="1"), b"p1")
        with pytest.raises(UnavailableError):
            await writer.apply(sets(a="1"), b"p1")
        with pytest.raises(UnavailableError, match="refuses the connection"):
            await writer.open()


@in_a_loop
async def test_wrong_type_is_never_passed_over(redis: Redis) -> None:
    """An element of EXEC that failed stops: Redis does not roll back."""
    client(redis).set("a", "string")
    async with a_writer(redis) as writer:
        with pytest.raises(InternalError, match="WRONGTYPE") as caught:
            await writer.apply([("HSET", "a", "f", SECRET)], b"p1")
        assert SECRET not in caught.value.text()


@in_a_loop
async def test_unknown_refusal_names_no_value(redis: Redis) -> None:
    """A refusal that quotes its arguments is cut to its first word."""
    async with a_writer(redis) as writer:
        with pytest.raises(CdcError) as caught:
            await writer.apply([("NOSUCHCOMMAND", SECRET)], b"p1")
        assert SECRET not in caught.value.text()
        assert client(redis).dbsize() == 0


@in_a_loop
async def test_cancelled_batch_drops_the_connection(redis: Redis) -> None:
    """A batch that is cancelled half way is not followed by another on the same connection."""
    async with a_writer(redis) as writer:
        redis.pause()
        try:
            task = asyncio.create_task(writer.apply(sets(a="1"), b"p1"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            redis.resume()
        with pytest.raises(UnavailableError, match="closed"):
            await writer.apply(sets(a="2"), b"p2")
