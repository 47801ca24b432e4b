"""What commands would leave in Redis, and how that differs from what stands there."""

from __future__ import annotations

from typing import Any

import pytest

from redis_sink.plan.batch import Command
from redis_sink.queries.dry_run import Expected, _verdict, expected_of


def left(*commands: Command) -> dict[tuple[str, str, str], Any]:
    """Return what would stand there, by kind, key and part."""
    return {(e.kind, e.key, e.part): e.value for e in expected_of(commands)}


def test_the_last_command_of_a_key_counts() -> None:
    """A key that was removed and written again is there, and the other way round."""
    assert left(("UNLINK", "a", "b"), ("MSET", "a", "1", "c", "2"), ("UNLINK", "c")) == {
        ("string", "a", ""): "1",
        ("none", "b", ""): None,
        ("none", "c", ""): None,
    }
    assert left(("SET", "a", "1", "EX", "60")) == {("string", "a", ""): "1"}


def test_a_hash_of_a_row_is_whole_and_one_of_a_parent_has_parts() -> None:
    """The sink removes the one before it writes it, and never the other."""
    assert left(("UNLINK", "h"), ("HSET", "h", "n", b"1"), ("HSET", "p", "f", "x")) == {
        ("hash", "h", ""): {"n": "1"},
        ("hash", "p", "f"): "x",
    }
    assert set(left(("ZADD", "z", "5", "m"), ("SREM", "s", "gone"))) == {
        ("zset", "z", "m"),
        ("set", "s", "gone"),
    }


@pytest.mark.parametrize(
    ("commands", "kind", "answer", "verdict"),
    [
        ([("MSET", "a", "1")], "string", b"1", "same"),
        ([("MSET", "a", "1")], "string", b"2", "other"),
        ([("MSET", "a", "1")], "hash", None, "other"),
        ([("MSET", "a", "1")], "none", None, "missing"),
        ([("UNLINK", "a")], "none", None, "same"),
        ([("UNLINK", "a")], "set", None, "surplus"),
        ([("UNLINK", "a"), ("HSET", "a", "n", "1")], "hash", [b"n", b"1"], "same"),
        ([("UNLINK", "a"), ("HSET", "a", "n", "1")], "hash", [b"n", b"1", b"m", b"2"], "other"),
        ([("HSET", "a", "f", "1")], "hash", b"1", "same"),
        ([("HSET", "a", "f", "1")], "hash", None, "missing"),
        ([("HDEL", "a", "f")], "hash", b"1", "surplus"),
        ([("SADD", "a", "m")], "set", 1, "same"),
        ([("SADD", "a", "m")], "set", 0, "missing"),
        ([("ZADD", "a", "5", "m")], "zset", b"5", "same"),
        ([("ZADD", "a", "5", "m")], "zset", b"6", "other"),
        ([("ZREM", "a", "m")], "zset", None, "same"),
    ],
)
def test_verdicts(commands: list[Command], kind: str, answer: Any, verdict: str) -> None:
    """By the key's type, then by what stands there."""
    expected: Expected = expected_of(commands)[0]

    assert _verdict(expected, kind, answer) == verdict
