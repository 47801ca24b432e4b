"""`cdc verify`: finds all that is wrong, and nothing that is on its way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.bench import ROWS, TABLE, Bench
from tests.support.depth import by_depth, variants
from tests.support.pipeline import Process, wait_for
from tests.support.writer import Writer

STEADY = range(1000, 4000)
"""Ids of rows that no writer writes to."""
UNDER_LOAD = STEADY[: by_depth(500, full=3000)]
"""Of these, rows that are compared while others are written at full speed."""
CORRUPTED = 1000
EQUAL, DIFFERENT, NOT_STARTED, UNAVAILABLE, INTERRUPTED = 0, 1, 3, 69, 130
KINDS = ("missing", "stale", "orphan", "wrong_type")


def seeded() -> random.Random:
    """Return chances of a seed that is printed."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


def fill(bench: Bench, ids: Sequence[int]) -> None:
    """Insert rows."""
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        rows = [(i, f'näme {i} "x"\\ 日本', "17.50" if i % 3 else None, 0) for i in ids]
        for at in range(0, len(rows), 5000):
            sql = f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)"
            cursor.executemany(sql, rows[at : at + 5000])
        connection.commit()


@contextmanager
def following(bench: Bench, *flags: str) -> Iterator[Process]:
    """Run the pipeline until Redis has all rows."""
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {TABLE}")
        ((rows,),) = cursor.fetchall()
    with bench.pipeline as pipeline:
        process = pipeline.run(*flags)
        wait_for("all rows", lambda: len(bench.client.keys("users:*")) == rows)
        yield process


