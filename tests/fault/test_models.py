"""Parents' hashes, indexes, masks and caches end as MySQL says, whatever dies."""

from __future__ import annotations

from tests.support.depth import by_depth
from tests.support.models import Models
from tests.support.pipeline import wait_for
from tests.support.tally import seeded

KILLS = by_depth(2, full=6)


def test_churn_under_kills_of_both_sides(models: Models) -> None:
    """Rows move between parents and indexes, keys change; Redis ends as MySQL is."""
    chance = seeded()
    models.pipeline.environment["CDC_SNAPSHOT_CHUNK_ROWS"] = "7"
    models.pipeline.environment["CDC_FLUSH_MAX_MESSAGES"] = "50"
    with models.pipeline:
        roles = {name: models.role(name) for name in ("reader", "sink")}
        models.moved()
        churn = models.churn()
        for number in range(KILLS):
            victim = roles[("reader", "sink")[number % 2]]
            victim.kill_after(chance.uniform(0.1, 1))
            models.moved()
        assert churn.stop() > 50
        models.wait_until_equal()
        for process in roles.values():
            assert process.stop() == 0, process.text()
    models.wait_until_equal()
    models.assert_nothing_leaked()


def test_a_refresh_removes_what_is_no_row_and_no_entry(models: Models) -> None:
    """Rows that went and moved unseen: their fields and members go, and nothing else."""
    with models.pipeline as pipeline:
        process = pipeline.run(*models.flags)
        models.moved()
        models.execute(
            "INSERT INTO orders SELECT 901, 2, 'x@y', NULL, NULL, 5, '2026-01-01', 0",
            "INSERT INTO order_lines VALUES (8, 1, 'ink', 0), (8, 2, 'nib', 0)",
        )
        models.wait_until_equal()
        assert process.stop() == 0
        models.execute(
            "SET sql_log_bin = 0",
            "DELETE FROM orders WHERE id = 901",
            "UPDATE orders SET user_id = 3 WHERE id = 900",
            "UPDATE order_lines SET order_id = 7 WHERE order_id = 8 AND no = 2",
            "DELETE FROM visits",
        )
        client = models.client
        client.sadd("orders:of:77", "of nobody")
        client.set("order:71:lines", "of another kind")
        client.hset("order:70:lines", "1", "of no row")
        said = pipeline.refresh(*models.flags)
        assert said["gap"] is True
        process = pipeline.run(*models.flags)
        churn = models.churn()
        wait_for("the sweeps", lambda: process.text().count('"refreshed"') == 3 * models.partitions)
        churn.stop()
        models.wait_until_equal()
        assert not client.keys("cdc:*:refresh:*")
        assert process.stop() == 0, process.text()


def test_a_key_of_another_kind_stops_the_sink_before_anything_is_written(models: Models) -> None:
    """Somebody made a text of an index: exit 3, names it; removed and refreshed, all is right."""
    with models.pipeline as pipeline:
        process = pipeline.run(*models.flags)
        models.wait_until_equal()
        models.client.delete("orders:of:1")
        models.client.set("orders:of:1", "mine")
        models.execute("INSERT INTO orders SELECT 902, 1, NULL, NULL, NULL, NULL, NULL, 0")
        assert process.wait() == 3, process.text()
        assert "'orders:of:1' is a string, and cdc keeps a set there" in process.text()
        assert models.client.get("orders:902") is None
        models.client.delete("orders:of:1")
        pipeline.refresh(*models.flags, "--only", "shop.orders")
        process = pipeline.run(*models.flags)
        models.wait_until_equal()
        assert process.stop() == 0, process.text()
