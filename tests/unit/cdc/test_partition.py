"""Partitions: a function of the key, subjects, and a number that stays."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import StreamError, UsageError
from cdc.message import Heartbeat, decode_heartbeat, encode
from cdc.partition import (
    check_partitions,
    filters,
    is_row_subject,
    partition_of,
    row_subject,
    row_subjects,
)
from cdc.process.supervisor import jobs
from cdc.settings import load


def heartbeat(partitions: int = 1, last_of: tuple[str, ...] = ()) -> Heartbeat:
    return Heartbeat(
        epoch=1, server="u", file="b.000002", offset=4, gtid_set=None, last="1.2.900.0",
        partitions=partitions, last_of=last_of, snapshot={}, ts=0,
    )  # fmt: skip


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 64))
def test_every_key_has_one_partition(key: str, partitions: int) -> None:
    """A number from 0 to N-1, the same every time."""
    assert partition_of(key, partitions) in range(partitions)
    assert partition_of(key, partitions) == partition_of(key, partitions)


def test_the_function_is_that_of_the_contract() -> None:
    """CRC-32 of zip and gzip over the UTF-8 of the key; another process counts the same."""
    known = {"users:42": 0x1BBC1F5B, "123456789": 0xCBF43926, "größe:7": 0x5CFB3B2B}
    program = f"import zlib; print({{k: zlib.crc32(k.encode()) for k in {list(known)!r}}})"
    out = subprocess.check_output([sys.executable, "-c", program], text=True)

    assert {k: partition_of(k, 1 << 32) for k in known} == eval(out)
    assert partition_of("123456789", 1 << 32) == known["123456789"]


def test_keys_spread_evenly() -> None:
    """10,000 keys of a table, 4 partitions: none has a tenth more than another."""
    counts = [0] * 4
    for n in range(10_000):
        counts[partition_of(f"users:{n}", 4)] += 1

    assert max(counts) < 1.1 * min(counts)


def test_one_partition_has_the_plain_subjects() -> None:
    """And consumes the whole stream."""
    assert [s for _, s in row_subjects("mysql", 1)] == [
        "mysql.insert",
        "mysql.update",
        "mysql.delete",
        "mysql.snapshot",
        "mysql.part",
    ]
    assert filters("mysql", 0, 1) == ()


def test_several_have_their_number_in_the_subject() -> None:
    """Each sees its own rows, what is for all, and what applications publish."""
    assert row_subject("a.b", "delete", 3, 4) == "a.b.delete.3"
    for_all = tuple(f"a.b.{op}" for op in ("update", "schema", "heartbeat", "refresh"))
    assert filters("a.b", 3, 4) == ("a.b.*.3", *for_all)


@pytest.mark.parametrize(
    ("subject", "held"),
    [
        ("mysql.update", True),
        ("mysql.update.0", True),
        ("mysql.update.63", True),
        ("mysql.update.", False),
        ("mysql.update.x", False),
        ("mysql.update.1.2", False),
        ("mysql.updates", False),
        ("mysql.insert.1", False),
    ],
)
def test_a_subject_of_rows_is_known(subject: str, held: bool) -> None:
    """With and without a partition."""
    assert is_row_subject("mysql", "update", subject) is held


def test_another_number_is_refused() -> None:
    """A new stream takes any; one that has a heartbeat keeps its own."""
    check_partitions(None, 4, "MYSQL")
    check_partitions(heartbeat(4, ("",) * 4), 4, "MYSQL")
    for found, wanted in ((heartbeat(), 4), (heartbeat(4, ("",) * 4), 1)):
        with pytest.raises(StreamError) as caught:
            check_partitions(found, wanted, "MYSQL")
        assert f"--partitions {found.partitions}" in caught.value.fix


def test_a_heartbeat_says_the_number_and_each_end() -> None:
    """With one partition nothing is added to it."""
    several = heartbeat(2, ("1.2.900.0", ""))

    assert b"partitions" not in encode(heartbeat())
    assert b"last_of" not in encode(heartbeat())
    assert b'"last":"1.2.900.0","partitions":2,"last_of":["1.2.900.0",""]' in encode(several)
    assert decode_heartbeat(encode(several)) == several
    assert decode_heartbeat(encode(heartbeat())) == heartbeat()


def test_no_more_sinks_than_partitions() -> None:
    """The rest would have nothing to do."""
    assert load({"sinks": "4", "partitions": "4"}, {}).sinks == 4
    with pytest.raises(UsageError, match="at most partitions"):
        load({"sinks": "2"}, {})


def test_each_sink_is_a_process_with_a_name() -> None:
    """One reader, as many sinks as asked for; a single one is called as ever."""
    several = jobs(load({"sinks": "3", "partitions": "4"}, {}))

    assert [(job.role, job.name) for job in several] == [
        ("reader", "reader"),
        ("sink", "sink-0"),
        ("sink", "sink-1"),
        ("sink", "sink-2"),
    ]
    assert [job.name for job in jobs(load({}, {}))] == ["reader", "sink"]
