"""What a refresh announces, from the stream's end and the server's binlog."""

import dataclasses

import msgspec
import pytest

from cdc.errors import UnavailableError, UsageError
from cdc.message import Aside, KeyRange, Refresh, TableProgress
from cdc_reader.resume.resume import Tail
from cdc_reader.snapshot.announcement import (
    claim,
    is_done,
    plan_changes,
    plan_ranges,
    plan_refresh,
)
from tests.support.planned import a_table
from tests.unit.cdc_reader.resume.test_resume import log, tail

TABLES = ("a.x", "a.y")


def test_all_tables_are_read_from_the_newest_place_in_a_new_epoch() -> None:
    """Nothing of the binlog before it is needed; ids keep growing."""
    made = plan_refresh(tail(), log(server="two"), TABLES, (), number=7, now_us=5)
    boundary = made.boundary

    assert (made.gap, made.tables, boundary.epoch, boundary.server) == (True, TABLES, 4, "two")
    assert (boundary.file, boundary.offset) == (log().newest.file, log().newest.offset)
    assert boundary.last == "3.2.500.1"
    assert boundary.snapshot == dict.fromkeys(TABLES, TableProgress(refresh=7))


def test_the_epoch_is_above_that_of_the_newest_message_too() -> None:
    """A message may be of a later epoch than the boundary before it: ids keep growing."""
    ahead = dataclasses.replace(tail(), last="99.1.1.0")

    assert plan_refresh(ahead, log(), TABLES, (), number=7, now_us=5).boundary.epoch == 100


def test_tables_that_only_the_stream_knows_of_are_read_too() -> None:
    """Whoever was started with other flags captures them, and a gap is theirs as well."""
    end = tail()
    assert end.heartbeat is not None
    heartbeat = msgspec.structs.replace(end.heartbeat, snapshot={"a.z": TableProgress(done=True)})
    known = Tail(sequence=9, heartbeat=heartbeat, last=end.last)
    made = plan_refresh(known, log(), TABLES, (), number=7, now_us=5)

    assert made.tables == (*TABLES, "a.z")
    assert made.boundary.snapshot["a.z"] == TableProgress(refresh=7)


def test_a_table_that_is_set_aside_stays_so() -> None:
    """It cannot be read; nor can it be forgotten, because it returns by itself."""
    end = tail()
    assert end.heartbeat is not None
    aside = TableProgress(aside=Aside(reason="no key", position="b:4", since=5))
    heartbeat = msgspec.structs.replace(end.heartbeat, snapshot={"a.z": aside, "a.x": aside})
    known = Tail(sequence=9, heartbeat=heartbeat, last=end.last)
    made = plan_refresh(known, log(), TABLES, (), number=7, now_us=5)

    assert made.tables == TABLES
    assert made.boundary.snapshot == {
        "a.z": aside,
        **dict.fromkeys(TABLES, TableProgress(refresh=7)),
    }


def test_one_table_is_read_where_the_reader_is() -> None:
    """The boundary and the other tables' progress stay."""
    made = plan_refresh(tail(), None, TABLES, ("a.y",), number=7, now_us=5)

    assert (made.gap, made.tables, made.boundary.epoch) == (False, ("a.y",), 3)
    assert (made.boundary.file, made.boundary.offset) == ("b.000002", 400)
    assert made.boundary.snapshot == {"a.y": TableProgress(refresh=7)}


def test_a_reader_announces_what_it_reads_again_and_what_it_sets_aside() -> None:
    """Where it is; keys that are removed are those of a table that is read and has no row."""
    kept = Aside(reason="no key", position="b:4", since=5)
    gone = Aside(reason="dropped", position="b:4", since=5, removed=True)
    users = a_table()
    made = plan_changes(tail(), [users], {"a.x": kept, "a.y": gone}, number=7, now_us=9)

    assert (made.gap, made.tables, made.keys) == (
        False, ("shop.users", "a.y"), {"shop.users": ("id",)},
    )  # fmt: skip
    assert (made.boundary.file, made.boundary.offset) == ("b.000002", 400)
    snapshot = made.boundary.snapshot
    assert snapshot["shop.users"] == TableProgress(refresh=7, key=("id",))
    assert snapshot["a.x"] == TableProgress(aside=kept)
    assert snapshot["a.y"] == TableProgress(refresh=7, done=True, aside=gone)


def test_the_columns_that_told_rows_apart_before_are_told_where_they_are_others() -> None:
    """A sink whose memory is gone has to remove keys of both."""
    end = tail()
    assert end.heartbeat is not None
    known = {"shop.users": TableProgress(key=("id", "n")), "a.x": TableProgress(key=("id",))}
    heartbeat = msgspec.structs.replace(end.heartbeat, snapshot=known)
    end = dataclasses.replace(end, heartbeat=heartbeat)
    made = plan_changes(end, [a_table()], {}, number=7, now_us=9)
    again = msgspec.structs.replace(heartbeat, snapshot=made.boundary.snapshot)
    same = plan_changes(
        dataclasses.replace(end, heartbeat=again), [a_table()], {}, number=8, now_us=9
    )

    assert made.keys_before == {"shop.users": ("id", "n")}
    assert same.keys_before is msgspec.UNSET


