"""A dead letter keeps the message, and always fits."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from redis_sink.plan.batch import DeadLetter
from redis_sink.stream.dead_letter import envelope


def a_letter(body: bytes, **more: Any) -> DeadLetter:
    return DeadLetter(seq=812, subject="mysql.update", reason="not the contract", body=body, **more)


def test_body_is_kept_byte_for_byte() -> None:
    """Whatever came is in the dead letter, with where it came from."""
    body = bytes(range(256))
    letter = msgspec.json.decode(envelope(a_letter(body), "MYSQL", max_payload_bytes=1 << 20))
    assert letter == {
        "reason": "not the contract",
        "stream": "MYSQL",
        "seq": 812,
        "subject": "mysql.update",
        "body": base64.b64encode(body).decode(),
        "body_bytes": 256,
    }


@pytest.mark.parametrize("text", ["k", "\u0001", "\U0001f600"])
@pytest.mark.parametrize("size", [0, 100_000, 1 << 20])
def test_it_always_fits(text: str, size: int) -> None:
    """The largest message and the longest key still make a dead letter that NATS takes."""
    raw = envelope(
        a_letter(b"x" * size, key=text * 100_000, table="shop.users"),
        "MYSQL",
        max_payload_bytes=1 << 20,
    )
    assert len(raw) <= 1 << 20
    letter = msgspec.json.decode(raw)
    assert letter["body_bytes"] == size
    assert letter.get("truncated", False) == (size == 1 << 20)
