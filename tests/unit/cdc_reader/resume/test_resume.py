"""Where to resume: the stream's end against what the server still has."""

import msgspec
import pytest
from msgspec import UNSET

from cdc.errors import PositionLostError
from cdc.message import Heartbeat, KeyRange, Placed, Prepared, TableProgress
from cdc.position import MariaDbState, MySqlGtidSet, Position
from cdc.table_list import NONE_LISTED
from cdc_reader.resume.published import Published
from cdc_reader.resume.resume import (
    FileStart,
    ServerLog,
    Tail,
    initial_progress,
    is_by_gtid,
    resume_from,
    tail_of,
)

A = "7271e0ec-e705-11f1-8850-02fc00000001"


def log(
    *,
    gtid_set: str | None = f"{A}:1-100",
    purged: str = "",
    oldest: str = "b.000001",
    file: str = "b.000003",
    offset: int = 900,
    server: str = "one",
    mariadb: bool = False,
    start: FileStart | None = None,
) -> ServerLog:
    """Return a server's binlog; a test names what it is about."""
    return ServerLog(
        mariadb=mariadb,
        server=server,
        newest=Position(file=file, offset=offset, gtid_set=gtid_set),
        purged=MySqlGtidSet.parse(purged) if gtid_set and not mariadb else None,
        oldest_file=oldest,
        state=MariaDbState(gtid_set or "") if mariadb else None,
        file=start,
    )


def tail(*, gtid_set: str | None = f"{A}:1-50", file: str = "b.000002", offset: int = 400) -> Tail:
    """Return a stream that ends at this boundary, with one change after it."""
    heartbeat = Heartbeat(
        epoch=3,
        server="one",
        file=file,
        offset=offset,
        gtid_set=gtid_set,
        last="3.2.300.0",
        snapshot={},
        ts=1,
    )
    return Tail(sequence=9, heartbeat=heartbeat, last="3.2.500.1")


def test_a_new_stream_begins_at_the_newest_position() -> None:
    """What was changed before the first start comes with the snapshot."""
    resume = resume_from(Tail(sequence=0, heartbeat=None, last=""), log())

    assert (resume.epoch, resume.position, resume.last) == (1, log().newest, "")


def test_a_stream_goes_on_at_its_newest_boundary_behind_its_newest_message() -> None:
    """Rows that the stream has are skipped by their id, acknowledged or not."""
    resume = resume_from(tail(), log())

    assert resume.position == Position(file="b.000002", offset=400, gtid_set=f"{A}:1-50")
    assert (resume.epoch, resume.last) == (3, "3.2.500.1")


@pytest.mark.parametrize(
    ("stream_end", "server_log", "says"),
    [
        (tail(), log(purged=f"{A}:1-60"), "purged"),
        (tail(), log(gtid_set=f"{A}:1-40"), "RESET"),
        (tail(), log(server="two"), "this is server two"),
        (tail(gtid_set=None), log(gtid_set=None, oldest="b.000003"), "purged"),
        (tail(gtid_set=None), log(gtid_set=None, file="b.000001"), "RESET"),
        (tail(gtid_set=None, file="b.000003", offset=901), log(gtid_set=None), "RESET"),
        (tail(gtid_set="0-1-9"), log(gtid_set="0-1-9", mariadb=True, oldest="b.000003"), "purged"),
    ],
)
def test_a_position_that_the_server_does_not_have_is_lost(
    stream_end: Tail, server_log: ServerLog, says: str
) -> None:
    """Purged, reset or another server: stop with both positions, never resume from elsewhere."""
    with pytest.raises(PositionLostError) as error:
        resume_from(stream_end, server_log)

    assert says in error.value.seen
    assert error.value.heals_by_refresh


def test_a_binlog_that_was_begun_anew_and_has_grown_past_us_is_lost() -> None:
    """At our place nothing begins, or a transaction whose GTID we have already."""
    next_ours = f"SET @@SESSION.GTID_NEXT= '{A}:51'"
    assert resume_from(tail(), log(), next_ours).epoch == 3
    for found in (None, f"SET @@SESSION.GTID_NEXT= '{A}:50'"):
        with pytest.raises(PositionLostError, match="reset"):
            resume_from(tail(), log(), found)
    with pytest.raises(PositionLostError, match="RESET"):
        resume_from(tail(file="b.000003", offset=901), log())

    mariadb = log(gtid_set="0-1-90", mariadb=True)
    assert resume_from(tail(gtid_set="0-1-9"), mariadb, "BEGIN GTID 0-1-10").epoch == 3
    with pytest.raises(PositionLostError, match="reset"):
        resume_from(tail(gtid_set="0-1-9"), mariadb, "BEGIN GTID 0-1-9")


