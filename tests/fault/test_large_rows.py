"""Either side is killed between the parts of a large row: it arrives once and whole."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import nats
import pytest

from cdc.demo.servers import MySQL, Nats, Redis
from tests.support.depth import by_depth
from tests.support.pipeline import Process, wait_for
from tests.support.place import Place
from tests.support.tally import seeded
from tests.support.truth import assert_exactly_once, messages

LARGE_BYTES = 8_000_000
KILLS = by_depth(1, full=6)
"""Of each side."""


@pytest.fixture
def place(mysql: MySQL, nats: Nats, redis_server: Redis, tmp_path: Path) -> Iterator[Place]:
    """A table with room for large rows."""
    made = Place(mysql, nats, redis_server, tmp_path)
    made.execute("SET GLOBAL max_allowed_packet = 1073741824")
    made.execute("CREATE TABLE t (id INT PRIMARY KEY, n INT, body LONGTEXT)")
    made.execute(*(f"INSERT INTO t VALUES ({n}, 0, 'x')" for n in range(20)))
    yield made
    made.close()


def is_equal(place: Place) -> bool:
    """Whether Redis has each row and no other key."""
    rows = place.execute("SELECT id, n, SHA2(body, 256) FROM t ORDER BY id")
    keys = sorted(place.client.keys("t:*"), key=lambda key: int(key[2:]))
    if keys != [f"t:{id_}" for id_, *_ in rows]:
        return False
    got = [json.loads(str(text)) for text in place.client.mget(keys)]
    return [*rows] == [
        (row["id"], row["n"], hashlib.sha256(row["body"].encode()).hexdigest()) for row in got
    ]


def kill_between_parts(
    place: Place, stream: str, victim: Process, change: Callable[[], None]
) -> None:
    """Change rows; SIGKILL a process when the newest part in the stream is not its row's last."""

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        client = await nats.connect(place.nats.url)
        jetstream = client.jetstream()
        before = (await jetstream.stream_info(stream)).state.last_seq
        changing = loop.run_in_executor(None, change)
        end_s = loop.time() + 30
        while True:
            assert loop.time() < end_s, "no row came in parts"
            seq = (await jetstream.stream_info(stream)).state.last_seq
            if seq > before:
                body = json.loads((await jetstream.get_msg(stream, seq)).data or b"{}")
                if body.get("op") == "part" and 3 <= body["part"] < body["parts"]:
                    break
        victim.kill()
        await changing
        await client.close()

    asyncio.run(wait())


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_row_whose_parts_are_cut_off_arrives_once_and_whole(
    place: Place, partitions: int
) -> None:
    """SIGKILL of the reader, then of the sink, while its parts are on their way."""
    pipeline = place.pipeline(f"partitions = {partitions}\n{{t}}\n")
    stream = pipeline.environment["CDC_STREAM"]
    pipeline.environment["CDC_TABLES"] = f"{place.schema}.t"
    reader = pipeline.process("--role", "reader", name="reader").start()
    sink = pipeline.process("--role", "sink", name="sink").start()
    wait_for("the rows", lambda: is_equal(place), 30)
    for kill in range(2 * KILLS):
        victim = (reader, sink)[kill % 2]
        changes = (
            "UPDATE t SET n = n + 1",
            f"UPDATE t SET body = REPEAT('{kill}', {LARGE_BYTES}) WHERE id = {kill}",
            f"UPDATE t SET id = id + 100 WHERE id = {kill}",
            "UPDATE t SET n = n + 1 WHERE id < 100",
        )
        kill_between_parts(place, stream, victim, partial(place.execute, *changes))
        victim.start()
        wait_for("all rows", lambda: is_equal(place), 40)
    assert begun_again(messages(place.nats.url, stream)) > 0
    assert [reader.stop(), sink.stop()] == [0, 0], pipeline.logs()
    assert_exactly_once(place.nats.url, stream)
    assert "no dead letters" in place.cdc(pipeline, "dead", "list")


def begun_again(stored: list[tuple[str, dict[str, object]]]) -> int:
    """Return how many rows have their first part in the stream more than once."""
    first = [body["id"] for _, body in stored if body.get("op") == "part" and body["part"] == 1]
    return len(first) - len(set(map(str, first)))


def test_large_rows_pass_a_stream_that_holds_few_of_them(place: Place) -> None:
    """The reader waits for room, also between two parts; a row that never fits is left out."""
    pipeline = place.pipeline("stream_max_bytes = 20000000\n{t}\n")
    reader = pipeline.process("--role", "reader", name="reader").start()
    sink = pipeline.process("--role", "sink", name="sink").start()
    wait_for("the rows", lambda: is_equal(place), 30)
    sink.freeze()
    for n in range(5):
        place.execute(f"UPDATE t SET n = n + 1, body = REPEAT('{n}', 6000000) WHERE id = {n}")
    wait_for("a full stream", lambda: "the stream is full" in reader.text(), 30)
    sink.thaw()
    wait_for("all rows", lambda: is_equal(place), 60)
    place.execute(
        "UPDATE t SET body = REPEAT('y', 12000000) WHERE id = 1", "UPDATE t SET n = 9 WHERE id = 2"
    )
    wait_for("the row after it", lambda: '"n":9' in str(place.client.getrange("t:2", 0, 40)), 30)
    assert place.client.exists("t:1") == 0
    assert "the limit is 10,000,000; key removed" in place.cdc(pipeline, "dead", "list")
    assert [reader.stop(), sink.stop()] == [0, 0], pipeline.logs()


def test_copies_of_parts_change_nothing(place: Place) -> None:
    """A login that reads the stream publishes its parts again, in another order, all the time."""
    pipeline = place.pipeline("{t}\n")
    stream = pipeline.environment["CDC_STREAM"]
    process = pipeline.run()
    wait_for("the rows", lambda: is_equal(place), 30)
    chance = seeded()

    async def copy() -> int:
        client = await nats.connect(place.nats.url)
        jetstream = client.jetstream()
        parts: list[bytes] = []
        for n in range(4):
            change = f"UPDATE t SET n = n + 1, body = REPEAT('{n}', 4000000) WHERE id = {n}"
            changing = asyncio.get_running_loop().run_in_executor(None, place.execute, change)
            while not changing.done() or not parts:
                for body in chance.sample(parts, min(3, len(parts))):
                    await jetstream.publish(f"{stream}.part", body)
                last = (await jetstream.stream_info(stream)).state.last_seq
                stored = await jetstream.get_msg(stream, last)
                if stored.subject == f"{stream}.part" and stored.data:
                    parts.append(stored.data)
        await client.close()
        return len(parts)

    assert asyncio.run(copy()) > 0
    wait_for("all rows", lambda: is_equal(place), 60)
    place.execute("UPDATE t SET n = n + 1")
    wait_for("a change after them", lambda: is_equal(place), 30)
    assert process.stop() == 0, process.text()
    assert "no dead letters" in place.cdc(pipeline, "dead", "list")
