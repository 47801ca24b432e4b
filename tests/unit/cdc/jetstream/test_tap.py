"""The quick receive path agrees with nats-py's parser, wherever the bytes are cut."""

from __future__ import annotations

import asyncio
from typing import Any

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.protocol.parser import Parser

from cdc.errors import InternalError
from cdc.jetstream.tap import Raw, Tap

pytestmark = pytest.mark.usefixtures("path")

OURS = 7
HEADER = b"NATS/1.0\r\nNats-Expected-Last-Sequence: 41\r\n\r\n"
BODIES = (
    b'{"key":"users:1"}',
    b"",
    b"MSG in a body\r\nPING\r\nHMSG a 7 1 1\r\n",
    b"\r\n",
    b"x" * 300,
)


class Recorder(Client):
    """A client without a server: notes what a parser hands to it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, ...]] = []

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        self.seen.append((sid, bytes(subject), bytes(reply), bytes(headers or b""), bytes(data)))

    async def _process_ping(self) -> None:
        self.seen.append(("PING",))

    async def _process_pong(self) -> None:
        self.seen.append(("PONG",))

    async def _process_err(self, err_msg: str) -> None:
        self.seen.append(("-ERR", err_msg))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        self.seen.append(("INFO", info))


def frame(sid: int, body: bytes, *, header: bytes = b"", reply: bytes = b"") -> bytes:
    parts = [b"mysql.update", b"%d" % sid] + ([reply] if reply else [])
    if header:
        parts = [b"HMSG", *parts, b"%d" % len(header), b"%d" % (len(header) + len(body))]
    else:
        parts = [b"MSG", *parts, b"%d" % len(body)]
    return b" ".join(parts) + b"\r\n" + header + body + b"\r\n"


def a_bit_of_everything() -> bytes:
    out = [b"PING\r\n", b'INFO {"server_id":"x","version":"2.15.1"}\r\n', b"+OK\r\n"]
    for i, body in enumerate(BODIES):
        reply = b"$JS.ACK.MYSQL.c.1.%d.%d.1795.9" % (i, i)
        out.append(frame(OURS, body, header=HEADER, reply=reply))
        out.append(frame(OURS, body, reply=reply))
        out.append(frame(8, body, header=HEADER))
        out.append(frame(77, body))
        out.append(frame(OURS, body))
        out.append(frame(OURS, b"", header=b"NATS/1.0 100 Idle Heartbeat\r\n\r\n"))
        out.append(b"PONG\r\n")
    out.append(b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n")
    return b"".join(out)


def by_nats_py(data: bytes) -> tuple[list[Raw], list[tuple[Any, ...]]]:
    """Return what the original parser makes of the bytes: (ours, the rest)."""
    nc = Recorder()
    asyncio.run(Parser(nc).parse(data))
    ours = [one[1:] for one in nc.seen if one[0] == OURS]
    return ours, [one for one in nc.seen if one[0] != OURS]


def by_tap(
    pieces: list[bytes], limit_bytes: int = 1 << 20
) -> tuple[list[Raw], list[tuple[Any, ...]]]:
    nc = Recorder()

    async def parse() -> list[Raw]:
        tap = Tap(nc, limit_bytes=limit_bytes)
        tap.follow(Subscription(nc, OURS))
        for piece in pieces:
            await nc._ps.parse(piece)
        return tap.take()

    return asyncio.run(parse()), nc.seen


def test_cut_at_every_offset() -> None:
    """Wherever one read ends and the next begins, the same messages come out."""
    data = a_bit_of_everything()
    expected = by_nats_py(data)
    assert expected[0]
    assert expected[1]
    for at in range(len(data) + 1):
        assert by_tap([data[:at], data[at:]]) == expected, at


def test_byte_by_byte() -> None:
    """A stream that trickles gives the same messages."""
    data = a_bit_of_everything()
    assert by_tap([data[i : i + 1] for i in range(len(data))]) == by_nats_py(data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([OURS, 8, 70]),
            st.binary(max_size=40),
            st.sampled_from([b"", HEADER]),
            st.sampled_from([b"", b"_INBOX.a.b"]),
        ),
        max_size=8,
    ),
    st.lists(st.integers(1, 60), max_size=20),
)
def test_any_frames_any_cuts(
    frames: list[tuple[int, bytes, bytes, bytes]], cuts: list[int]
) -> None:
    """Any frames, cut anywhere, are what nats-py would have made of them."""
    data = b"".join(frame(sid, body, header=h, reply=r) for sid, body, h, r in frames)
    pieces, rest = [], data
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert by_tap([*pieces, rest]) == by_nats_py(data)


@pytest.mark.parametrize("line", [b"MSG a 7\r\n", b"MSG a 7 x\r\n", b"MSG\r\n", b"HMSG a 7 1\r\n"])
def test_malformed_frame_breaks_the_connection(line: bytes) -> None:
    """What is no frame is never skipped: the read loop ends the connection on this error."""
    with pytest.raises(nats.errors.ProtocolError):
        by_tap([line + b"x" * 20])


def test_too_much_waiting_breaks_the_connection() -> None:
    """Memory is bounded: a server that sends more than was asked for is cut off."""

    async def flood() -> None:
        nc = Recorder()
        tap = Tap(nc, limit_bytes=1000)
        tap.follow(Subscription(nc, OURS))
        await nc._ps.parse(frame(OURS, b"x" * 900))
        tap.take()
        await nc._ps.parse(frame(OURS, b"x" * 900))
        with pytest.raises(nats.errors.ProtocolError):
            await nc._ps.parse(frame(OURS, b"x" * 900))

    asyncio.run(flood())


def test_large_message_in_small_reads() -> None:
    """A message of many reads is put together once, not once a read."""
    data = frame(OURS, b"y" * 5_000_000)
    pieces = [data[i : i + 4096] for i in range(0, len(data), 4096)]
    ((_, _, _, body),), rest = by_tap(pieces, limit_bytes=1 << 30)
    assert (len(body), rest) == (5_000_000, [])


def test_too_late_is_refused() -> None:
    """Put in while a message is half received, bytes would be lost: refused."""

    async def late() -> None:
        nc = Recorder()
        await nc._ps.parse(b"MSG a 1 5\r\nhe")
        with pytest.raises(InternalError):
            Tap(nc, limit_bytes=1000)

    asyncio.run(late())


@pytest.mark.parametrize(
    "claimed",
    [
        b"MSG mysql.update 7 1099511627776\r\n",
        b"HMSG mysql.update 7 12 1099511627776\r\n",
        b"MSG other 8 1099511627776\r\n",
        b"MSG mysql.update 7 " + b"9" * 4000 + b"\r\n",
        b"INFO {" + b" " * (2 << 20),
    ],
)
def test_what_claims_to_be_endless_is_refused_at_once(claimed: bytes) -> None:
    """A length is not believed until the memory is full."""

    async def parse() -> None:
        nc = Recorder()
        tap = Tap(nc, limit_bytes=1 << 20)
        tap._sid = b"7"
        await tap.parse(claimed)

    with pytest.raises(nats.errors.ProtocolError):
        asyncio.run(parse())