def change(number: int, id: str) -> Placed:
    """Return a change of a transaction."""
    return Placed(op="update", table="t", gtid=f"{A}:{number}", id=id, prev="")


def behind(*numbers: int) -> Published:
    """Return what the stream holds after its newest boundary."""
    published = Published()
    for number in reversed(numbers):
        published.note(change(number, f"3.2.{number}.0"))
    return published


def test_on_another_server_gtids_say_where_to_go_on() -> None:
    """In a new epoch, after all that is whole in the stream; the offset is not known."""
    server = log(server="two", gtid_set=f"{A}:1-60", purged=f"{A}:1-9", oldest="b.000007")
    assert is_by_gtid(tail(), server)
    resume = resume_from(tail(), server, None, behind(51, 52, 53))

    assert resume.epoch == 4
    assert resume.position == Position(file="b.000007", offset=4, gtid_set=f"{A}:1-52")
    assert (resume.last, resume.is_position_known) == ("3.2.500.1", False)
    assert resume.published is not None
    assert resume.published.newest == f"{A}:53"


def test_gtids_count_until_a_message_of_the_new_server_is_stored() -> None:
    """A reader that is killed right after its claim begins there as if it had not been."""
    heartbeat = Heartbeat(
        epoch=4, server="two", file="b.000007", offset=4, gtid_set=f"{A}:1-50", last="3.2.500.1",
        snapshot={}, ts=1,
    )  # fmt: skip
    before = Tail(sequence=9, heartbeat=heartbeat, last="3.2.500.1")
    after = Tail(sequence=9, heartbeat=heartbeat, last="4.7.500.1")
    server = log(server="two")

    assert is_by_gtid(before, server)
    assert resume_from(before, server, None, behind(51)).epoch == 4
    assert not is_by_gtid(after, server)


def test_prepared_transactions_are_handed_on_and_their_places_only_on_the_same_server() -> None:
    """A place means nothing in another server's binlog."""
    before, one = tail(), Prepared(xid="x", file="b.000001", offset=9, tables=("shop.users",))
    assert before.heartbeat is not None
    heartbeat = msgspec.structs.replace(before.heartbeat, prepared=(one,))
    prepared = Tail(sequence=9, heartbeat=heartbeat, last=before.last)

    assert resume_from(before, log()).prepared == ()
    assert resume_from(prepared, log()).prepared == (one,)
    (moved,) = resume_from(prepared, log(server="two"), "", Published()).prepared
    assert (moved.xid, moved.file, moved.tables) == ("x", "", ("shop.users",))


@pytest.mark.parametrize(
    ("server", "says"),
    [
        (log(server="two", gtid_set=f"{A}:1-49"), "lacks transactions"),
        (log(server="two", gtid_set=f"{A}:1-51"), "lacks transactions"),
        (log(server="two", purged=f"{A}:1-52"), "purged"),
    ],
)
def test_another_server_without_all_that_the_stream_has_is_no_way_on(
    server: ServerLog, says: str
) -> None:
    """A failover that lost transactions, or a binlog that does not reach back."""
    with pytest.raises(PositionLostError, match=says):
        resume_from(tail(), server, None, behind(51, 52))


def test_mariadb_is_followed_where_its_binlog_has_the_very_transactions() -> None:
    """Another server's transaction with the same number is another one."""
    ends = tail(gtid_set="0-1-50,3-1-7")
    one = log(server="2", gtid_set="0-1-50,0-2-60,3-1-7", mariadb=True)
    other = log(server="2", gtid_set="0-1-49,0-2-60,3-1-7", mariadb=True)
    assert ends.heartbeat is not None
    heartbeat = msgspec.structs.replace(ends.heartbeat, server="1")
    ends = Tail(sequence=9, heartbeat=heartbeat, last="3.2.500.1")

    assert is_by_gtid(ends, one)
    assert resume_from(ends, one, None, Published()).position.gtid_set == "0-1-50,3-1-7"
    with pytest.raises(PositionLostError, match="lacks transactions"):
        resume_from(ends, other, None, Published())


