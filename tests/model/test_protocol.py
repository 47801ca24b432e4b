"""All interleavings of a few steps and faults, with the decisions of reader and sink themselves.

Each test searches breadth-first from nothing having begun, to a depth that is said, and asks in
every state what becomes of it: `tests.model.search`.  ``make model DEPTH=full`` looks one
step further than a normal run does, ``MODEL_DEPTH=4`` four more.

Not in the model: several partitions, MariaDB, servers that change.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from cdc.message import KeyRange
from tests.model.binlog import Transaction
from tests.model.search import Found, Search
from tests.model.state import Rules, Scenario
from tests.model.world import World
from tests.support.depth import by_depth

DEEPER = int(os.environ.get("MODEL_DEPTH", "0"))
"""Steps more than with `DEPTH=full`."""
SHALLOWER = by_depth(1, full=0)
"""Steps fewer in a normal run: each doubles the time."""

CHANGES: tuple[Transaction, ...] = (
    [[("insert", 1, 10), ("insert", 2, 10)]],
    [[("update", 1, 20)], [("move", 2, 3, 20)]],
    [[("delete", 1)]],
)
"""Three transactions; the second comes in two pieces, so that a restart can stand in it."""
BARRIER: tuple[Transaction, ...] = ([[("insert", 1, 10)]], [[("alter",)]], [[("update", 1, 20)]])
ROWS = {1: 1, 2: 2, 3: 3}
BESIDE: tuple[Transaction, ...] = ([[("update", 1, 10)]], [[("update", 3, 20)]])
"""Changes beside a snapshot of `ROWS`."""

ANY = frozenset({"crash", "lose", "roll back"})
TABLE_IS_READ = Scenario(
    transactions=BESIDE,
    rows=ROWS,
    snapshot=True,
    lag=True,
    all_written=False,
    may=frozenset({"crash", "lose"}),
)
RANGES = (KeyRange(refresh=1, last=("1",)), KeyRange(refresh=1, first=("2",)))
"""All of `ROWS`, as two that were asked for."""
ONE_CHANGE = replace(
    TABLE_IS_READ, transactions=BESIDE[:1], rows={1: 1, 2: 2}, chunk_rows=1, faults=1, beats=0
)

REFRESHED = Scenario(
    transactions=CHANGES[:2], may=frozenset({"crash", "lose within the epoch", "refresh"})
)
"""Epochs after the first, and what is lost of them."""
BESIDE_ANOTHER = Scenario(
    transactions=CHANGES[:1],
    sinks=2,
    bares=2,
    looks_apart=True,
    may=frozenset({"crash"}),
    faults=1,
)
"""Another sink applies between the two looks of one that begins; an application publishes."""

HEALS = {
    "one of each": (13, Scenario(transactions=CHANGES, may=ANY)),
    "two readers": (
        11,
        Scenario(transactions=CHANGES[:2], readers=2, may=frozenset({"crash", "lose"})),
    ),
    "two sinks": (10, Scenario(transactions=CHANGES[:2], sinks=2, may=ANY)),
    "a barrier": (13, Scenario(transactions=BARRIER, may=ANY)),
    "a sink beside another": (9, BESIDE_ANOTHER),
    "refreshes": (10, REFRESHED),
    "refreshes of a position without marks": (10, replace(REFRESHED, rules=Rules(marks=False))),
    "refreshes and two copies": (7, replace(REFRESHED, readers=2, sinks=2, looks_apart=True)),
    "refreshes in line, lost too": (
        9,
        replace(REFRESHED, may=frozenset({"crash", "lose", "refresh in line"})),
    ),
    "an application, and lost tails": (
        8,
        Scenario(transactions=CHANGES[:1], bares=2, may=frozenset({"crash", "lose"})),
    ),
}
"""Depth, and what must come right by itself, whatever happens twice."""
IS_NEVER_WRONG = {
    "a table is read": (12, TABLE_IS_READ),
    "ranges of a table are read": (12, replace(TABLE_IS_READ, ranges=RANGES)),
    "a table is read by two": (8, replace(TABLE_IS_READ, readers=2, faults=1)),
    "the stream's head leaves": (12, Scenario(transactions=CHANGES, may=ANY | {"evict"})),
    "refreshes that are lost": (9, replace(REFRESHED, may=frozenset({"lose", "refresh"}))),
    "a tail is lost quietly": (
        9,
        Scenario(transactions=CHANGES[:2], readers=2, may=frozenset({"crash", "lose quietly"})),
    ),
}
"""What may also stop with an error: a stream that is lost as a whole, messages that left it."""
MUST_FAIL = {
    "no fence": Scenario(
        transactions=CHANGES[:2], readers=2, may=frozenset({"crash"}), rules=Rules(fence=False)
    ),
    "no batch is ended": Scenario(
        transactions=CHANGES[:2], readers=2, may=frozenset({"crash"}), rules=Rules(claim=False)
    ),
    "heartbeats without a fence": Scenario(
        transactions=CHANGES, may=frozenset({"lose quietly"}), faults=1, beats=0,
        rules=Rules(heartbeats_are_fenced=False),
    ),
    "no chain": Scenario(
        transactions=CHANGES[:1], may=frozenset({"evict"}), faults=3, rules=Rules(chain=False)
    ),
    "acknowledged behind the data": Scenario(
        transactions=CHANGES, may=ANY, rules=Rules(position="acknowledged after")
    ),
    "acknowledged before the data": Scenario(
        transactions=CHANGES, may=ANY, rules=Rules(position="acknowledged before")
    ),
    "position and data apart": Scenario(
        transactions=CHANGES, may=frozenset({"crash"}), rules=Rules(position="apart")
    ),
    "a chunk that does not wait": replace(TABLE_IS_READ, rules=Rules(waits_for_low=False)),
    "a chunk with rows that were touched": replace(
        TABLE_IS_READ, rules=Rules(drops_touched=False)
    ),
    "a chunk behind what was executed": replace(
        ONE_CHANGE, chunk_rows=2, rules=Rules(high_is_executed=True)
    ),
    "a stream that is asked before Redis": replace(
        BESIDE_ANOTHER, bares=1, faults=0, rules=Rules(redis_first=False)
    ),
    "ids of rows that come again": replace(
        ONE_CHANGE, lag=False, rules=Rules(clock_stands=True)
    ),
}  # fmt: skip
"""Other protocols: why each rule is there."""
FAIL_DEPTH = 18
MUST_STOP = {
    "epochs before that are a gap": (
        12,
        replace(
            REFRESHED,
            may=frozenset({"lose within the epoch", "refresh"}),
            rules=Rules(epochs_are_read_again=False),
        ),
    ),
}
"""Other protocols that are never wrong, and need a person where ours heals."""


def look(name: str, scenario: Scenario, depth: int) -> Found:
    found = Search(World(scenario)).run(depth + DEEPER)
    to = "all of them" if found.complete else f"to depth {found.depth - 1}"
    print(f"{name}: {found.states:,} states, {to}; {dict(found.ends)}")
    return found


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", HEALS)
def test_every_state_ends_right_without_a_person(name: str) -> None:
    """Redis equals MySQL at rest, and shows no older value before; nobody stops."""
    depth, scenario = HEALS[name]
    found = look(name, scenario, depth - SHALLOWER)

    assert found.wrong == ""
    assert set(found.ends) == {"equal"}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", IS_NEVER_WRONG)
def test_every_state_ends_right_or_with_an_error(name: str) -> None:
    """Never silently wrong: Redis equals MySQL at rest, or a role has stopped and says why."""
    depth, scenario = IS_NEVER_WRONG[name]
    found = look(name, scenario, depth - SHALLOWER)

    assert found.wrong == ""
    assert found.ends["equal"]


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", MUST_FAIL)
def test_without_one_of_its_rules_the_protocol_fails(name: str) -> None:
    """The search finds what each rule is for; a model that finds nothing proves nothing."""
    found = look(name, MUST_FAIL[name], FAIL_DEPTH)
    print(found.wrong)

    assert found.wrong


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", MUST_STOP)
def test_without_one_of_its_rules_the_protocol_does_not_heal(name: str) -> None:
    """Nothing is wrong then, but somebody stops for good."""
    depth, scenario = MUST_STOP[name]
    found = look(name, scenario, depth)

    assert found.wrong == ""
    assert found.ends["stopped"]
