"""`cdc verify` on tables of every model: parts of keys, masks, caches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.support.models import Models

EQUAL, DIFFERENT = 0, 1


def verify(models: Models, *arguments: str, code: int) -> dict[str, str]:
    """Run `cdc verify`; return the kind of each difference by its place in words."""
    done = subprocess.run(
        [sys.executable, "-m", "cdc", "verify", "--json", *models.flags, *arguments],
        env=os.environ | models.pipeline.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    print(done.stderr)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    tables: list[dict[str, Any]] = json.loads(done.stdout)["tables"]
    assert [table["table"] for table in tables if not table["orphans_checked"]] == []
    return {one["key"]: one["kind"] for table in tables for one in table["differences"]}


def test_nothing_is_reported_while_rows_move(models: Models) -> None:
    """Between parents, indexes and keys; all that differs is on its way."""
    with models.pipeline as pipeline:
        process = pipeline.run(*models.flags)
        models.moved()
        churn = models.churn()
        for _ in range(2):
            assert verify(models, code=EQUAL) == {}
        assert churn.stop() > 0
        models.wait_until_equal()
        assert verify(models, code=EQUAL) == {}
        assert process.stop() == 0, process.text()


def test_each_wrong_part_is_found_and_repaired(models: Models) -> None:
    """Fields, members and scores that were changed, removed or added by hand."""
    client: Any = models.client
    member = "900" if models.partitions == 1 else "orders:900"
    with models.pipeline as pipeline:
        process = pipeline.run(*models.flags)
        models.execute(
            "INSERT INTO orders VALUES (901, 1, 'x@y', NULL, 'note', 5, '2026-01-01 00:00:00', 0)",
            "INSERT INTO order_lines VALUES (8, 1, 'ink', 0), (8, 2, 'nib', 0)",
        )
        models.wait_until_equal()
        client.hset("order:8:lines", "1", "other")
        client.hdel("order:8:lines", "2")
        client.hset("order:8:lines", "77", "of no row")
        client.hset("order:9:lines", "2", "of a row without a value")
        client.srem("orders:of:1", "orders:901")
        client.sadd("orders:of:1", "orders:5000")
        client.sadd("orders:of:5", "orders:900")
        client.zadd("orders:dear", {"orders:901": 6})
        client.zadd("orders:by_user:1", {member: 1})
        client.set("orders:900", "wrong")
        client.delete("visits:900")
        found = verify(models, code=DIFFERENT)
        assert found == {
            "field 1 of order:8:lines": "stale",
            "field 2 of order:8:lines": "missing",
            "field 77 of order:8:lines": "orphan",
            "field 2 of order:9:lines": "stale",
            "orders:901 in the set orders:of:1": "missing",
            "orders:5000 in the set orders:of:1": "orphan",
            "orders:900 in the set orders:of:5": "orphan",
            "orders:901 in the zset orders:dear": "stale",
            f"{member} in the zset orders:by_user:1": "orphan",
            "orders:900": "stale",
        }
        verify(models, "--repair", code=EQUAL)
        models.execute("UPDATE visits SET ver = 1")  # nobody brings what went of a cache
        models.wait_until_equal()
        client.hset("visits:900", "page", "wrong")
        assert verify(models, code=DIFFERENT) == {"visits:900": "stale"}
        assert process.stop() == 0, process.text()
