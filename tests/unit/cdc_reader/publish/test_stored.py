"""What of the binlog the stream has already."""

from __future__ import annotations

from cdc.message import decode_placed
from cdc.position import Position
from cdc_reader.messages.chains import WHOLE, Chains
from cdc_reader.publish.stored import Stored
from cdc_reader.resume.published import Published
from cdc_reader.resume.resume import Resume

TABLE = "shop.users"


def stored(last: str, published: Published | None = None) -> Stored:
    position = Position(file="b.000001", offset=100, gtid_set=None)
    return Stored(Resume(epoch=1, position=position, last=last, published=published))


def test_rows_up_to_the_newest_message_are_skipped_and_none_after_its_event() -> None:
    """Whole events before it, the first rows of its own; then nothing is compared any more."""
    one, chains = stored("1.1.500.2"), Chains(["", ""])

    assert (one.is_past, one.is_after((1, 1, 499))) == (False, True)
    assert one.first_row((1, 1, 400), None, TABLE, 0, chains) is None
    assert (one.first_row((1, 1, 500), None, TABLE, 0, chains), chains.half) == (3, 2)
    assert (one.first_row((1, 1, 600), None, TABLE, 0, chains), chains.half) == (0, WHOLE)
    assert (one.is_past, one.is_after((1, 1, 100))) == (True, False)


def test_a_statement_is_in_the_stream_up_to_the_newest_message() -> None:
    """Its barriers too, by their own numbers."""
    one = stored("1.1.500.1")

    assert one.has_statement((1, 1, 500), None, [TABLE])
    assert not one.has_statement((1, 1, 501), None, [TABLE])
    assert one.passes_barrier((1, 1, 500, 1), None, TABLE)
    assert not one.passes_barrier((1, 1, 500, 2), None, TABLE)


def test_on_another_server_gtids_and_row_numbers_tell() -> None:
    """Its places mean nothing there."""
    published, gtid = Published(), "0-1-7"
    body = b'{"op":"insert","table":"shop.users","gtid":"0-1-7","id":"1.1.500.%d","prev":""}'
    for row in (1, 0):
        published.note(decode_placed(body % row))
    one = stored("", published)

    assert one.has_statement((2, 1, 9), gtid, [TABLE])
    assert one.first_row((2, 1, 50), gtid, TABLE, 0, None) == 2
    one.passed(gtid, TABLE, 2)
    assert one.first_row((2, 1, 60), gtid, TABLE, 0, None) == 0
    one.end_transaction(gtid)
    assert one.is_past
