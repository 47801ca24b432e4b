"""`cdc purge`: keys of a table that is no longer captured, or of an older template, go."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support import commands
from tests.support.bench import Bench
from tests.support.pipeline import wait_for

OLD = """
[tables."shop.users"]
key = "old:{id}"
index = [{set = "all:{ver}"}]
[tables."shop.marks"]
"""
NEW = """
[tables."shop.users"]
[tables."shop.marks"]
"""


@pytest.fixture
def bench(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Bench:
    """A table of 99 rows with an older template, and an application's keys beside it."""
    made = Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)
    made.pipeline.environment.pop("CDC_TABLES")
    made.pipeline.environment["CDC_CONFIG"] = str(tmp_path / "cdc.toml")
    made.client.rpush("old:list", "of an application")
    made.client.set("older:1", "of an application")
    return made


def purge(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cdc purge --table shop.users …` as a person would."""
    return commands.cdc(bench.pipeline.environment, "purge", "--table", "shop.users", *arguments)


def keys(bench: Bench, pattern: str) -> int:
    """Return how many keys there are."""
    return len(bench.client.keys(pattern))


def test_keys_of_an_older_template_and_of_a_removed_table_go(bench: Bench) -> None:
    """Those alone that the template made; what is followed and written now is not touched."""
    config = bench.folder / "cdc.toml"
    config.write_text(OLD)
    with bench.pipeline as pipeline:
        process = pipeline.run("--adopt")
        bench.passes()
        wait_for("the rows", lambda: keys(bench, "old:*") == 99 + 1)
        assert keys(bench, "all:*") == 1
        assert process.stop() == 0
        config.write_text(NEW)
        process = pipeline.run()
        bench.passes()
        bench.execute("UPDATE users SET ver = ver + 1")
        wait_for("the newer keys", lambda: keys(bench, "users:*") == 99)

        counted = purge(bench, "--key", "old:{id}", "--dry-run", "--json")
        assert json.loads(counted.stdout) == {
            "templates": [{"table": "shop.users", "template": "old:{id}", "keys": 99}],
            "removed": 0,
            "dry_run": True,
        }
        unasked = purge(bench, "--key", "old:{id}")
        assert (unasked.returncode, keys(bench, "old:*")) == (2, 100)
        assert "99 keys, such as 'old:" in unasked.stderr
        current = purge(bench, "--key", "{table}:{pk}", "--yes")
        assert (current.returncode, keys(bench, "users:*")) == (2, 99)
        bare = purge(bench, "--key", "{id}", "--yes")
        assert bare.returncode == 2
        assert "begins with a column" in bare.stderr

        done = purge(bench, "--key", "old:{id}", "--yes")
        assert (done.returncode, done.stdout) == (0, "99 keys removed\n"), done.stderr
        assert (bench.client.lrange("old:list", 0, -1), keys(bench, "old*")) == (
            [b"of an application"], 2,
        )  # fmt: skip
        running = purge(bench, "--yes")
        assert (running.returncode, keys(bench, "users:*")) == (3, 99)
        assert "a cdc run writes shop.users now" in running.stderr
        bench.passes("a change beside it")
        assert process.stop() == 0, process.text()

        bench.client.sadd("users:set", "of an application")
        gone = purge(bench, "--yes", "--json")
        assert json.loads(gone.stdout)["removed"] == 99, gone.stderr
        assert (keys(bench, "users:*"), keys(bench, "marks:*")) == (1, 1)
        assert bench.position() is not None


@pytest.mark.parametrize("partitions", ["1", "3"])
def test_a_refresh_removes_keys_of_an_older_form(bench: Bench, partitions: str) -> None:
    """Of an older template and of an index that was taken out, whenever they were written."""
    config = bench.folder / "cdc.toml"
    bench.client.delete("old:list")
    bench.pipeline.environment["CDC_PARTITIONS"] = partitions
    config.write_text(OLD)
    with bench.pipeline as pipeline:
        process = pipeline.run("--adopt")
        wait_for("the rows", lambda: keys(bench, "old:*") == 99)
        assert process.stop() == 0
        config.write_text(
            NEW.replace('[tables."shop.users"]', "[tables.\"shop.users\"]\nkey='mid:{id}'")
        )
        process = pipeline.run()
        bench.execute("UPDATE users SET ver = ver + 1")
        wait_for("other keys", lambda: keys(bench, "mid:*") == 99)
        assert process.stop() == 0
        config.write_text(NEW)
        process = pipeline.run()
        bench.passes()
        assert (keys(bench, "old:*"), keys(bench, "mid:*"), keys(bench, "all:*")) == (99, 99, 1)
        done = commands.cdc(pipeline.environment, "refresh", "--only", "users", "--yes")
        assert done.returncode == 0, done.stderr
        wait_for("older keys to go", lambda: not keys(bench, "old:*") + keys(bench, "mid:*"))
        wait_for("the index to go", lambda: not keys(bench, "all:*"))
        wait_for("the rows again", lambda: keys(bench, "users:*") == 99)
        assert keys(bench, "older:*") == 1
        bench.passes("a change behind it")
        assert process.stop() == 0, process.text()
        kept = [
            value
            for key in bench.client.keys("cdc:default:templates*")
            if (value := bench.client.hget(key, "shop.users"))
        ]
        assert set(kept) == {b'[[null,"{table}:{pk}"]]'}, kept
