"""The naive form: mysql-replication, `js.publish` and redis-py as their examples show them.

``python naive.py reader MYSQL_PORT NATS_PORT REDIS_PORT BINLOG_FILE OFFSET TABLE,TABLE``
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import nats
import redis
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

OPS = {WriteRowsEvent: "insert", UpdateRowsEvent: "update", DeleteRowsEvent: "delete"}


def plain(value: Any) -> Any:
    """Return a JSON column's keys and texts, which the library gives as bytes, as text."""
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


async def reader(mysql: str, nats_port: str, file: str, offset: str, tables: str) -> None:
    connection = await nats.connect(f"nats://127.0.0.1:{nats_port}")
    jetstream = connection.jetstream()
    await jetstream.add_stream(name="NAIVE", subjects=["mysql.>"])
    stream = BinLogStreamReader(
        connection_settings={
            "host": "127.0.0.1", "port": int(mysql),
            "user": "root", "password": os.environ["MYSQL_PWD"],
        },
        server_id=85743, blocking=True, resume_stream=True, log_file=file, log_pos=int(offset),
        only_events=list(OPS), only_tables=tables.split(","),
    )  # fmt: skip
    for event in stream:
        op = OPS[type(event)]
        for row in event.rows:
            old = row.get("before_values", row.get("values"))
            new = row.get("after_values", row.get("values"))
            message: dict[str, Any] = {"key": f"{event.table}:{new['id']}", "op": op}
            message["old_key"] = f"{event.table}:{old['id']}"
            message["value"] = json.dumps(plain(new), default=str)
            await jetstream.publish(f"mysql.{op}", json.dumps(message).encode())


async def sink(nats_port: str, redis_port: str) -> None:
    connection = await nats.connect(f"nats://127.0.0.1:{nats_port}")
    client = redis.Redis(port=int(redis_port))
    jetstream = connection.jetstream()
    # Whichever of the two comes first makes it.
    await jetstream.add_stream(name="NAIVE", subjects=["mysql.>"])
    pull = await jetstream.pull_subscribe("mysql.>", durable="naive", stream="NAIVE")
    while True:
        try:
            messages = await pull.fetch(500, timeout=1)
        except TimeoutError:  # of nats-py or of asyncio: fetch raises either
            continue
        pipeline = client.pipeline(transaction=False)
        for message in messages:
            change = json.loads(message.data)
            if change["op"] == "delete" or change["old_key"] != change["key"]:
                pipeline.delete(change["old_key"])
            if change["op"] != "delete":
                pipeline.set(change["key"], change["value"])
        pipeline.execute()
        for message in messages:
            await message.ack()


if __name__ == "__main__":
    role, mysql, nats_port, redis_port, *rest = sys.argv[1:]
    if role == "reader":
        arguments = [sys.executable, __file__, "sink", *sys.argv[2:]]
        with subprocess.Popen(arguments) as child:
            try:
                asyncio.run(reader(mysql, nats_port, *rest))
            finally:
                child.kill()
    else:
        asyncio.run(sink(nats_port, redis_port))
