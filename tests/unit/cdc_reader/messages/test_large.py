"""What goes in parts, what is left out, and what stays as it is."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.message import (
    Change,
    Member,
    Snapshot,
    SnapshotRow,
    TooLarge,
    decode_change,
    decode_part,
    decode_snapshot,
    encode,
)
from cdc.seal import TAIL_BYTES, Seal, mac_of
from cdc_reader.messages.chains import Run
from cdc_reader.messages.large import (
    PART_MAX_BYTES,
    LargeRow,
    parts_of,
    pieces,
    within,
    without_row,
)

SEAL = Seal(b"k" * 32, 1)
CARRIED, LIMIT = 1000, 5000


def change(key: str, size: int) -> bytes:
    """Return a change with a value of this many bytes."""
    return encode(
        Change(
            key=key, value="x" * size, op="update", table="shop.t", gtid="u:7", id=f"1.2.{size}.0",
            prev="1.2.3.0", ts=1,
        )
    )  # fmt: skip


def cut(*runs: Run) -> tuple[list[list[Run] | LargeRow], list[tuple[str, list[str], TooLarge]]]:
    """Return the pieces of runs, and what was left out."""
    left: list[tuple[str, list[str], TooLarge]] = []
    made = pieces(
        runs,
        "mysql",
        max_body_bytes=CARRIED,
        limit_bytes=LIMIT,
        left_out=lambda *one: left.append(one),
    )
    return list(made), left


def together(bodies: Sequence[bytes]) -> bytes:
    """Put parts together, as a consumer would."""
    return b"".join(base64.b64decode(decode_part(body).slice) for body in bodies)


def test_what_nats_carries_is_not_touched() -> None:
    """The runs themselves: no body is copied."""
    runs = [Run("update", "shop.t", [change("a", 10), change("b", 800)])]

    (some,), left = cut(*runs)

    assert some == runs
    assert isinstance(some, list)
    assert some[0].bodies is runs[0].bodies
    assert left == []


def test_a_large_body_is_between_what_was_before_and_after_it() -> None:
    """The order of all bodies is kept, over runs and partitions."""
    first = Run("insert", "shop.t", [change("a", 1)], [b"insert.1"])
    bodies = [change("b", 2), change("c", 2000), change("d", 3), change("e", 3000)]
    second = Run("update", "shop.t", bodies, [b"update.0", b"update.2", b"delete.1", b"update.0"])
    third = Run("update", "shop.u", [change("f", 4)], [b"update.2"])

    (before, c, between, e, after), _ = cut(first, second, third)

    assert before == [first, Run("update", "shop.t", bodies[:1], [b"update.0"])]
    assert c == LargeRow(bodies[1], b"mysql.part.2")
    assert between == [Run("update", "shop.t", bodies[2:3], [b"delete.1"])]
    assert e == LargeRow(bodies[3], b"mysql.part.0")
    assert after == [third]


def test_a_body_beyond_the_limit_is_replaced_in_its_place() -> None:
    """Its neighbours and the run's own list stay as they are."""
    bodies = [change("a", 1), change("b", LIMIT), change("c", 1)]
    run = Run("update", "shop.t", bodies)

    (some,), left = cut(run)

    assert isinstance(some, list)
    (made,) = some
    assert made.bodies[::2] == bodies[::2]
    size_bytes = len(bodies[1]) + TAIL_BYTES
    sizes = TooLarge(size_bytes=size_bytes, limit_bytes=LIMIT)
    small = decode_change(made.bodies[1])
    assert (small.key, small.value, small.too_large) == ("b", None, sizes)
    assert small.id == decode_change(bodies[1]).id
    assert left == [("shop.t", ["b"], sizes)]
    assert len(run.bodies[1]) > LIMIT


def test_a_limit_below_what_nats_carries_counts_too() -> None:
    """Else `max_row_bytes` would mean nothing where NATS carries much."""
    run = Run("update", "shop.t", [change("a", 500)])
    left: list[object] = []
    made = pieces(
        [run], "mysql", max_body_bytes=9000, limit_bytes=400, left_out=lambda *one: left.append(one)
    )

    assert [len(one[0].bodies[0]) < 400 for one in made if isinstance(one, list)] == [True]
    assert len(left) == 1


def test_the_entries_of_a_row_that_is_left_out_go_with_it() -> None:
    """Those that it has, and those that it had."""
    body = encode(
        Change(
            key="o:1", value="x", op="update", table="t", old_key="o:0", id="1.2.3.0", prev="",
            ts=1, index=(Member(zset="by", member="o:1", score="7"),),
            old_index=(Member(set="s", member="m"),),
        )
    )  # fmt: skip

    small = decode_change(without_row(body, "update", TooLarge(size_bytes=2, limit_bytes=1))[0])

    assert small.index is None
    assert small.old_index == (Member(zset="by", member="o:1"), Member(set="s", member="m"))
    assert small.old_key == "o:0"


def test_a_row_of_a_snapshot_is_left_out_by_its_key() -> None:
    """It is alone in its message."""
    rows = (
        SnapshotRow(key="o:1", value="x" * 99, field="f", index=(Member(set="s", member="m"),)),
    )
    body = encode(Snapshot(rows=rows, table="t", id="1.2.3.0.1", prev="", ts=1))
    sizes = TooLarge(size_bytes=2, limit_bytes=1)

    small, keys = without_row(body, "snapshot", sizes)

    assert decode_snapshot(small).rows == (SnapshotRow(key="o:1", field="f", too_large=sizes),)
    assert keys == ["o:1"]


def test_what_is_within_the_limit_is_as_it_is() -> None:
    """With its MAC, as it is counted when it is sent."""
    body = change("a", 300)
    most = len(body) + TAIL_BYTES

    assert within("update", body, most) is body
    assert decode_change(within("update", body, most - 1)).too_large == TooLarge(
        size_bytes=most, limit_bytes=most - 1
    )


@given(st.integers(1, 20_000), st.integers(600, 4000))
def test_parts_put_together_are_the_body_with_its_mac(size: int, carried: int) -> None:
    """None is larger than NATS carries, each is sealed, and all name the same whole."""
    body = change("a", size)

    bodies = list(parts_of(body, SEAL, carried))

    parts = [decode_part(one) for one in bodies]
    assert together(bodies) == SEAL.sealed(body)
    assert max(map(len, bodies)) <= carried
    assert all(SEAL.fits(9, one) for one in bodies)
    assert [one.part for one in parts] == list(range(1, len(parts) + 1))
    assert {one.parts for one in parts} == {len(parts)}
    assert {one.whole for one in parts} == {mac_of(SEAL.sealed(body))}
    assert {(one.of, one.id, one.prev, one.gtid) for one in parts} == {
        ("update", f"1.2.{size}.0", "1.2.3.0", "u:7")
    }


@pytest.mark.parametrize("carried", [8 << 20, 64 << 20])
def test_a_part_is_a_mebibyte_at_most(carried: int) -> None:
    """So much waits in memory beside the row, however much NATS carries."""
    bodies = list(parts_of(change("a", 5 << 20), SEAL, carried))

    assert len(bodies) == 7
    assert max(map(len, bodies)) <= PART_MAX_BYTES
