"""What of another server's binlog the stream has already, told by GTID."""

import pytest

from cdc.errors import PositionLostError
from cdc.message import Heartbeat, Placed
from cdc_reader.messages.chains import WHOLE, Chains
from cdc_reader.resume.published import Published, ends_at_boundary


def change(number: int | None, id: str, table: str = "shop.users") -> Placed:
    """Return a change of transaction a:<number>; None: a row of the snapshot."""
    gtid = f"a:{number}" if number else None
    return Placed(op="update", table=table, gtid=gtid, id=id, prev="")


def published(*messages: Placed) -> Published:
    """Take messages in as they are in the stream, oldest first."""
    made = Published()
    for message in reversed(messages):
        made.note(message)
    return made


def test_all_transactions_but_the_newest_are_whole() -> None:
    """Only the newest may be there in part; rows of the snapshot are in none."""
    made = published(
        change(1, "1.1.10.0"),
        change(2, "1.1.20.0"),
        change(2, "1.1.20.1"),
        change(None, "1.1.20.1.1"),
        change(3, "1.1.30.0"),
    )

    assert (made.whole, made.newest) == (["a:2", "a:1"], "a:3")
    assert published().newest == ""


def test_the_rows_of_the_newest_are_passed_over_table_by_table() -> None:
    """However its rows are spread over events; those that follow are new."""
    made = published(
        change(3, "1.1.30.0"), change(3, "1.1.30.1"), change(3, "1.1.40.0", "shop.other")
    )
    assert made.skip("a:2", "shop.users", 0) == 0
    assert made.skip("a:3", "shop.users", 0) == 2
    made.passed("a:3", "shop.users", 1)
    assert made.skip("a:3", "shop.users", 5) == 6
    made.passed("a:3", "shop.users", 4)
    assert made.skip("a:3", "shop.users", 9) == 0
    assert made.skip("a:3", "shop.other", 0) == 1
    made.passed("a:3", "shop.other", 1)

    assert made.after("a:2") is made
    assert made.after("a:3") is None


def test_a_transaction_with_fewer_rows_than_the_stream_has_is_another_one() -> None:
    """Somebody skipped or changed it on the replica: stop, do not guess."""
    made = published(change(3, "1.1.30.0"), change(3, "1.1.30.1"))
    made.passed("a:3", "shop.users", 1)

    with pytest.raises(PositionLostError, match="fewer rows"):
        made.after("a:3")


def test_only_the_newest_message_may_lack_its_other_half() -> None:
    """A key that left its partition has a second message, which counts no row."""
    chains = Chains(["", ""])
    assert published(change(3, "1.1.30.0"), change(3, "1.1.30.1")).skip(
        "a:3", "shop.users", 4, chains
    ) == 6  # fmt: skip
    assert chains.half == 5
    whole = published(change(3, "1.1.30.0"), change(3, "1.1.30.1"), change(3, "1.1.30.1.0"))
    assert whole.skip("a:3", "shop.users", 4, chains) == 6
    assert chains.half == WHOLE
    published(change(3, "1.1.30.0"), change(None, "1.1.30.0.1")).skip(
        "a:3", "shop.users", 0, chains
    )
    assert chains.half == WHOLE


@pytest.mark.parametrize(
    ("last", "is_before"),
    [
        ("", True),
        ("3.2.300.0", True),
        ("3.2.400.0.7", True),
        ("3.2.401.0", False),
        ("3.3.4.0", False),
        ("2.9.9.0", False),
    ],
)
def test_a_stream_whose_newest_message_stands_before_the_boundary_has_nothing_behind_it(
    last: str, is_before: bool
) -> None:
    """So an idle stream needs no walk; ids of another epoch tell nothing."""
    heartbeat = Heartbeat(
        epoch=3, server="s", file="b.000002", offset=400, gtid_set="", last=last, snapshot={}, ts=1
    )

    assert ends_at_boundary(last, heartbeat) == is_before


def test_a_barrier_that_the_stream_has_is_passed_over_once() -> None:
    """A schema change is one message for each of its tables."""
    made = published(change(3, "1.1.30.0"))

    assert not made.passes_one("a:2", "shop.users")
    assert not made.passes_one("a:3", "shop.other")
    assert made.passes_one("a:3", "shop.users")
    assert not made.passes_one("a:3", "shop.users")
    assert made.after("a:3") is None


def test_rows_of_other_transactions_and_tables_take_nothing_away() -> None:
    """Only the newest transaction's rows are counted down."""
    made = published(change(3, "1.1.30.0"), change(3, "1.1.30.1"))
    made.passed("a:2", "shop.users", 2)
    made.passed("a:3", "shop.other", 2)

    assert made.skip("a:3", "shop.users", 0) == 2
