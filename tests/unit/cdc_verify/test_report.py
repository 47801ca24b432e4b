"""What of a verify is reported, as lines and as JSON."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.message import Aside
from cdc_verify import report
from cdc_verify.checkpoint import Checkpoint
from cdc_verify.compare import WRONG_TYPE, Difference, Tally
from cdc_verify.report import Report, SkippedTable


def of(*wrong: Difference, with_values: bool = True, rows: int = 10, **how: Any) -> Report:
    """Return a report of these differences."""
    found = Checkpoint(of="t", seed=7, began_us=1, tally=Tally(rows=rows))
    found.take(list(wrong), with_values=with_values)
    defaults: dict[str, Any] = {
        "table": "shop.t", "found": found, "seconds": 2.0, "sample": 100.0, "resumed": False,
        "orphans_checked": True, "dead_letters": 0, "is_being_read": False,
    }  # fmt: skip
    return Report(**defaults | how)


STALE = Difference(b"t:1", "stale", ("1",), b"new", b"old")


@pytest.mark.parametrize(
    ("made", "equal"), [(of(), True), (of(STALE), False), (of(STALE, repaired=True), True)]
)
def test_a_table_is_equal_without_differences_or_once_they_are_repaired(
    made: Report, equal: bool
) -> None:
    """What was found before the repair is still told."""
    assert (equal, equal) == (made.equal, made.about(with_values=False)["equal"])


def test_one_line_where_all_is_equal() -> None:
    """With how many rows, how long, and how fast."""
    assert ["shop.t: equal   10 rows in 2.0 s, 5 rows/s"] == of().lines(with_values=False)
    assert "0 rows/s" in of(seconds=0.0).lines(with_values=False)[0]


def test_differences_are_counted_by_kind_and_the_first_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the number of those that are not."""
    monkeypatch.setattr(report, "SHOWN_DIFFERENCES", 2)
    wrong = [Difference(b"t:%d" % n, "missing") for n in range(3)]
    lines = of(STALE, *wrong).lines(with_values=False)

    assert lines[0].startswith("shop.t: DIFFERENT")
    assert "3 missing in Redis, 1 with another content" in lines[1]
    assert [["stale", "t:1"], ["missing", "t:0"]] == [line.split() for line in lines[2:4]]
    assert "2 more" in lines[4]
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("wanted", "found", "mysql", "redis"),
    [
        (b"new", b"old", "new", "old"),
        (b"new", None, "new", None),
        (b"\xff", WRONG_TYPE, "\\xff", "wrong type"),
        ({b"a": b"1"}, {b"b": b"\xff"}, {"a": "1"}, {"b": "\\xff"}),
    ],
)
def test_values_are_shown_where_they_are_asked_for(
    wanted: Any, found: Any, mysql: Any, redis: Any
) -> None:
    """In JSON as objects; not otherwise."""
    made = of(Difference(b"t:1", "stale", (), wanted, found))

    assert [{"kind": "stale", "key": "t:1"}] == made.about(with_values=False)["differences"]
    assert [{"kind": "stale", "key": "t:1", "mysql": mysql, "redis": redis}] == made.about(
        with_values=True
    )["differences"]
    assert len(made.lines(with_values=True)) - 2 == len(made.lines(with_values=False))
    assert f"{redis}" in made.lines(with_values=True)[-1]


def test_json_has_every_number_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are a contract with programs; of very many differences the first are in it."""
    monkeypatch.setattr(report, "SHOWN_IN_JSON", 1)
    made = of(STALE, STALE, seconds=1.23456, sample=2.5, resumed=True, dead_letters=3)
    about = made.about(with_values=False)

    assert 1 == len(about.pop("differences"))
    assert {
        "table": "shop.t", "equal": False, "aside": None, "rows": 10, "missing": 0, "stale": 2,
        "orphan": 0, "wrong_type": 0, "shared": 0, "unsettled": 0, "seconds": 1.235, "sample": 2.5,
        "seed": 7, "resumed": True, "orphans_checked": True, "dead_letters": 3,
        "is_being_read": False, "repaired": False,
    } == about  # fmt: skip


def unsettled() -> Report:
    """Return a report with keys that never held still."""
    made = of()
    made.found.tally.unsettled = 4
    return made


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (of(STALE, repaired=True), "repaired"),
        (unsettled(), "4 keys"),
        (of(orphans_checked=False), "key template"),
        (of(Difference(b"t:1", "shared")), "{table}:{pk}"),
        (of(dead_letters=3), "cdc dead list"),
        (of(is_being_read=True), "being read"),
    ],
)
def test_what_limits_the_comparison_is_told_below_it(made: Report, word: str) -> None:
    """One note each, and none without its cause."""
    usual = "\n".join(of(STALE).lines(with_values=False))

    assert word in "\n".join(made.lines(with_values=False))
    assert word not in usual


def test_a_sample_is_told_with_its_share() -> None:
    """All of the rows are no sample."""
    assert "2.5 %" in of(sample=2.5).lines(with_values=False)[0]
    assert "%" not in of().lines(with_values=False)[0]


def test_a_table_that_is_set_aside_is_not_equal() -> None:
    """There is nothing to compare; why, and what brings it back."""
    aside = Aside(reason="no key", fix="ALTER TABLE t;\nmore", position="b:4", since=5)
    made = SkippedTable(table="shop.t", aside=aside)

    assert made.about(with_values=True)["aside"]["reason"] == "no key"
    assert not made.about(with_values=True)["equal"]
    assert made.lines(with_values=False) == [
        "shop.t: SET ASIDE   not compared, keys kept, not exact",
        "  no key",
        "  fix:  ALTER TABLE t;",
    ]
