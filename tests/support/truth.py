"""The same truth at the end of every fault test.

MySQL equals Redis exactly, by a SELECT and a formatting of its own that share nothing with
the pipeline; the stream holds every message once and in order; nobody saw a value go back.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Collection
from typing import Any

import nats
import pymysql
import redis
from nats.aio.msg import Msg
from nats.js.errors import ServiceUnavailableError

from cdc.message import parse_id

CREATE = """
CREATE TABLE {table} (
  id INT PRIMARY KEY,
  name VARCHAR(80) CHARACTER SET utf8mb4 NOT NULL,
  balance DECIMAL(12,2) NULL,
  ver INT NOT NULL
)
"""


def expected(connection: pymysql.Connection[Any], table: str) -> dict[str, str]:
    """Return key -> value as Redis must hold them, for a table made by `CREATE`."""
    name = table.rpartition(".")[2].strip("`")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, name, CAST(balance AS CHAR), ver FROM {table}")
        return {
            f"{name}:{id_}": json.dumps(
                {"id": id_, "name": text, "balance": balance, "ver": ver},
                ensure_ascii=False,
                separators=(",", ":"),
            )
            for id_, text, balance, ver in cursor.fetchall()
        }


def found(client: redis.Redis, table: str) -> dict[str, str]:
    """Return key -> value of all keys under the table's prefix."""
    prefix = table.rpartition(".")[2].strip("`") + ":"
    keys = sorted(client.scan_iter(match=f"{prefix}*", count=5000))
    values: list[Any] = []
    for at in range(0, len(keys), 5000):
        values += client.mget(keys[at : at + 5000])
    return {k.decode(): v.decode() for k, v in zip(keys, values, strict=True) if v is not None}


def assert_equal(connection: pymysql.Connection[Any], client: redis.Redis, table: str) -> None:
    """MySQL and Redis hold the same rows: none missing, none too many, none older."""
    want, have = expected(connection, table), found(client, table)
    missing = sorted(want.keys() - have.keys())[:5]
    extra = sorted(have.keys() - want.keys())[:5]
    wrong = [(k, want[k], have[k]) for k in sorted(want.keys() & have.keys()) if want[k] != have[k]]

    assert (missing, extra, wrong[:5]) == ([], [], [])


def wait_until_equal(
    connection: pymysql.Connection[Any],
    client: redis.Redis,
    table: str,
    deadline_s: float = 60.0,
    ignore: Collection[str] = (),
) -> None:
    """Wait until Redis has caught up with a MySQL that nobody writes to any more.

    Args:
        ignore: keys that an application writes by itself.
    """
    want = expected(connection, table)
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        have = found(client, table)
        if {k: v for k, v in have.items() if k not in ignore} == want:
            return
        time.sleep(0.05)
    assert_equal(connection, client, table)


def messages(url: str, stream: str = "MYSQL") -> list[tuple[str, dict[str, Any]]]:
    """Return (subject, body) of every message of a stream, in order.

    A cluster that has just found its leader may still refuse to make a consumer.
    """
    end = time.monotonic() + 30
    while True:
        try:
            return asyncio.run(_messages(url, stream))
        except ServiceUnavailableError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


async def _messages(url: str, stream: str) -> list[tuple[str, dict[str, Any]]]:
    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        left = (await jetstream.stream_info(stream)).state.messages
        out: list[tuple[str, dict[str, Any]]] = []
        if not left:
            return out
        whole = asyncio.Event()

        async def take(message: Msg) -> None:
            out.append((message.subject, _body(message.data)))
            if len(out) == left:
                whole.set()

        await jetstream.subscribe(
            ">",
            stream=stream,
            cb=take,
            ordered_consumer=True,
            pending_msgs_limit=-1,
            pending_bytes_limit=-1,
        )
        await asyncio.wait_for(whole.wait(), 60)
        return out
    finally:
        await client.close()


def _body(data: bytes) -> dict[str, Any]:
    """Return a message's body, {} where it is none of ours."""
    try:
        body = json.loads(data)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def assert_exactly_once(url: str, stream: str = "MYSQL") -> int:
    """Every message of ours is in the stream once and in order; return how many rows they carry.

    With several partitions ids grow through all of them, each has a chain of its own without
    a hole, and a key's messages are all in one.
    """
    newest = ""
    last_of: dict[str, str] = {}
    home: dict[str, str] = {}
    count = 0
    for subject, body in messages(url, stream):
        if "last_of" in body:
            ends = {str(n): last for n, last in enumerate(body["last_of"]) if last}
            assert ends == {n: last for n, last in last_of.items() if last}, subject
        if "id" not in body or body.get("part", 0) != body.get("parts", 0):
            continue  # of a row in parts, the last one counts
        assert parse_id(body["id"]) > parse_id(newest), f"{body['id']} after {newest}"
        newest = body["id"]
        keys = [row["key"] for row in body["rows"]] if "rows" in body else [body.get("key", "")]
        count += len(keys)
        if "prev_of" in body:
            assert body["prev_of"] == [last_of.get(str(n), "") for n in range(len(body["prev_of"]))]
            last_of = {str(n): newest for n in range(len(body["prev_of"]))}
            continue
        partition = subject.rpartition(".")[2] if subject[-1].isdigit() else ""
        previous = last_of.get(partition, "")
        assert body["prev"] == previous, f"{subject} {newest} follows {previous}"
        assert {home.setdefault(key, partition) for key in keys if key} <= {partition}, subject
        last_of[partition] = newest
    return count


class Observer:
    """Polls the version column of random rows in Redis and notes when one goes back."""

    def __init__(self, client: redis.Redis, keys: list[str]) -> None:
        """Watch these keys until `stop`."""
        self.backwards: list[tuple[str, int, int]] = []
        self.samples = 0
        self._client = client
        self._keys = keys
        self._newest: dict[str, int] = {}
        self._seen: dict[str, bytes] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                values: Any = self._client.mget(self._keys)
            except redis.RedisError:
                time.sleep(0.05)
                continue
            for key, value in zip(self._keys, values, strict=True):
                if value is not None and value != self._seen.get(key):
                    self._seen[key] = value
                    self._note(key, json.loads(value)["ver"])
            self.samples += 1
            time.sleep(0.005)

    def _note(self, key: str, version: int) -> None:
        before = self._newest.get(key, version)
        if version < before:
            self.backwards.append((key, before, version))
        self._newest[key] = version

    def end(self) -> None:
        """End the watch, whatever was seen."""
        self._stop.set()
        self._thread.join()

    def stop(self) -> None:
        """End the watch; fail if a value went back or nothing was seen."""
        self.end()

        assert self.backwards == []
        assert self.samples > 0
