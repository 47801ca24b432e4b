"""Messages that look like ours, by a login that may publish and read nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import nats

from cdc.demo.servers import Nats

LOGINS = """
authorization { users: [
  { user: cdc, password: cdc }
  { user: app, password: app
    permissions: { publish: ["mysql.update"], subscribe: ["_INBOX_app.>"] } }
  { user: loud, password: loud
    permissions: { publish: ["mysql.>"], subscribe: ["_INBOX_app.>"] } }
] }
no_auth_user: cdc
"""
"""``app`` has the rights that docs/operations.md gives to who sends bare messages."""
AHEAD = b'{"key":"users:1","value":"forged","op":"%b","table":"shop.users","id":"99.1.1.0",%b}'
REST = b'"prev":"","ts":1,"v":1'
BOUNDARY = (
    b'{"op":"heartbeat","epoch":99,"server":"%b","began":1,"file":"binlog.999999","offset":4,'
    b'"gtid_set":"%b:1-999999999","last":"%b","snapshot":{},"ts":1,"v":1}'
)
REFRESH = (
    b'{"op":"refresh","number":9007199254740991,"tables":["shop.users"],"gap":%b,'
    b'"boundary":%b,"v":1}'
)
PART = (
    b'{"op":"part","of":"update",%b"prev":"","part":1,"parts":2,"whole":"AAAAAAAAAAAA",'
    b'"slice":"eyJr","v":1'
)
GUESSED = b',"mac":"AAAAAAAAAAAA"}'


def forged(server: bytes) -> list[tuple[str, bytes]]:
    """Return subject and body of one message of each kind, none of which may have an effect.

    Args:
        server: whose binlog the heartbeats speak of.
    """
    beat, broken = BOUNDARY % (server, server, b"99.1.1.0"), BOUNDARY % (server, server, b"x.y")
    place = b'"table":"shop.users","id":"99.1.1.0",'
    rows = b'{"rows":[{"key":"users:1","value":"forged"}],' + place
    bodies = [
        ("update", b'{"key":"x","op":"update","table":"x.y","id":"99.1.1.0",' + REST + b"}"),
        ("update", AHEAD % (b"update", REST)),
        ("update", (AHEAD % (b"update", REST))[:-1] + GUESSED),
        ("update", (AHEAD % (b"update", REST)).replace(b"99.1", b"9" * 5000 + b".1")),
        ("insert", AHEAD % (b"insert", REST)),
        ("delete", b'{"key":"users:1","op":"delete",' + place + REST + b"}"),
        ("snapshot", rows + REST + b"}"),
        ("snapshot", rows + REST + GUESSED),
        ("schema", b'{"op":"schema","statement":"DROP",' + place + REST + b"}"),
        ("part", PART % place + b"}"),
        ("part", PART % place + GUESSED),
        ("tables", b'{"op":"tables","number":1,"part":1,"parts":1,"snapshot":{},"v":1}'),
        ("heartbeat", beat),
        ("heartbeat", beat.replace(b'"snapshot"', b'"listed":{"number":1,"seq":1},"snapshot"')),
        ("heartbeat", broken),
        ("heartbeat", beat[:-1] + GUESSED),
        ("refresh", REFRESH % (b"true", beat)),
        ("refresh", REFRESH % (b"false", broken)),
        ("refresh", (REFRESH % (b"true", broken))[:-1] + GUESSED),
    ]  # fmt: skip
    return [(f"mysql.{op}", body) for op, body in bodies]


def publish(server: Nats, login: str, messages: Iterable[tuple[str, bytes]]) -> int:
    """Publish as fast as it goes; return when all are stored, and how many those were."""

    async def send() -> int:
        count = 0
        client = await nats.connect(
            f"nats://{login}:{login}@127.0.0.1:{server.port}",
            inbox_prefix="_INBOX_app",
            pending_size=64 << 20,
        )
        last = ("mysql.update", b"")
        for count, last in enumerate(messages, 1):
            await client.publish(*last)
            if count % 5000 == 0:
                await client.flush()
        # The stream takes one connection's messages in order: with the last all are stored.
        await client.jetstream(timeout=60).publish(*last)
        await client.close()
        return count + 1

    return asyncio.run(send())
