"""A pipeline's status as text: for people, for a monitor, and one line for whoever greps."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cdc.status.text import WIDTH, check_line, line, seconds, text

NOW_US = 1_795_514_400_000_000
SAID: dict[str, Any] = {
    "pipeline": "default", "state": "streaming", "lag_s": 0.5, "why": "all is well",
    "ts": NOW_US,
    "mysql": {"error": None, "file": "b.000003", "offset": 900, "gtid_set": "u:1-9"},
    "reader": {
        "file": "b.000003", "offset": 800, "gtid_set": "u:1-8", "behind_bytes": 100,
        "behind_s": 2.0,
    },
    "stream": {
        "error": None, "name": "MYSQL", "messages": 8123, "bytes": 12_000_000, "limit_bytes": 0,
        "full": False, "held_by": [],
    },
    "sink": {
        "partitions": [{"partition": 0, "seq": 1234, "gtid_set": "u:1-7"}],
        "pending_messages": 5, "pending_age_s": 1.0,
    },
    "redis": {"error": None},
    "retention": {"seconds": 3600.0, "bytes": 2100},
    "tables": [
        {
            "table": "shop.users", "insert": 1, "update": 2, "delete": 3, "snapshot": 4,
            "estimated_rows": None, "reading": None, "verify": None, "dead_letters": 0,
            "older_forms": False, "aside": None,
        }
    ],
    "dead_letters": 0,
    "last_error": None,
    "check": {"code": 0, "why": []},
}  # fmt: skip


def said(**changed: Any) -> dict[str, Any]:
    """Return a status with parts changed; one of a part is ``stream__full``."""
    out = copy.deepcopy(SAID)
    for name, value in changed.items():
        part, _, inner = name.partition("__")
        if inner:
            out[part][inner] = value
        else:
            out[part] = value
    return out


def table(**changed: Any) -> dict[str, Any]:
    """Return a status whose only table is changed."""
    return said(tables=[SAID["tables"][0] | changed])


def held(name: str, messages: int, **more: Any) -> dict[str, Any]:
    """Return one that holds the stream."""
    return {"name": name, "behind": messages, "seen_age_s": None, "consumer": None} | more


def test_one_line_has_each_number_by_its_name() -> None:
    """Whoever greps finds them; what is not known is a question mark."""
    unknown = said(lag_s=None, reader__behind_bytes=None, sink__pending_messages=None)

    assert [
        "default streaming lag_s=0.5 behind_bytes=100 pending=5 rows=10",
        "default streaming lag_s=? behind_bytes=? pending=? rows=10",
    ] == [line(one).partition(" ")[2] for one in (said(), unknown)]


def test_a_monitor_gets_a_level_and_numbers_behind_a_bar() -> None:
    """Numbers that are not known are left out, as the plug-in format wants."""
    assert [
        "CDC OK - default: streaming, all is well | lag=0.5s behind=100B pending=5",
        "CDC CRITICAL - default: a; b | behind=100B pending=5",
    ] == [check_line(said()), check_line(said(lag_s=None, check={"code": 2, "why": ["a", "b"]}))]


@pytest.mark.parametrize(
    ("status", "shown", "hidden"),
    [
        (said(), ["b.000003:900", "u:1-9", "100 bytes", "8,123", "12 MB", "sequence 1,234"],
         ["Redis 0", "of 12 MB"]),
        (said(lag_s=None), [], ["lag"]),
        (said(mysql__file=None), ["MySQL     -"], ["b.000003:900"]),
        (said(mysql__error="no answer"), ["no answer"], ["b.000003:900"]),
        (said(stream__error="no stream"), ["no stream"], ["8,123", "100 bytes"]),
        (said(redis__error="no Redis"), ["no Redis"], ["5 messages"]),
        (said(stream__limit_bytes=50_000_000), ["12 MB of 50 MB"], []),
        (said(reader__behind_bytes=None), ["?"], ["100 bytes"]),
        (said(retention=None), [], ["2.1 kB"]),
        (said(retention={"seconds": None, "bytes": 2100}), ["2.1 kB"], ["1 h"]),
        (said(tables=[]), [], ["TABLE"]),
        (said(sink__partitions=[{"partition": n, "seq": n, "gtid_set": None} for n in (0, 1)]),
         ["Redis 0", "Redis 1"], []),
        (said(mysql__gtid_set="x" * 49), ["\u2026" + "x" * 47], ["x" * 48]),
    ],
)  # fmt: skip
def test_each_place_has_its_row(
    status: dict[str, Any], shown: list[str], hidden: list[str]
) -> None:
    """What a server did not tell is not there; its error is."""
    found = text(status)

    assert [] == [part for part in shown if part not in found]
    assert [] == [part for part in hidden if part in found]


@pytest.mark.parametrize(
    ("changed", "end"),
    [
        ({"estimated_rows": 1000}, "1,000  -        never"),
        ({"reading": {"done": True}}, "done     never"),
        ({"reading": {"done": False, "ranges": 3, "after": []}}, "3 ranges  never"),
        ({"reading": {"done": False, "ranges": 0, "after": ["7", "x"]}}, "after 7,x  never"),
        ({"reading": {"done": False, "ranges": 0, "partial": 2, "after": []}}, "2 keys  never"),
        ({"reading": {"done": False, "ranges": 0, "refresh_due": True}}, "refresh due  never"),
        (
            {"aside": {"reason": "r", "fix": "", "position": "", "since": 0, "removed": False}},
            "set aside  never",
        ),
        ({"verify": {"stale": "0", "ts": str(NOW_US - 3_000_000)}}, "equal, 3.0 s ago"),
        ({"verify": {"stale": "2", "ts": str(NOW_US // 10**6 - 75)}}, "2 differ, 1 min 15 s ago"),
        ({"verify": {"stale": "0", "ts": "soon"}}, "equal"),
        ({"verify": {"stale": "0", "ts": str(NOW_US + 10**9)}}, "equal, 0.0 s ago"),
    ],
)
def test_a_table_ends_with_its_snapshot_and_its_last_verify(
    changed: dict[str, Any], end: str
) -> None:
    """An age is counted from seconds or microseconds; one that cannot be read is left out."""
    (row,) = [row for row in text(table(**changed)).splitlines() if row.startswith("shop.users")]

    assert end.split() == row.split()[-len(end.split()) :]


@pytest.mark.parametrize(
    ("status", "notes"),
    [
        (said(), []),
        (table(dead_letters=2) | {"dead_letters": 2}, ["shop.users (2)", "cdc dead list"]),
        (said(dead_letters=3), ["3 dead letters", "cdc dead list"]),
        (table(aside={"reason": "r " * 60, "fix": "do it\nnow", "position": "b.1:4",
                      "since": NOW_US - 75_000_000, "removed": False}),
         ["set aside 1 min 15 s ago at b.1:4, keys kept, not exact: shop.users",
          "r r", "fix:  do it"]),
        (table(aside={"reason": "r", "fix": "", "position": "b.1:4", "since": 0, "removed": True}),
         ["keys removed: shop.users: r"]),
        (table(older_forms=True), ["shop.users", "cdc refresh --only shop.users"]),
        (said(last_error={"ts": NOW_US - 5_000_000, "role": "sink", "exit_code": 65,
                          "seen": "w " * 80, "fix": "do it\nnow"}),
         ["sink, 5.0 s ago, exit code 65", "w w", "do it"]),
        (said(last_error={"ts": "", "seen": "x"}), ["x"]),
        (said(stream__held_by=[held("one", 5), held("two", 0)]), ["one has 5 messages"]),
        (said(stream__held_by=[held("one", 5)]), []),
        (said(stream__held_by=[held("one", 5)], stream__full=True), ["one has 5 messages"]),
        (said(stream__held_by=[held("a b", 5, seen_age_s=75, consumer="c1")], stream__full=True),
         ["1 min 15 s ago", "fix", "nats consumer rm MYSQL c1"]),
    ],
)  # fmt: skip
def test_notes_are_what_a_person_has_to_know(status: dict[str, Any], notes: list[str]) -> None:
    """Each line of them has its part, and without a cause there is none."""
    rows = text(status).splitlines()
    start = next(n for n, row in enumerate(rows) if row.startswith("shop.users"))
    below = rows[start + 2 :]

    assert bool(notes) == bool(below)
    assert [] == [note for note in notes if not any(note in row for row in below)]
    assert max(map(len, rows)) <= WIDTH


@pytest.mark.parametrize(
    ("value_s", "words"), [(0.123, "0.1 s"), (9.94, "9.9 s"), (75, "1 min 15 s")]
)
def test_a_short_time_has_tenths(value_s: float, words: str) -> None:
    """From ten seconds on it has none."""
    assert words == seconds(value_s)
    assert "." not in seconds(10)
