"""The sink's part of `cdc run --dry-run`: the commands that would be sent, against what is there.

The same plan as the sink's; Redis is only read.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cdc.errors import PermissionDenied
from cdc.message import decode_placed, subject_for
from cdc.settings import Settings
from cdc.table import Table
from redis_sink.plan.applied import Applied
from redis_sink.plan.batch import Command
from redis_sink.plan.planner import Planner
from redis_sink.store.writer import Writer

EXAMPLES = 5
TOGETHER = 500
"""Keys that are asked for together."""
_GONE, _SET = object(), object()


class Expected(NamedTuple):
    """What a key, or a part of one, would be: ``Expected("string", "users:1", "", "{…}")``."""

    kind: str
    key: str
    part: str
    value: Any


async def dry_run(
    settings: Settings, tables: Sequence[Table], messages: Sequence[tuple[str, bytes]]
) -> dict[str, Any]:
    """Return commands by their names, some of them, the dead letters, the difference.

    Args:
        messages: operation and body of each.

    Raises:
        CdcError: Redis does not answer, or a message does not follow the one before.
    """
    commands, dead = planned(settings, tables, messages)
    expected = expected_of(commands)
    about: dict[str, Any] = {
        "commands": dict(Counter(str(command[0]) for command in commands)),
        "examples": [_example(command) for command in commands[:EXAMPLES]],
        "quarantined": dead,
    }
    writer = Writer(settings.redis, key="", name="cdc-dry-run")
    try:
        await writer.open()
        return about | {"redis": await _difference(writer, expected)}
    except PermissionDenied as error:
        return about | {"redis": {"error": error.seen}}
    finally:
        writer.close()


def planned(
    settings: Settings, tables: Sequence[Table], messages: Sequence[tuple[str, bytes]]
) -> tuple[list[Command], list[dict[str, Any]]]:
    """Return what the sink would send, and its dead letters."""
    planner = Planner(
        tables,
        pipeline=settings.pipeline,
        subject_prefix=settings.subject_prefix,
        bare_messages=settings.bare_messages,
    )
    waiting = [
        (seq, subject_for(settings.subject_prefix, op).encode(), body)
        for seq, (op, body) in enumerate(messages, 1)
    ]
    before = decode_placed(waiting[0][2]).prev if waiting else ""
    applied = Applied(stream=settings.stream, created="", seq=0, id=before, id_seq=-1)
    commands: list[Command] = []
    dead: list[dict[str, Any]] = []
    while waiting:
        some = waiting[: settings.batch_max_messages]
        batch = planner.plan(applied, some, now_us=time.time_ns() // 1000)
        commands += batch.commands
        dead += [{"table": d.table, "key": d.key, "reason": d.reason} for d in batch.dead]
        applied, waiting = batch.applied, waiting[batch.consumed :]
    return commands, dead


def expected_of(commands: Iterable[Command]) -> list[Expected]:
    """Return what would be in Redis after these commands.

    >>> expected_of([("MSET", "users:1", "a"), ("SADD", "of:7", "users:1")])[1].kind
    'set'
    """
    whole: dict[str, tuple[str, Any]] = {}
    parts: dict[tuple[str, str, str], Any] = {}
    for raw in commands:
        verb, *rest = (p.decode() if isinstance(p, bytes) else p for p in raw)
        if verb == "MSET":
            whole.update((k, ("string", v)) for k, v in zip(rest[::2], rest[1::2], strict=True))
        elif verb == "UNLINK":
            whole.update((key, ("none", None)) for key in rest)
        elif verb == "SET":
            whole[rest[0]] = ("string", rest[1])
        elif verb == "HSET" and rest[0] in whole:
            whole[rest[0]] = ("hash", dict(zip(rest[1::2], rest[2::2], strict=True)))
        elif verb == "HSET":
            parts.update(
                (("hash", rest[0], f), v) for f, v in zip(rest[1::2], rest[2::2], strict=True)
            )
        elif verb == "ZADD":
            parts.update(
                (("zset", rest[0], m), s) for s, m in zip(rest[1::2], rest[2::2], strict=True)
            )
        elif verb == "SADD":
            parts.update((("set", rest[0], member), _SET) for member in rest[1:])
        elif verb in ("HDEL", "SREM", "ZREM"):
            kind = {"HDEL": "hash", "SREM": "set", "ZREM": "zset"}[verb]
            parts.update(((kind, rest[0], name), _GONE) for name in rest[1:])
    return [Expected(kind, key, "", value) for key, (kind, value) in whole.items()] + [
        Expected(kind, key, name, value) for (kind, key, name), value in parts.items()
    ]


async def _difference(writer: Writer, expected: Sequence[Expected]) -> dict[str, Any]:
    counts = Counter(same=0, other=0, missing=0, surplus=0)
    keys: dict[str, list[str]] = {"other": [], "missing": [], "surplus": []}
    for at in range(0, len(expected), TOGETHER):
        some = expected[at : at + TOGETHER]
        kinds = [k.decode() for k in await writer.ask(*(("TYPE", e.key) for e in some))]
        fitting = [e for e, kind in zip(some, kinds, strict=True) if kind == e.kind != "none"]
        found = iter(await writer.ask(*map(_question, fitting)))
        for each, kind in zip(some, kinds, strict=True):
            answer = next(found) if kind == each.kind != "none" else None
            verdict = _verdict(each, kind, answer)
            counts[verdict] += 1
            if verdict != "same" and len(keys[verdict]) < EXAMPLES:
                keys[verdict].append(f"{each.key} {each.part}".strip())
    return dict(counts) | {"keys": keys}


def _question(expected: Expected) -> Command:
    if expected.part:
        verbs = {"hash": "HGET", "set": "SISMEMBER", "zset": "ZSCORE"}
        return (verbs[expected.kind], expected.key, expected.part)
    return ("HGETALL" if expected.kind == "hash" else "GET", expected.key)


def _verdict(expected: Expected, kind: str, answer: Any) -> str:
    """Return ``same``, ``other``, ``missing``, or ``surplus`` of what would be removed."""
    is_there = kind != "none" and not (expected.part and answer in (None, 0))
    if expected.value is _GONE or expected.kind == "none":
        return "surplus" if is_there else "same"
    if not is_there:
        return "missing"
    if kind != expected.kind:
        return "other"
    if expected.value is _SET:
        return "same"
    if expected.kind == "zset":
        return "same" if float(answer) == float(expected.value) else "other"
    if isinstance(answer, list):
        texts = [text.decode(errors="replace") for text in answer]
        is_same = dict(zip(texts[::2], texts[1::2], strict=True)) == expected.value
    else:
        is_same = answer == expected.value.encode()
    return "same" if is_same else "other"


def _example(command: Command) -> list[str]:
    return [p.decode(errors="replace") if isinstance(p, bytes) else p for p in command[:7]]
