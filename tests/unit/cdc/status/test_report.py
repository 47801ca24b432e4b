"""What follows from what the three servers say: lag, states, exit codes, a text that fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdc.message import Aside, Heartbeat, TableProgress
from cdc.status.report import (
    CRITICAL,
    OK,
    UNKNOWN,
    WARNING,
    BinlogState,
    Limits,
    RedisPosition,
    Seen,
    Sink,
    Stream,
    report,
)
from cdc.status.text import WIDTH, check_line, line, text

NOW_US = 1_795_514_400_000_000
U = "7271e0ec-e705-11f1-8850-02fc00000001"
DAY_S = 86_400


def s_ago(seconds: float) -> int:
    return NOW_US - int(seconds * 1e6)


SOURCE = BinlogState(
    server="s", version="9.7.0", file="b.000003", offset=900, gtid_set=f"{U}:1-9",
    logs=[("b.000001", 500), ("b.000002", 700), ("b.000003", 900)], expire_s=DAY_S,
    rows={"shop.users": 1000},
)  # fmt: skip
BEAT = Heartbeat(
    epoch=1, server="s", file="b.000003", offset=900, gtid_set=f"{U}:1-9", last="1.3.800.0",
    snapshot={"shop.users": TableProgress(done=True)}, upto=s_ago(1), ts=s_ago(1),
)  # fmt: skip
ASIDE = Aside(reason="no key", fix="ALTER TABLE …", position="b.000001:4", since=7)
STREAM = Stream(
    name="MYSQL", messages=90, size_bytes=9000, last_seq=100, heartbeat=BEAT, heartbeat_seq=100,
    newest_id="", dead={},
)  # fmt: skip
AT = RedisPosition(
    seq=100, id="1.3.800.0", gtid_set=f"{U}:1-9", ts=s_ago(50), upto=s_ago(1), applied=s_ago(1),
    reading=(),
)  # fmt: skip
SINK = Sink(positions=[AT], counts={"shop.users:update": 7, "bare": 2}, verified={}, error=None)
SEEN = Seen(source=SOURCE, stream=STREAM, sink=SINK, now_us=NOW_US)


def of(**changed: Any) -> dict[str, Any]:
    """Return the report of a pipeline that is well, but for what is changed."""
    return report(replace(SEEN, **changed), Limits())


def beat(**changed: Any) -> Stream:
    """Return the stream with another heartbeat."""
    fields = {name: getattr(BEAT, name) for name in BEAT.__struct_fields__}
    return replace(STREAM, heartbeat=Heartbeat(**fields | changed))


ERROR = {"ts": NOW_US, "role": "reader", "exit_code": 65, "seen": "a gap\nin it", "fix": "r"}


@pytest.mark.parametrize("is_over", [False, True])
def test_what_ended_a_run_is_its_state(is_over: bool) -> None:
    """The newest error, unless a later run has left signs of life behind it."""
    at = replace(AT, applied=s_ago(60))
    stream = "the embedded NATS is not running" if is_over else beat(ts=s_ago(60))

    def why(error_s_ago: float) -> str:
        error = ERROR | {"ts": s_ago(error_s_ago)}
        said = of(stream=stream, sink=replace(SINK, positions=[at], error=error), is_over=is_over)
        assert said["state"] == "stopped"
        assert said["check"] == {"code": CRITICAL, "why": [said["why"]]}
        return str(said["why"])

    reason = "the reader ended with exit code 65: a gap in it"
    assert why(60) == why(0) == reason
    assert why(74) == reason, "the sink drained after it"
    assert why(600) == (
        "cdc run is not running, nor its embedded NATS"
        if is_over
        else "the reader: the newest heartbeat is 60 s old"
    )
    assert of(stream="NATS is away")["state"] == "unknown"


def test_a_pipeline_that_is_well() -> None:
    """Nothing is behind; an old newest change is no lag."""
    said = of()

    assert (said["state"], said["lag_s"], said["check"]) == (
        "streaming",
        0.0,
        {"code": 0, "why": []},
    )
    assert said["retention"] == {
        "purged": False, "bytes": 2100, "seconds": DAY_S, "expire_s": DAY_S,
    }  # fmt: skip
    assert said["tables"][0]["update"] == 7
    assert said["bare_messages"] == 2


def test_the_reader_is_behind_by_bytes_over_files_and_by_what_it_has_read_up_to() -> None:
    """From the newest heartbeat, or a message behind it, to where the binlog ends."""
    stream = beat(file="b.000001", offset=400, upto=s_ago(60))
    reader = of(stream=stream)["reader"]
    assert (reader["behind_bytes"], reader["behind_s"]) == (100 + 700 + 900, 60.0)

    newer = of(stream=replace(stream, newest_id="1.2.100.0"))["reader"]
    assert newer["behind_bytes"] == 600 + 900

    other = of(stream=beat(server="another"))["reader"]
    assert (other["behind_bytes"], other["behind_s"]) == (None, None)


@pytest.mark.parametrize(
    ("changed", "state", "code"),
    [
        ({"source": "MySQL does not answer"}, "unknown", UNKNOWN),
        ({"stream": "NATS does not answer"}, "unknown", UNKNOWN),
        ({"sink": "Redis does not answer"}, "unknown", UNKNOWN),
        ({"stream": replace(STREAM, heartbeat=None)}, "starting", WARNING),
        ({"sink": replace(SINK, positions=[None])}, "starting", WARNING),
        ({"stream": beat(ts=s_ago(16))}, "stopped", CRITICAL),
        ({"stream": beat(file="b.000001", offset=4, upto=s_ago(40))}, "behind", WARNING),
        ({"stream": beat(file="b.000001", offset=4, upto=s_ago(400))}, "behind", CRITICAL),
        ({"stream": replace(STREAM, last_seq=150)}, "streaming", OK),
        ({"stream": replace(STREAM, last_seq=150, pending_since_us=s_ago(20)),
          "sink": replace(SINK, positions=[replace(AT, applied=s_ago(20))])}, "stopped", CRITICAL),
        ({"sink": replace(SINK, positions=[replace(AT, reading=("shop.users",))])}, "snapshot", OK),
        ({"source": replace(SOURCE, logs=[("b.000004", 9)])}, "stopped", CRITICAL),
        ({"stream": replace(STREAM, dead={"shop.users": 1})}, "streaming", WARNING),
        ({"stream": beat(snapshot={"shop.users": TableProgress(aside=ASIDE)})},
         "streaming", WARNING),
        ({"sink": replace(SINK, verified={"shop.users": {"stale": "1"}})}, "streaming", WARNING),
        ({"sink": replace(SINK, verified={"shop.users": {"stale": "0"}})}, "streaming", OK),
        ({"stream": beat(file="b.000001", offset=4, upto=s_ago(20)),
          "source": replace(SOURCE, expire_s=24)}, "streaming", WARNING),
    ],
)  # fmt: skip
def test_states_and_exit_codes(changed: dict[str, Any], state: str, code: int) -> None:
    """One word each, and the worst of what was found."""
    said = of(**changed)

    assert (said["state"], said["check"]["code"]) == (state, code)
    assert bool(said["check"]["why"]) == (code != OK)


def test_the_slowest_partition_counts() -> None:
    """All partitions take in heartbeats; up to the newest of them they can be compared."""
    slow = replace(AT, seq=80, ts=s_ago(9), upto=s_ago(9))
    said = of(sink=replace(SINK, positions=[AT, slow]), stream=replace(STREAM, last_seq=120))

    assert (said["sink"]["pending_messages"], said["sink"]["behind_s"]) == (20, 9.0)


@pytest.mark.parametrize("seen", [
    SEEN,
    replace(SEEN, source="x" * 300, stream="y" * 300, sink="z" * 300),
    replace(SEEN, sink=replace(
        SINK, counts={f"shop.{'long' * 20}:{op}": 10**12 for op in ("insert", "update")},
        error={"ts": s_ago(3), "role": "sink", "exit_code": 65, "seen": "w " * 200, "fix": "r"},
    )),
    replace(SEEN, source=replace(SOURCE, gtid_set=",".join([f"{U}:1-9"] * 9))),
])  # fmt: skip
def test_the_text_fits(seen: Seen) -> None:
    """100 columns, whatever stands in it; a line for whoever greps, one for a monitor."""
    said = {"pipeline": "default"} | report(seen, Limits())

    assert max(map(len, text(said).splitlines())) <= WIDTH
    assert "\n" not in line(said) + check_line(said)
    assert check_line(said).startswith("CDC ")