def start(bench: Bench, *arguments: str) -> subprocess.Popen[str]:
    """Start `cdc verify`."""
    return subprocess.Popen(
        [sys.executable, "-m", "cdc", "verify", "--only", "users", "--json", *arguments],
        env=os.environ | bench.pipeline.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def verify(bench: Bench, *arguments: str, code: int) -> dict[str, Any]:
    """Run `cdc verify` on one table; return what it says of it, or its error."""
    with start(bench, *arguments) as process:
        out, err = process.communicate(timeout=100)
    print(err)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    if code not in (EQUAL, DIFFERENT):
        return {"error": err}
    said: dict[str, Any] = json.loads(out)
    (table,) = said["tables"]
    assert said["equal"] is table["equal"] is (code == EQUAL)
    found: dict[str, Any] = table
    return found


def corrupt(bench: Bench, chance: random.Random, *, hashed: bool) -> dict[str, str]:
    """Change, delete, add and retype keys by hand; return kind by key."""
    ids = chance.sample(STEADY, CORRUPTED * 3 // 4)
    wrong: dict[str, str] = {}
    for number in range(CORRUPTED):
        kind = KINDS[number % 4]
        key = f"users:{ids.pop()}" if kind != "orphan" else f"users:{100_000 + number}"
        wrong[key] = kind
        if kind in ("missing", "wrong_type"):
            bench.client.delete(key)
        if kind == "wrong_type":
            bench.client.rpush(key, "a list")
        elif kind == "orphan":
            bench.client.set(key, "{}")
        elif kind == "stale" and hashed:
            field = chance.choice(("name", "ver", "more"))
            bench.client.hset(key, field, "wrong")
        elif kind == "stale":
            value: Any = bench.client.get(key)
            bench.client.set(key, value.replace(b'"ver":0', b'"ver":7'))
    return wrong


def found_by(said: dict[str, Any]) -> dict[str, str]:
    """Return kind by key of what was found."""
    return {one["key"]: one["kind"] for one in said["differences"]}


def all_are_found_and_repaired(bench: Bench, *flags: str) -> None:
    """Corrupt, find each key, repair, find none."""
    fill(bench, STEADY)
    with following(bench, *flags) as process:
        assert verify(bench, *flags, code=EQUAL)["rows"] == len(STEADY) + ROWS // 2 - 1
        wrong = corrupt(bench, seeded(), hashed="hash" in flags)
        said = verify(bench, *flags, code=DIFFERENT)
        assert found_by(said) == wrong
        assert [said[kind] for kind in KINDS] == [CORRUPTED // 4] * 4
        assert said["unsettled"] == 0
        said = verify(bench, "--repair", *flags, code=EQUAL)
        assert said["repaired"] is True
        assert found_by(said) == wrong
        assert found_by(verify(bench, *flags, code=EQUAL)) == {}
        assert process.stop() == 0, process.text()
    stored: Any = bench.client.hgetall("cdc:default:verify:shop.users")
    assert {kind: int(stored[kind.encode()]) for kind in KINDS} == dict.fromkeys(KINDS, 0)
    assert int(stored[b"rows"]) == len(STEADY) + ROWS // 2 - 1


def test_all_of_1000_corruptions_are_found_and_repaired(source: Bench) -> None:
    """Changed, deleted, added, retyped: each is named, fixed by the stream, and none is left."""
    all_are_found_and_repaired(source)
    source.wait_until_equal()


@pytest.mark.parametrize("flags", [("--as", "hash"), ("--as", "hash", "--partitions", "3")])
def test_hashes_and_partitions_too(bench: Bench, flags: tuple[str, ...]) -> None:
    """Hashes, and keys that several sinks' positions stand for."""
    all_are_found_and_repaired(bench, *flags)


@contextmanager
def flipping(bench: Bench) -> Iterator[None]:
    """Let one row go to and fro between two states without a pause."""
    stop = threading.Event()

    def flip() -> None:
        with bench.mysql.connect() as connection, connection.cursor() as cursor:
            while not stop.is_set():
                for version in (1, 0):  # ends as it began: the writer knows all rows
                    cursor.execute(f"UPDATE {TABLE} SET ver = {version} WHERE id = {STEADY[0]}")
                    connection.commit()

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


@pytest.mark.parametrize(("chunk_rows", "partitions"), variants(("7", "5000"), ("1", "3")))
def test_nothing_is_reported_that_is_on_its_way(
    bench: Bench, chunk_rows: str, partitions: str
) -> None:
    """Inserts, updates, deletes and key changes at full speed, and a row that goes to and fro."""
    never_a_false_word(bench, "--snapshot-chunk-rows", chunk_rows, "--partitions", partitions)


def test_nothing_is_reported_on_any_source(source: Bench) -> None:
    """The same on MySQL with and without GTIDs, and MariaDB."""
    never_a_false_word(source, "--snapshot-chunk-rows", "50")


def never_a_false_word(bench: Bench, *flags: str) -> None:
    """Verify under load: first all is right, then what is wrong is found, and nothing else."""
    chance = seeded()
    fill(bench, UNDER_LOAD)
    with following(bench, *flags) as process:
        writer = Writer(bench.mysql.connect, TABLE, seed=chance.randrange(1 << 32), rows=ROWS)
        try:
            with flipping(bench):
                writer.wait_for_commits(20)
                for _ in range(2):
                    assert found_by(verify(bench, *flags, code=EQUAL)) == {}
                wrong: dict[str, str] = {
                    f"users:{chance.choice(UNDER_LOAD[1:])}": "stale",
                    "users:99999": "orphan",
                }
                for key in wrong:
                    bench.client.set(key, "wrong")
                assert found_by(verify(bench, *flags, code=DIFFERENT)) == wrong
                assert verify(bench, "--repair", *flags, code=EQUAL)["repaired"] is True
        finally:
            writer.end()
        writer.stop()
        bench.wait_until_equal()
        assert verify(bench, *flags, code=EQUAL)["unsettled"] == 0
        assert process.stop() == 0, process.text()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_verify_goes_on_where_it_was(bench: Bench, how: signal.Signals) -> None:
    """Killed in the middle: the next one reads the rest, and knows what the first one found."""
    fill(bench, STEADY)
    slowly = ("--verify-rows-per-s", "400", "--snapshot-chunk-rows", "50")
    with following(bench) as process:
        early, late = f"users:{STEADY[5]}", f"users:{STEADY[-5]}"
        bench.client.set(early, "wrong")
        bench.client.delete(late)
        with start(bench, *slowly) as first:

            def found_one() -> bool:
                progress: Any = bench.client.hgetall("cdc:default:verify:shop.users:progress")
                assert first.poll() is None, first.communicate()
                return bool(progress) and int(progress[b"stale"]) == 1

            wait_for("the first one found", found_one)
            first.send_signal(how)
            first.communicate(timeout=20)
        assert first.returncode == (INTERRUPTED if how == signal.SIGINT else -how)
        said = verify(bench, code=DIFFERENT)
        assert said["resumed"] is True
        assert said["rows"] == len(STEADY) + ROWS // 2 - 1
        assert found_by(said) == {early: "stale", late: "missing"}
        assert not bench.client.exists("cdc:default:verify:shop.users:progress")
        assert verify(bench, code=DIFFERENT)["resumed"] is False
        assert process.stop() == 0, process.text()


def test_a_sample_is_a_part_that_its_number_chooses(bench: Bench) -> None:
    """The same part for the same seed; what is wrong in it is found."""
    fill(bench, STEADY)
    flags = ("--snapshot-chunk-rows", "20", "--sample", "30", "--seed")
    with following(bench) as process:
        for number in STEADY:
            bench.client.set(f"users:{number}", "wrong")
        first = verify(bench, *flags, "5", code=DIFFERENT)
        again = verify(bench, *flags, "5", code=DIFFERENT)
        other = verify(bench, *flags, "6", code=DIFFERENT)
        assert 300 < first["rows"] < 2000
        assert found_by(first) == found_by(again) != found_by(other)
        assert first["stale"] >= first["rows"] - ROWS
        assert process.stop() == 0, process.text()


def test_a_sink_that_stands_still_is_said(bench: Bench) -> None:
    """What may be on its way is not reported: the command says who does not move, and why."""
    with following(bench) as process:
        assert process.stop() == 0
        with bench.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"UPDATE {TABLE} SET ver = ver + 1")
            connection.commit()
        said = verify(bench, "--wait", "2", code=UNAVAILABLE)
        assert "reader has not published" in said["error"]
        reader = bench.pipeline.run("--role", "reader")
        wait_for("the reader", lambda: '"streaming"' in reader.text())
        said = verify(bench, "--wait", "12", code=UNAVAILABLE)
        assert "sink has not applied" in said["error"]
        assert "reader has not published" not in said["error"]
        assert reader.stop() == 0
        bench.pipeline.run()
        assert verify(bench, code=EQUAL)["stale"] == 0


def test_a_redis_that_is_not_this_pipelines_is_said(bench: Bench) -> None:
    """Another database or pipeline: nothing is compared, the command says what is there."""
    with following(bench) as process:
        said = verify(bench, "--redis", bench.redis.url.removesuffix("/0") + "/5", code=NOT_STARTED)
        assert "has no position of the pipeline 'default'" in said["error"]
        assert "databases with keys are 0" in said["error"]
        said = verify(bench, "--pipeline", "other", code=NOT_STARTED)
        assert "'other'" in said["error"]
        assert process.stop() == 0, process.text()


def test_cdc_run_verifies_from_time_to_time(bench: Bench) -> None:
    """`verify_every_s`: what differs is a warning in the log, and nothing stops."""
    with following(bench, "--verify-every-s", "0.5") as process:
        wait_for("a verify", lambda: '"verified: equal"' in process.text())
        bench.client.set("users:7", "wrong")
        wait_for("the warning", lambda: "verified: Redis differs from MySQL" in process.text())
        assert '"keys":"users:7"' in process.text()
        verify(bench, "--repair", code=EQUAL)
        assert process.stop() == 0, process.text()
