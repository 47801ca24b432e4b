"""What a refresh announces, from the stream's end and the server's binlog."""

import msgspec
import pytest

from cdc.errors import UsageError
from cdc.message import TableProgress
from cdc_reader.refresh import claim, plan_refresh
from cdc_reader.resume import Tail
from tests.unit.cdc_reader.test_resume import log, tail

TABLES = ("a.x", "a.y")


def test_all_tables_are_read_from_the_newest_place_in_a_new_epoch() -> None:
    """Nothing of the binlog before it is needed; ids go on growing."""
    made = plan_refresh(tail(), log(server="two"), TABLES, (), number=7, now_us=5)
    boundary = made.boundary

    assert (made.gap, made.tables, boundary.epoch, boundary.server) == (True, TABLES, 4, "two")
    assert (boundary.file, boundary.offset) == (log().newest.file, log().newest.offset)
    assert boundary.last == "3.2.500.1"
    assert boundary.snapshot == dict.fromkeys(TABLES, TableProgress(refresh=7))


def test_tables_that_only_the_stream_knows_of_are_read_too() -> None:
    """Whoever was started with other flags captures them, and a gap is theirs as well."""
    end = tail()
    assert end.heartbeat is not None
    heartbeat = msgspec.structs.replace(end.heartbeat, snapshot={"a.z": TableProgress(done=True)})
    known = Tail(sequence=9, heartbeat=heartbeat, last=end.last)
    made = plan_refresh(known, log(), TABLES, (), number=7, now_us=5)

    assert made.tables == (*TABLES, "a.z")
    assert made.boundary.snapshot["a.z"] == TableProgress(refresh=7)


def test_one_table_is_read_where_the_reader_is() -> None:
    """The boundary and the other tables' progress stay."""
    made = plan_refresh(tail(), None, TABLES, ("a.y",), number=7, now_us=5)

    assert (made.gap, made.tables, made.boundary.epoch) == (False, ("a.y",), 3)
    assert (made.boundary.file, made.boundary.offset) == ("b.000002", 400)
    assert made.boundary.snapshot == {"a.y": TableProgress(refresh=7)}


def test_a_new_stream_begins_with_a_refresh_of_all() -> None:
    """It has no place that could stay, and Redis may hold keys of the stream before."""
    new = Tail(sequence=0, heartbeat=None, last="")

    assert plan_refresh(new, log(), TABLES, (), number=7, now_us=5).boundary.epoch == 1
    cut = Tail(sequence=9, heartbeat=None, last="3.2.500.1")
    assert plan_refresh(cut, log(), TABLES, (), number=7, now_us=5).boundary.epoch == 4
    with pytest.raises(UsageError, match="no place in the binlog"):
        plan_refresh(new, None, TABLES, ("a.x",), number=7, now_us=5)


def test_a_table_that_is_not_captured_is_refused() -> None:
    """With the names of those that are."""
    with pytest.raises(UsageError, match=r"a\.z is not captured"):
        plan_refresh(tail(), None, TABLES, ("a.z",), number=7, now_us=5)


def test_the_claim_before_it_says_what_the_newest_heartbeat_said() -> None:
    """Who is killed between the two has changed nothing."""
    end = tail()
    assert end.heartbeat is not None
    before = claim(end, end.heartbeat)

    assert (before.epoch, before.file, before.offset) == (3, "b.000002", 400)
    assert before.last == "3.2.500.1"
