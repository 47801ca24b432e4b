"""Rows in parts are put together, and never from parts that do not belong together."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from cdc.errors import PositionLostError
from cdc.message import Change, Delivery, Schema, decode_part, encode
from cdc.seal import UNSEALED, Seal
from cdc_reader.messages.large import parts_of
from redis_sink.plan import joiner as joiner_module
from redis_sink.plan.applied import Applied
from redis_sink.plan.joiner import Joiner
from tests.support.planned import a_table, planner_of

SEAL = Seal(b"k" * 32, 1)
PART, UPDATE = b"mysql.part", b"mysql.update"


def change(number: int, size: int = 0) -> bytes:
    """Return the n-th change of a chain, without its MAC."""
    return encode(
        Change(
            key=f"t:{number}", value=chr(97 + number) * size, op="update", table="d.t",
            id=f"1.1.{number}.0", prev=f"1.1.{number - 1}.0", ts=1,
        )
    )  # fmt: skip


def cut(number: int, *, size: int = 2000, carried: int = 1000) -> list[bytes]:
    """Return the parts of a large change."""
    return list(parts_of(change(number, size), SEAL, carried))


def numbered(*messages: tuple[bytes, bytes]) -> list[Delivery]:
    """Return messages as the consumer delivers them."""
    return [(seq, *message) for seq, message in enumerate(messages, 11)]


def in_parts(bodies: list[bytes], subject: bytes = PART) -> list[tuple[bytes, bytes]]:
    """Return parts as messages."""
    return [(subject, body) for body in bodies]


def usual(number: int) -> tuple[bytes, bytes]:
    """Return a change that is one message."""
    return UPDATE, SEAL.sealed(change(number))


BEAT = (b"mysql.heartbeat", SEAL.sealed(b'{"op":"heartbeat"}'))
BARE = (UPDATE, b'{"key":"a","value":"b"}')


def joined(deliveries: list[Delivery], **changed: Any) -> list[Delivery]:
    """Return what comes out of a joiner, one delivery after the other."""
    joiner = Joiner("mysql", SEAL, **changed)
    return [one for delivery in deliveries for some in joiner.take([delivery]) for one in some]


def test_what_has_no_parts_passes_as_it_is() -> None:
    """The same list, not a copy."""
    deliveries = numbered(usual(1), BEAT, BARE)

    (some,) = Joiner("mysql", SEAL).take(deliveries)

    assert some is deliveries


@pytest.mark.parametrize("at_once", [False, True])
def test_a_row_is_in_place_of_its_last_part(at_once: bool) -> None:
    """What was between the parts comes before it; the list ends with the row."""
    one, two, three = in_parts(cut(2))[:3]
    rest = in_parts(cut(2))[3:]
    deliveries = numbered(usual(1), one, BEAT, two, BARE, three, *rest, usual(3))
    whole = (deliveries[-2][0], UPDATE, SEAL.sealed(change(2, 2000)))

    out = joined(deliveries)
    if at_once:
        first, second = Joiner("mysql", SEAL).take(deliveries)
        assert first[-1] == whole
        out = first + second

    assert out == [deliveries[0], deliveries[2], deliveries[4], whole, deliveries[-1]]


def test_partitions_have_subjects_of_their_own() -> None:
    """The row is on the subject of its operation and partition."""
    deliveries = numbered(*in_parts(cut(2), b"mysql.part.1"))

    out = joined(deliveries, partition=1, partitions=3)

    assert [(seq, subject) for seq, subject, _ in out] == [(deliveries[-1][0], b"mysql.update.1")]
    assert joined(deliveries, partition=0, partitions=3) == deliveries


def test_a_row_that_is_published_again_comes_once() -> None:
    """By a reader after a kill, with the same parts or with others; both follow the first part."""
    begun = in_parts(cut(2))[:2]
    for again in (cut(2), cut(2, carried=1500), cut(3)):
        out = joined(numbered(*begun, BEAT, *in_parts(again)))

        number = int(decode_part(again[0]).id.split(".")[2])
        assert [one[1:] for one in out] == [BEAT, (UPDATE, SEAL.sealed(change(number, 2000)))]


def test_a_row_that_is_given_up_holds_nothing_back() -> None:
    """The next message of the chain releases what was held; the parts are gone."""
    begun = in_parts(cut(2))[:2]
    schema = Schema(table="d.t", statement="ALTER TABLE", id="1.1.9.0", prev="1.1.1.0", ts=1)
    for after in (usual(3), (b"mysql.schema", SEAL.sealed(encode(schema)))):
        deliveries = numbered(*begun, BEAT, after, *in_parts(cut(2))[2:])

        assert joined(deliveries) == deliveries[2:4]


def test_a_message_of_before_does_not_end_a_row() -> None:
    """Who can read the stream can publish a copy: it waits as what is foreign does."""
    parts = in_parts(cut(5))
    older = in_parts(cut(2))
    deliveries = numbered(*parts[:2], usual(4), older[0], parts[0], parts[1], *parts[2:])

    out = joined(deliveries)

    assert [one[1:] for one in out] == [usual(4), (UPDATE, SEAL.sealed(change(5, 2000)))]


def test_no_order_of_parts_makes_another_row() -> None:
    """Lost, repeated, swapped, of two rows and two cuts: what comes whole is one that was sent."""
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    sent = {SEAL.sealed(change(n, 2000)) for n in (2, 3)}
    pool = [*cut(2), *cut(3), *cut(2, carried=1500), *cut(3, carried=1500)]
    whole = 0
    for _ in range(3000):
        some = sorted(chance.choices(range(len(pool)), k=chance.randrange(3, 40)))
        for _ in range(chance.randrange(3)):
            a, b = chance.randrange(len(some)), chance.randrange(len(some))
            some[a], some[b] = some[b], some[a]
        for _, subject, body in joined(numbered(*in_parts([pool[n] for n in some]))):
            assert subject == UPDATE
            assert body in sent
            whole += 1
    assert whole > 100


@pytest.mark.parametrize(
    "forged",
    [
        b'{"op":"part","id":"1.1.2.0","part":1}',
        cut(2)[0].replace(b'"part":1', b'"part":2'),
        Seal(b"z" * 32, 1).sealed(cut(2)[0]),
        SEAL.sealed(b'{"op":"part"}'),
        SEAL.sealed(b"not json"),
    ],
)
def test_what_is_no_part_of_ours_is_left_to_the_planner(forged: bytes) -> None:
    """It becomes a dead letter, and changes nothing about the row."""
    parts = in_parts(cut(2))
    deliveries = numbered(parts[0], (PART, forged), *parts[1:])

    out = joined(deliveries)

    assert out == [deliveries[1], (deliveries[-1][0], UPDATE, SEAL.sealed(change(2, 2000)))]


def test_before_there_was_a_key_there_were_no_parts() -> None:
    """Else anyone could have written them."""
    deliveries = numbered(*in_parts(cut(2)))

    joiner = Joiner("mysql", UNSEALED)

    assert [deliveries] == list(joiner.take(deliveries))


def test_what_is_held_for_long_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader may be gone: bare messages do not wait for it, and the row can still come."""
    parts = numbered(*in_parts(cut(2)))
    bare = (99, *BARE)
    joiner = Joiner("mysql", SEAL)
    assert list(joiner.take([parts[0], bare])) == []
    assert list(joiner.take([])) == []
    monkeypatch.setattr(joiner_module, "HELD_S", -1.0)

    assert list(joiner.take([])) == [[bare]]
    monkeypatch.undo()
    ((whole,),) = joiner.take(parts[1:])
    assert whole[2] == SEAL.sealed(change(2, 2000))

    monkeypatch.setattr(joiner_module, "HELD_MESSAGES", 3)
    assert list(Joiner("mysql", SEAL).take([parts[0], *[bare] * 4])) == [[bare] * 4]


@pytest.mark.parametrize("lost", [0, 2, -1])
def test_a_part_that_the_stream_lost_is_a_gap(lost: int) -> None:
    """Whether it is the first, one in the middle, or the last: the next message shows it."""
    parts = in_parts(cut(2))
    del parts[lost]
    planner = planner_of([replace(a_table("t"), schema="d")])
    planner.seal = SEAL
    first = Change(key="t:1", value="x", op="update", table="d.t", id="1.1.1.0", prev="", ts=1)
    deliveries = numbered((UPDATE, SEAL.sealed(encode(first))), *parts, usual(3))
    out = joined(deliveries)
    start = Applied(stream="MYSQL", created="c", seq=10)

    with pytest.raises(PositionLostError, match=r"1\.1\.3\.0 there follows 1\.1\.2\.0"):
        planner.plan(start, out, now_us=1)