def test_gtids_switched_on_since_do_not_lose_the_position() -> None:
    """On the same server file and offset still mean the same position."""
    resume = resume_from(tail(gtid_set=None), log())

    assert resume.position == Position(file="b.000002", offset=400, gtid_set=None)


def test_finished_snapshots_are_not_read_again_and_new_tables_are() -> None:
    """A table added to the settings is read; one without --no-snapshot wish is not."""
    known = {"a.x": TableProgress(done=True, after=("9",))}
    x, y = {"a.x": "f1"}, {"a.y": "f2"}

    assert initial_progress(x | y, known, snapshot=True)["a.y"] == TableProgress(form="f2")
    assert "a.x" not in initial_progress(y, known, snapshot=True)
    assert initial_progress(x, known, snapshot=True)["a.x"].done
    assert initial_progress(y, known, snapshot=False)["a.y"].done
    refreshing = {"a.x": TableProgress(refresh=7, form="f1")}
    assert initial_progress(x, refreshing, snapshot=False) == refreshing


def test_settings_that_changed_since_a_table_was_read_stay_known() -> None:
    """Also where they were set back: rows that changed meanwhile have the other form."""

    def after(form: str, before: TableProgress) -> TableProgress:
        return initial_progress({"a.x": form}, {"a.x": before}, snapshot=True)["a.x"]

    of_an_older_cdc = TableProgress(done=True)
    known = after("f1", of_an_older_cdc)
    assert (known.form, known.has_older_forms) == ("f1", UNSET)
    assert after("f1", known) == known
    assert after("f2", known).has_older_forms is True
    assert after("f1", after("f2", known)).has_older_forms is True
    read_again = TableProgress(refresh=7)
    assert after("f2", read_again).has_older_forms is UNSET


def test_ranges_that_were_asked_for_are_read_even_with_no_snapshot() -> None:
    """The flag is for what was not asked for."""
    asked = TableProgress(ranges=(KeyRange(refresh=7, first=("1",)),))
    found = initial_progress({"a.x": "f1"}, {"a.x": asked}, snapshot=False)["a.x"]

    assert (found.done, found.open_ranges) == (True, asked.open_ranges)


B = "9e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.mark.parametrize(
    "start",
    [
        FileStart(before=f"{A}:1-30", first_offset=200, first_gtid=f"{A}:31"),
        FileStart(before=f"{A}:1-30,{B}:1-5", first_offset=200, first_gtid=f"{A}:31"),
        FileStart(before=f"{A}:1-50"),
        FileStart(before=f"{A}:1-50", first_offset=400, first_gtid=f"{A}:51"),
    ],
)
def test_transactions_that_were_never_in_the_binlog_are_not_missing(start: FileStart) -> None:
    """A dump was restored: its GTIDs are purged, and the file of our place is still there."""
    there = log(gtid_set=f"{A}:1-60,{B}:1-5", purged=f"{A}:1-10,{B}:1-5", start=start)
    resume = resume_from(tail(), there)
    wanted = Position(file="b.000002", offset=400, gtid_set=f"{A}:1-50,{B}:1-5")

    assert resume.position == wanted


@pytest.mark.parametrize(
    ("start", "oldest"),
    [
        (None, "b.000001"),  # the file does not tell what was before it
        (FileStart(before=f"{A}:1-30"), "b.000003"),  # the file of our place is gone
        (FileStart(before=f"{A}:1-30,{B}:6"), "b.000001"),  # it was in the binlog before the file
        # Reset: another transaction is the file's first, or one that was purged.
        (FileStart(before="", first_offset=200, first_gtid=f"{A}:51"), "b.000001"),
        (FileStart(before="", first_offset=200, first_gtid=f"{A}:1"), "b.000001"),
    ],
)
def test_purged_transactions_are_missing_where_the_binlog_is_not_surely_whole(
    start: FileStart | None, oldest: str
) -> None:
    """Only a file that is there and whose history is ours shows that nothing was lost."""
    purged = f"{A}:1-10,{B}:1-5"
    there = log(gtid_set=f"{A}:1-60,{B}:1-9", purged=purged, start=start, oldest=oldest)
    with pytest.raises(PositionLostError, match="purged"):
        resume_from(tail(), there)


