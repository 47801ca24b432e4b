"""Heartbeats that name what changed, and lists of all tables: together exact, and small."""

from __future__ import annotations

import random

import msgspec
from msgspec import UNSET

from cdc.message import Heartbeat, ListedAt, TableProgress, Tables, encode
from cdc.table_list import (
    NAMED_MOST,
    NONE_LISTED,
    Listed,
    Naming,
    listing,
    named_by,
    progress_of,
    unread_of,
    whole,
)

HOUR_US = 3_600_000_000


def progress(number: int) -> dict[str, TableProgress]:
    return {f"shop.t{n:05d}": TableProgress(form="a3f1902c") for n in range(number)}


def heartbeat(naming: Naming, now: dict[str, TableProgress]) -> Heartbeat:
    return Heartbeat(
        epoch=1, server="s", file="b.000001", offset=4, gtid_set=None, last="",
        snapshot=naming.of(now), listed=naming.at, ts=1,
    )  # fmt: skip


def test_few_tables_are_named_by_each_heartbeat() -> None:
    """As it was before there were lists."""
    now, naming = progress(NAMED_MOST), Naming()
    naming.begin(now)

    assert not naming.needs_list(len(now), now_us=HOUR_US * 9, keep_us=HOUR_US)
    assert heartbeat(naming, now).snapshot == now
    assert heartbeat(naming, now).listed is UNSET


def test_any_way_of_a_reader_gives_back_each_table() -> None:
    """Tables are read, refreshed, taken out and put in; readers begin where the stream ends."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    stream: list[Heartbeat | dict[str, TableProgress]] = []
    now, naming, seen = progress(300), Naming(), set[int]()
    naming.begin(now)
    for step in range(600):
        what = chosen.random()
        name = chosen.choice(list(now))
        if what < 0.8:
            now[name] = TableProgress(done=chosen.random() < 0.7, rows=step)
            naming.moved([name])
        elif what < 0.9:
            # Another reader: it knows the newest heartbeat with its list, and its own tables.
            newest = next((m for m in reversed(stream) if isinstance(m, Heartbeat)), None)
            if newest is not None:
                named = newest.snapshot
                listed = NONE_LISTED
                if newest.listed is not UNSET:
                    found = stream[newest.listed.seq]
                    assert isinstance(found, dict)
                    listed = Listed(newest.listed, found)
                now = dict(whole(newest, listed).snapshot)
                naming = Naming(listed, named)
            for _ in range(chosen.randrange(3)):
                now.pop(chosen.choice(list(now)))
            now[f"shop.new{step}"] = TableProgress()
            naming.begin(now)
        if naming.needs_list(len(now), now_us=step, keep_us=HOUR_US):
            stream.append(dict(now))
            naming.is_listed(ListedAt(number=step + 1, seq=len(stream) - 1), now)
            if chosen.random() < 0.1:
                continue  # it ends between the two: the list counts for nothing
        beat = heartbeat(naming, now)
        stream.append(beat)
        assert named_by(beat, naming.listed)
        assert whole(beat, naming.listed).snapshot == now
        assert set(unread_of(beat, naming.listed)) == {n for n, p in now.items() if not p.done}
        assert progress_of(beat, naming.listed, name) == now.get(name)
        assert len(beat.snapshot) <= NAMED_MOST
        seen.add(len(beat.snapshot))

    assert len(seen) > 10


def test_what_a_heartbeat_named_is_named_until_the_next_list() -> None:
    """Who looks at heartbeats alone sees a table that went there and back."""
    now, naming = progress(200), Naming()
    naming.begin(now)
    naming.is_listed(ListedAt(number=1, seq=1), now)
    name = "shop.t00007"
    before = now[name]
    now[name] = TableProgress(refresh=7)
    naming.moved([name])
    now[name] = before
    following = Naming(naming.listed, heartbeat(naming, now).snapshot)
    following.begin(now)

    assert list(heartbeat(following, now).snapshot) == [name]


def test_a_list_is_written_again_when_it_is_old() -> None:
    """So that it never keeps what stands before it in the stream."""
    now, naming = progress(200), Naming()
    naming.begin(now)
    naming.is_listed(ListedAt(number=5, seq=1), now)

    assert not naming.needs_list(200, now_us=HOUR_US + 5, keep_us=HOUR_US)
    assert naming.needs_list(200, now_us=HOUR_US + 6, keep_us=HOUR_US)


def test_ten_thousand_tables_cost_a_heartbeat_what_changed() -> None:
    """A quiet heartbeat has less than 500 bytes; the parts of a list fit what NATS carries."""
    now, naming = progress(10_000), Naming()
    naming.begin(now)
    parts = list(listing(now, number=7, max_bytes=256 << 10))
    naming.is_listed(ListedAt(number=7, seq=1), now)
    together: dict[str, TableProgress] = {}
    for n, part in enumerate(parts, 1):
        assert (part.part, part.parts) == (n, len(parts))
        assert len(encode(part)) < 257 << 10
        together |= msgspec.json.decode(encode(part), type=Tables).snapshot

    assert together == now
    assert len(parts) > 1
    assert len(encode(heartbeat(naming, now))) < 500


def test_a_heartbeat_that_names_all_tables_is_whole_itself() -> None:
    """A stream of few tables has no list."""
    now, naming = progress(3), Naming()
    naming.begin(now)
    beat = heartbeat(naming, now)

    assert whole(beat, NONE_LISTED) is beat
    assert named_by(beat, NONE_LISTED)
    assert not named_by(beat, Listed(ListedAt(number=1, seq=1), now))


def test_a_list_that_keeps_the_stream_is_written_again() -> None:
    """Without one there is nothing to write again."""
    now, naming = progress(3), Naming()
    naming.begin(now)
    naming.expire()
    assert not naming.needs_list(3, now_us=9, keep_us=HOUR_US)
    naming.is_listed(ListedAt(number=5, seq=1), now)
    assert not naming.needs_list(3, now_us=9, keep_us=HOUR_US)
    naming.expire()
    assert naming.needs_list(3, now_us=9, keep_us=HOUR_US)
    naming.is_listed(ListedAt(number=9, seq=2), now)
    assert not naming.needs_list(3, now_us=9, keep_us=HOUR_US)


def test_lists_before_the_streams_beginning_are_forgotten() -> None:
    """Oldest first, with the one that the newest heartbeat names."""
    now = progress(3)
    naming = Naming(Listed(ListedAt(number=5, seq=10), now))
    for seq in (20, 30):
        naming.is_listed(ListedAt(number=seq, seq=seq), now)

    assert naming.starts_from(1) == [10, 20, 30]
    assert naming.starts_from(20) == [20, 30]
    assert naming.starts_from(1) == [20, 30]
