"""Where the reading is in the binlog's files, and its newest boundary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.position import Position
from cdc_reader.binlog.coordinates import Coordinates
from cdc_reader.binlog.event import Event


def at(offset: int, file: str = "binlog.000002") -> Coordinates:
    """Return where the reading begins."""
    return Coordinates(Position(file=file, offset=offset, gtid_set=None))


def event(end_offset: int, size_bytes: int = 100) -> Event:
    """Return an event that ends at the low 32 bits of a place."""
    return Event(30, b"", 0, 0, end_offset, size_bytes, 7, 1, 0)


@given(
    st.integers(4, 1 << 35),
    st.lists(st.integers(19, 1 << 30), max_size=20),
)
def test_an_offset_is_kept_with_64_bits(start: int, sizes: list[int]) -> None:
    """For files of any length: the header has only the low 32 bits."""
    where, end = at(start), start
    for size in sizes:
        end += size
        if end & 0xFFFFFFFF == 0:
            return  # the server itself writes 0 there
        where.advance(event(end & 0xFFFFFFFF), in_transaction=True)
        assert end == where.end


@pytest.mark.parametrize(("in_transaction", "end"), [(True, 1100), (False, 1000)])
def test_an_event_without_an_offset_follows_the_one_before(in_transaction: bool, end: int) -> None:
    """MariaDB writes 0 inside a transaction; elsewhere it is an event of no file."""
    where = at(1000)
    where.advance(event(0, 100), in_transaction=in_transaction)

    assert (2, end) == where.position


def test_an_offset_somewhat_before_is_no_next_round() -> None:
    """Only a step back of more than 2 GiB means that the 32 bits were full."""
    where = at(5000)
    where.advance(event(300), in_transaction=False)

    assert where.end == 300


def test_another_file_begins_where_it_is_told() -> None:
    """The boundary stays in the file before until one is reached."""
    where = at(900)
    where.go_to("binlog.000003", 4)

    assert ((3, 4), (2, 900), "binlog.000002") == (
        where.position,
        where.boundary,
        where.boundary_file,
    )
    where.move_boundary()
    assert ((3, 4), "binlog.000003") == (where.boundary, where.boundary_file)


@pytest.mark.parametrize(
    ("end", "boundary"), [(None, (2, 900)), (950, (2, 950)), (899, (2, 900)), (900, (2, 900))]
)
def test_a_boundary_never_goes_back(end: int | None, boundary: tuple[int, int]) -> None:
    """A dump by GTID begins at its file's first event, which is before what was read."""
    where = at(900)
    where.go_to("binlog.000002", 4)
    where.move_boundary(end)

    assert boundary == where.boundary


def test_a_boundary_of_an_earlier_file_is_none() -> None:
    """Whatever its offset."""
    where = at(900, "binlog.000010")
    where.go_to("binlog.000009", 99_999)
    where.move_boundary()

    assert ((10, 900), "binlog.000010") == (where.boundary, where.boundary_file)