def test_files_of_mariadb_that_were_purged_when_we_had_all_of_them() -> None:
    """Its oldest file begins where our transactions end, or before."""
    start = FileStart(before="0-1-9,1-2-3")
    there = log(gtid_set="0-1-9,1-2-3", mariadb=True, oldest="b.000003", start=start)
    resume = resume_from(tail(gtid_set="0-1-9,1-2-3"), there)

    assert resume.position == Position(file="b.000003", offset=4, gtid_set="0-1-9,1-2-3")


@pytest.mark.parametrize("before", [None, "", "0-1-10", "0-1-9,1-2-3"])
def test_files_of_mariadb_that_had_more_than_we_have_are_missing(before: str | None) -> None:
    """Or that do not tell what was before them."""
    start = None if before is None else FileStart(before=before)
    there = log(gtid_set="0-1-12,1-2-3", mariadb=True, oldest="b.000003", start=start)
    with pytest.raises(PositionLostError, match="purged"):
        resume_from(tail(gtid_set="0-1-9"), there)


def placed(id: str) -> Placed:
    """Return a message of ours."""
    return Placed(op="update", table="t", gtid=None, id=id, prev="")


def test_the_end_of_an_empty_stream_has_nothing() -> None:
    """The fence expects the sequence that the stream has."""
    found = tail_of("cdc", 0, None, [])

    assert (found.sequence, found.heartbeat, found.last, found.last_of) == (0, None, "", ())
    assert (found.heartbeat_at, found.naming.listed) == (0, NONE_LISTED)


@pytest.mark.parametrize(
    ("newest", "last"),
    [
        ((), "3.2.300.0"),
        (("3.2.299.9",), "3.2.300.0"),
        (("3.2.1000.0", "3.2.999.1"), "3.2.1000.0"),
        (("3.2.300.0.1", "3.2.300.0"), "3.2.300.0.1"),
    ],
)
def test_the_newest_message_of_any_subject_ends_the_stream(
    newest: tuple[str, ...], last: str
) -> None:
    """By the number of its id, and the heartbeat's own where nothing came after it."""
    ours: list[tuple[int | None, Placed]] = [(0, placed(one)) for one in newest]
    found = tail_of("cdc", 9, tail().heartbeat, ours, heartbeat_at=4)

    assert (found.last, found.last_of) == (last, ())
    assert (found.sequence, found.heartbeat_at, found.heartbeat) == (9, 4, tail().heartbeat)


def test_each_partition_ends_with_its_own_message_and_a_barrier_with_all() -> None:
    """A chain continues in each after what is there."""
    before = tail().heartbeat
    assert before is not None
    heartbeat = msgspec.structs.replace(before, last_of=("3.2.250.0", "3.2.300.0", "3.2.100.0"))
    rows: list[tuple[int | None, Placed]] = [(0, placed("3.2.400.0")), (1, placed("3.2.290.0"))]
    barrier: tuple[None, Placed] = (None, placed("3.2.350.0"))

    found = tail_of("cdc", 9, heartbeat, rows, 3)
    assert (found.last, found.last_of) == ("3.2.400.0", ("3.2.400.0", "3.2.300.0", "3.2.100.0"))
    found = tail_of("cdc", 9, heartbeat, [*rows, barrier], 3)
    assert (found.last, found.last_of) == ("3.2.400.0", ("3.2.400.0", "3.2.350.0", "3.2.350.0"))


def test_messages_without_a_heartbeat_are_a_lost_position() -> None:
    """Only a refresh may begin there."""
    ours = [(0, placed("3.2.400.0"))]
    with pytest.raises(PositionLostError) as error:
        tail_of("cdc", 9, None, ours)
    assert error.value.heals_by_refresh

    found = tail_of("cdc", 9, None, ours, 2, needs_heartbeat=False)
    assert (found.last, found.last_of) == ("3.2.400.0", ("3.2.400.0", ""))


@pytest.mark.parametrize(
    ("stream_end", "server_log"),
    [
        (Tail(sequence=9, heartbeat=None, last=""), log(server="two")),
        (tail(gtid_set=None), log(server="two")),
        (tail(), log(server="two", gtid_set=None)),
        (tail(), log()),
    ],
)
def test_gtids_decide_only_on_another_server_that_has_them(
    stream_end: Tail, server_log: ServerLog
) -> None:
    """Else file and offset do, or the position is lost."""
    assert not is_by_gtid(stream_end, server_log)