def test_since_when_a_table_is_set_aside_stays() -> None:
    """Another reason is told, and where the first one was met unless it has a place of its own."""
    end = tail()
    assert end.heartbeat is not None
    first = Aside(reason="no key", position="b:4", since=5)
    heartbeat = msgspec.structs.replace(
        end.heartbeat, snapshot={"a.x": TableProgress(done=True, aside=first)}
    )
    end = dataclasses.replace(end, heartbeat=heartbeat)
    then = Aside(reason="gone", position="", since=99)
    made = plan_changes(end, [], {"a.x": then}, number=7, now_us=9)

    assert made.tables == ()
    assert made.keys is msgspec.UNSET
    assert made.boundary.snapshot["a.x"] == TableProgress(
        done=True, aside=Aside(reason="gone", position="b:4", since=5)
    )


def test_a_new_stream_begins_with_a_refresh_of_all() -> None:
    """It has no place that could stay, and Redis may hold keys of the stream before."""
    new = Tail(sequence=0, heartbeat=None, last="")

    assert plan_refresh(new, log(), TABLES, (), number=7, now_us=5).boundary.epoch == 1
    cut = Tail(sequence=9, heartbeat=None, last="3.2.500.1")
    assert plan_refresh(cut, log(), TABLES, (), number=7, now_us=5).boundary.epoch == 4
    with pytest.raises(UsageError, match="no binlog position"):
        plan_refresh(new, None, TABLES, ("a.x",), number=7, now_us=5)


def test_a_table_that_is_not_captured_is_refused() -> None:
    """With the names of those that are."""
    with pytest.raises(UsageError, match=r"a\.z is not captured"):
        plan_refresh(tail(), None, TABLES, ("a.z",), number=7, now_us=5)


def test_the_claim_before_it_says_what_the_newest_heartbeat_said() -> None:
    """Who is killed between the two has changed nothing."""
    end = tail()
    assert end.heartbeat is not None
    before = claim(end, end.heartbeat, 5)

    assert (before.epoch, before.file, before.offset) == (3, "b.000002", 400)
    assert before.last == "3.2.500.1"


def asked(end: Tail, number: int = 7, name: str = "a.x") -> Refresh:
    """Announce rows 1 to 9 of a table."""
    return plan_ranges(end, {name: [(("1",), ("9",))]}, number=number, now_us=5)


def with_progress(progress: TableProgress) -> Tail:
    """Return a stream's end at which a.x is so far."""
    end = tail()
    assert end.heartbeat is not None
    heartbeat = msgspec.structs.replace(end.heartbeat, snapshot={"a.x": progress})
    return Tail(sequence=9, heartbeat=heartbeat, last=end.last)


@pytest.mark.parametrize(
    "before",
    [
        TableProgress(done=True, after=("99",), refresh=3),
        TableProgress(after=("50",)),
        TableProgress(after=("50",), refresh=3),
    ],
)
def test_ranges_stand_beside_what_is_read_as_a_whole(before: TableProgress) -> None:
    """A first reading, or a refresh that is not done or not swept yet, loses nothing."""
    made = asked(with_progress(before))
    progress = made.boundary.snapshot["a.x"]

    assert (made.gap, made.tables, made.ranges_of) == (False, (), ("a.x",))
    assert progress.open_ranges == (KeyRange(refresh=7, first=("1",), last=("9",)),)
    assert progress.with_ranges(()) == before
    again = asked(with_progress(progress), number=8).boundary.snapshot["a.x"]
    assert [part.refresh for part in again.open_ranges] == [7, 8]


def test_ranges_are_done_when_none_of_them_is_left() -> None:
    """Later ones do not count; a whole reading that was announced later takes their place."""
    made = asked(with_progress(TableProgress(done=True)))
    later = (KeyRange(refresh=8),)

    assert not is_done(made, dict(made.boundary.snapshot))
    assert is_done(made, {"a.x": TableProgress(done=True)})
    assert is_done(made, {"a.x": TableProgress(ranges=later)})
    assert not is_done(made, {"a.x": TableProgress(refresh=8)})
    assert is_done(made, {"a.x": TableProgress(done=True, refresh=8)})
    with pytest.raises(UnavailableError, match=r"does not capture a\.x"):
        is_done(made, {"a.y": TableProgress(done=True)})


def test_ranges_of_what_is_not_captured_are_refused() -> None:
    """A table that no reader follows, a stream without a place, more than heartbeats carry."""
    with pytest.raises(UsageError, match=r"a\.z is not captured"):
        asked(with_progress(TableProgress()), name="a.z")
    with pytest.raises(UsageError, match="no binlog position"):
        asked(Tail(sequence=0, heartbeat=None, last=""))
    many = tuple(KeyRange(refresh=n, first=("k" * 1000,)) for n in range(200))
    with pytest.raises(UsageError, match="too many ranges"):
        asked(with_progress(TableProgress(ranges=many)))
