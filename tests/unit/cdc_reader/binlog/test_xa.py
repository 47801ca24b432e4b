"""How XA transactions are named in the binlog."""

from __future__ import annotations

import struct

import pytest

from cdc.errors import PositionLostError
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.event import Event
from cdc_reader.binlog.xa import parse_xa, parse_xa_prepare


def prepare(body: bytes) -> Event:
    return Event(ev.XA_PREPARE, b"##" + body, 2, 2 + len(body), 0, 0, 0, 0, 0)


def test_a_prepare_has_the_xid_as_its_outcome_names_it() -> None:
    """Of any bytes; one phase is the COMMIT itself."""
    body = struct.pack("<?III", True, 2**31 - 1, 2, 1) + b"\xff'\0"
    xid, one_phase = parse_xa_prepare(prepare(body))

    assert (xid, one_phase) == ("X'ff27',X'00',2147483647", True)
    assert parse_xa(f"XA COMMIT {xid}") == ("COMMIT", xid)
    assert parse_xa_prepare(prepare(b"\0" + body[1:]))[1] is False


@pytest.mark.parametrize("size", [5, 14])
def test_a_prepare_that_is_cut_off_is_damaged(size: int) -> None:
    body = struct.pack("<?III", True, 1, 2, 1) + b"abc"
    with pytest.raises(PositionLostError, match="XA_PREPARE"):
        parse_xa_prepare(prepare(body[:size]))


@pytest.mark.parametrize(
    ("text", "verb", "xid"),
    [
        ("XA START X'61',X'',1", "START", "X'61',X'',1"),
        ("xa rollback x'6A',X'6b', 7", "ROLLBACK", "X'6a',X'6b',7"),
        ("/* c */ XA COMMIT 'a'", "COMMIT", ""),
        ("XA RECOVER", "RECOVER", ""),
    ],
)
def test_a_statement_tells_what_it_does_and_to_which(text: str, verb: str, xid: str) -> None:
    """As a server writes it; any other spelling has no xid that was ever noted."""
    assert parse_xa(text) == (verb, xid)
