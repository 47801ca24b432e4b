"""Which server may be read again without a person."""

from __future__ import annotations

import pytest

from cdc.errors import PositionLostError
from cdc.message import Heartbeat, TableProgress
from cdc.position import Position
from cdc_reader.resume.resume import ServerLog
from cdc_reader.resume.trust import refuse_emptied, refuse_unknown, rows_expected

A = "aaaaaaaa-eb80-11f1-99e1-02fc00000001"


def _heartbeat(server: str, gtid_set: str | None) -> Heartbeat:
    return Heartbeat(
        epoch=1, server=server, file="b.000001", offset=4, gtid_set=gtid_set, last="",
        snapshot={}, ts=1,
    )  # fmt: skip


def _server(server: str, gtid_set: str | None, *, mariadb: bool = False) -> ServerLog:
    return ServerLog(
        mariadb=mariadb,
        server=server,
        newest=Position(file="b.000001", offset=4, gtid_set=gtid_set),
        purged=None,
        oldest_file="b.000001",
        state=None,
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((A, None), (A, None)),
        ((A, f"{A}:1-9"), (A, None)),
        ((A, f"{A}:1-9"), ("b", f"{A}:1-12")),
        (("7", "0-7-9"), ("7", "0-7-9")),
        (("7", "0-7-9,1-7-3"), ("8", "0-8-12,1-7-3")),
    ],
)
def test_the_server_that_we_knew_is_trusted(
    ours: tuple[str, str | None], theirs: tuple[str, str | None]
) -> None:
    """By its identity, or because it has all transactions that the stream has."""
    refuse_unknown(_heartbeat(*ours), _server(*theirs, mariadb=ours[0].isdigit()))


def test_another_one_is_not() -> None:
    """It lacks transactions, or nothing tells."""
    with pytest.raises(PositionLostError, match="lacks transactions"):
        refuse_unknown(_heartbeat(A, f"{A}:1-9"), _server("b", f"{A}:1-8"))
    with pytest.raises(PositionLostError, match="this is b"):
        refuse_unknown(_heartbeat(A, None), _server("b", f"{A}:1-8"))
    for theirs in ("0-7-8", "1-7-9", None):
        with pytest.raises(PositionLostError, match="lacks transactions"):
            refuse_unknown(_heartbeat("7", "0-7-9"), _server("7", theirs, mariadb=True))
    with pytest.raises(PositionLostError, match="this is 8"):
        refuse_unknown(_heartbeat(A, f"{A}:1-9"), _server("8", "0-7-9", mariadb=True))
    with pytest.raises(PositionLostError, match="does not tell which server"):
        refuse_unknown(None, _server(A, None))


def test_tables_that_lost_most_of_their_rows_are_refused() -> None:
    """Half of what was read the last time; not of few rows, nor where a reading did not end."""
    expected = rows_expected(
        {
            "shop.users": TableProgress(done=True, rows=1001),
            "shop.large": TableProgress(done=True, rows=90_000_000),
            "shop.few": TableProgress(done=True, rows=99),
            "shop.begun": TableProgress(rows=5000),
            "shop.old": TableProgress(done=True),
        }
    )
    assert expected == {"shop.users": 500, "shop.large": 100_000, "shop.few": 49}
    refuse_emptied({"shop.users": 500, "shop.large": 100_000, "shop.few": 49}, expected)
    refuse_emptied({"shop.users": 500}, expected)
    with pytest.raises(PositionLostError, match="users has 499 rows, and had 1,000 or more"):
        refuse_emptied({"shop.users": 499}, expected)


def test_tables_that_are_all_nearly_empty_are_refused_however_small_they_were() -> None:
    """A server that was restored empty; one small table alone may be tidied up."""
    expected = rows_expected({f"t{n}": TableProgress(done=True, rows=9) for n in range(3)})
    refuse_emptied({"t0": 4, "t1": 4, "t2": 4}, expected)
    with pytest.raises(PositionLostError, match="together have 8 rows, and had 24 or more"):
        refuse_emptied({"t0": 4, "t1": 4, "t2": 0}, expected)
