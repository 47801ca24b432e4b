"""Rows of a SELECT from bytes, with reads that end anywhere."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc_reader.binlog.long_event import PACKET_MAX_BYTES
from cdc_reader.rows.result_set import ResultSet

pytestmark = pytest.mark.usefixtures("path")

END = b"\x05\0\0\x09\xfe\0\0\2\0"


def lenenc(value: bytes | None) -> bytes:
    """Return a column's value as it is in a row."""
    if value is None:
        return b"\xfb"
    size = len(value)
    if size < 251:
        return bytes([size]) + value
    width, mark = (
        (2, b"\xfc") if size < 1 << 16 else (3, b"\xfd") if size < 1 << 24 else (8, b"\xfe")
    )
    return mark + size.to_bytes(width, "little") + value


def packets(payload: bytes) -> bytes:
    """Return a payload cut into packets."""
    out = b""
    while True:
        piece, payload = payload[:PACKET_MAX_BYTES], payload[PACKET_MAX_BYTES:]
        out += len(piece).to_bytes(3, "little") + b"\x07" + piece
        if len(piece) < PACKET_MAX_BYTES:
            return out


def wire(rows: Sequence[tuple[bytes | None, ...]]) -> bytes:
    """Return rows as the server sends them, with their end."""
    return b"".join(packets(b"".join(map(lenenc, row))) for row in rows) + END


VALUES = st.one_of(
    st.none(), st.binary(max_size=20), st.sampled_from([b"x" * 250, b"y" * 251, b"z" * 70_000])
)


@given(
    rows=st.integers(1, 5).flatmap(lambda n: st.lists(st.tuples(*[VALUES] * n), max_size=8)),
    cuts=st.lists(st.integers(0, 200_000), max_size=6),
)
def test_rows_come_out_whole_wherever_the_reads_are_cut(
    rows: list[tuple[bytes | None, ...]], cuts: list[int]
) -> None:
    """NULL, empty and long values; any number of columns; any boundaries."""
    data = wire(rows)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    result_set = ResultSet(len(rows[0]) if rows else 3)
    for start, stop in itertools.pairwise(places):
        result_set.feed(data[start:stop])

    assert result_set.done
    assert result_set.rows == rows


def test_rows_come_out_byte_by_byte() -> None:
    """The smallest reads give the same rows as the largest."""
    rows = [(b"1", None), (b"", b"x" * 300)]
    result_set = ResultSet(2)
    for at in range(len(wire(rows))):
        result_set.feed(wire(rows)[at : at + 1])

    assert result_set.rows == rows


def test_a_value_of_several_packets_is_joined() -> None:
    """A row of 16 MiB and more comes in several packets."""
    rows = [(b"a", b"x" * (PACKET_MAX_BYTES + 5), b"z"), (b"b", None, b"")]
    result_set = ResultSet(3)
    result_set.feed(wire(rows))

    assert result_set.rows == rows


def test_an_error_among_the_rows_ends_them_and_is_kept() -> None:
    """A SELECT that is killed half-way is no short table."""
    result_set = ResultSet(1)
    result_set.feed(wire([(b"1",)])[: -len(END)] + packets(b"\xff\x25\x05#70100killed"))

    assert result_set.done
    assert result_set.error == b"\x25\x05#70100killed"


@pytest.mark.parametrize("data", [packets(b"\x01a\x01b\x01c"), packets(b"") + END, END + b"x"])
def test_what_is_no_result_set_is_refused(data: bytes) -> None:
    """Another number of columns, an empty packet, bytes after the end: never guessed."""
    with pytest.raises(PositionLostError):
        ResultSet(2).feed(data)
