"""What every sink has applied leaves the stream, and nothing else does."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from functools import partial
from typing import Any

import redis

from tests.support.bench import TABLE, Bench
from tests.support.checking import ask_nats
from tests.support.pipeline import Process, wait_for

LIMIT_BYTES = 500_000
POSITION_LOST = 65
CHANGED = f"UPDATE {TABLE} SET ver = ver + 1"


def state(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = ask_nats(bench.nats, "STREAM.INFO.MYSQL")["state"]
    return found


def status(bench: Bench) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "cdc", "status", "--json"],
        env=os.environ | bench.pipeline.environment,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def cdc(bench: Bench, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cdc", *words],
        env=os.environ | bench.pipeline.environment,
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def limited(bench: Bench) -> None:
    bench.pipeline.environment["CDC_STREAM_MAX_BYTES"] = str(LIMIT_BYTES)


def other_sink(bench: Bench) -> tuple[Process, redis.Redis]:
    """Return a second pipeline on the same stream, with a Redis database of its own."""
    url = bench.pipeline.environment["CDC_REDIS_URL"]
    process = bench.pipeline.process(
        "--role", "sink", "--pipeline", "other", "--redis", url.removesuffix("/0") + "/1",
        name="other",
    )  # fmt: skip
    return process.start(), redis.Redis(port=bench.redis.port, db=1)


def are_same(bench: Bench, other: redis.Redis) -> bool:
    keys = [f"users:{n}" for n in range(1, 100)]
    return bool(bench.client.mget(keys) == other.mget(keys))


def test_a_small_stream_takes_many_times_its_size(bench: Bench) -> None:
    """Through kills at any moment, the one between a purge and what follows among them."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    limited(bench)
    with bench.pipeline:
        process = bench.caught_up()
        for turn in range(240):
            bench.execute(CHANGED)
            if turn % 60 == 30:
                process.kill_after(chosen.random())
        bench.wait_until_equal()
        found = state(bench)
        assert found["bytes"] <= LIMIT_BYTES
        assert found["bytes"] / found["messages"] * found["last_seq"] > 10 * LIMIT_BYTES
        assert process.stop() == 0
        # A restart finds all that it needs.
        process = bench.caught_up()
        assert '"level":"error"' not in process.text()
        assert process.stop() == 0


def test_a_sink_that_is_away_holds_what_it_needs(bench: Bench) -> None:
    """The reader waits and says for whom; nothing is lost when that sink comes back."""
    limited(bench)
    with bench.pipeline:
        process = bench.caught_up()
        other, there = other_sink(bench)
        wait_for("the other pipeline", lambda: are_same(bench, there))
        other.kill()

        def is_full() -> bool:
            bench.execute(CHANGED)
            return "the stream is full" in process.text()

        wait_for("a full stream", is_full)
        assert "pipeline other has not applied" in process.text()
        said = status(bench)
        assert (said["state"], said["stream"]["full"]) == ("stopped", True)
        assert said["stream"]["limit_bytes"] == LIMIT_BYTES
        assert "for other:" in said["why"]
        assert said["stream"]["held_by"][0]["consumer"] == "cdc-at-other-0"

        other, there = other_sink(bench)
        bench.wait_until_equal()
        wait_for("the other pipeline", lambda: are_same(bench, there))
        for _ in range(16):
            bench.execute(CHANGED)
        bench.wait_until_equal()
        wait_for("the other pipeline", lambda: are_same(bench, there))
        assert other.stop() == 0

        # It is gone for good: its place is removed, and it notices when it comes back.
        assert ask_nats(bench.nats, "CONSUMER.DELETE.MYSQL.cdc-at-other-0")["success"]
        assert process.stop() == 0
        process = bench.caught_up()
        for _ in range(16):
            bench.execute(CHANGED)
        bench.wait_until_equal()
        other, _ = other_sink(bench)
        assert other.wait() == POSITION_LOST
        assert process.stop() == 0


def test_idle_heartbeats_leave_the_stream(bench: Bench) -> None:
    """After the time to keep; restart, refresh and verify find what they need."""
    bench.pipeline.environment |= {
        "CDC_STREAM_KEEP_S": "1",
        "CDC_HEARTBEAT_IDLE_S": "0.1",
        "CDC_STREAM_MAX_BYTES": "100000000",
    }
    with bench.pipeline:
        process = bench.caught_up()
        before = state(bench)["last_seq"]
        wait_for("what is old to leave", lambda: state(bench)["first_seq"] > before)
        assert state(bench)["messages"] < 200
        cdc(bench, "verify", "--json")
        cdc(bench, "refresh", "--yes")
        bench.wait_until_equal()
        wait_for("the end to be read", lambda: "reading the stream's end again" in process.text())
        assert "waiting for a server" not in process.text()
        assert process.stop() == 0
        process = bench.caught_up()
        seq = state(bench)["first_seq"]
        wait_for("more to leave", partial(lambda seq: state(bench)["first_seq"] > seq, seq))
        assert process.stop() == 0
