"""SIGHUP takes the settings again: new tables and templates, without an end."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bench import MARKS, TABLE, Bench
from tests.support.ordeal import ordeal
from tests.support.pipeline import Process, descendants, wait_for
from tests.support.tally import TALLY, seeded


class Configured:
    """A pipeline whose tables are in a settings file."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        """Make a table beside, which is not captured yet."""
        self.bench, self.path = bench, folder / "cdc.toml"
        bench.execute(
            "CREATE TABLE orders (id INT PRIMARY KEY, total INT)",
            "INSERT INTO orders VALUES (1, 10), (2, 20)",
        )
        self.write(TABLE, MARKS)
        del bench.pipeline.environment["CDC_TABLES"]
        bench.pipeline.environment["CDC_CONFIG"] = str(self.path)

    def write(self, *tables: str, more: str = "") -> None:
        """Write the settings file."""
        sections = [f'[tables."{table}"]' for table in tables]
        self.path.write_text("\n".join([*sections, more]))

    def reload(self, *processes: Process) -> None:
        """Send SIGHUP."""
        for process in processes:
            process.process.send_signal(signal.SIGHUP)


@pytest.fixture
def configured(bench: Bench, tmp_path: Path) -> Iterator[Configured]:
    """On MySQL; whoever runs the tests may ignore SIGHUP, which would be inherited."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield Configured(bench, tmp_path)
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("roles", [(), ("sink", "reader")], ids=["one process", "two"])
def test_a_new_table_and_a_template_are_taken_while_others_flow(
    configured: Configured, roles: tuple[str, ...]
) -> None:
    """The rows of the new table are read; those of the others are neither lost nor repeated."""
    bench, chance = configured.bench, seeded()
    with bench.pipeline as pipeline:
        processes = [pipeline.process("--role", one, name=one).start() for one in roles]
        processes = processes or [pipeline.run()]
        bench.wait_for_progress()
        with ordeal(bench, chance, *processes, pause_s=0.02):
            model = 'key = "order:{id}"\nvalue = "total"'
            configured.write(TABLE, MARKS, "shop.orders", more=model)
            configured.reload(*processes)
            wait_for("the new rows", lambda: bench.client.get("order:2") == b"20")
            bench.passes("another table")
        assert all("settings reloaded: restarting" in one.text() for one in processes)


@pytest.mark.parametrize("nats", ["", "embedded"])
def test_others_pause_for_a_moment_alone(configured: Configured, nats: str) -> None:
    """The next roles are ready before the last ones drain; also with a number that is ours."""
    bench = configured.bench
    bench.pipeline.environment["CDC_SERVER_ID"] = "4711"
    if nats:
        bench.pipeline.environment["CDC_NATS_URL"] = f"embedded:{configured.path.parent}/nats"
    with bench.pipeline as pipeline:
        process = pipeline.run()
        wait_for("the rows", lambda: bool(bench.client.exists("users:1")))
        bench.passes()
        children = descendants(process.process.pid)
        configured.write(TABLE, MARKS, "shop.orders")
        configured.reload(process)
        passed_s = []
        while not bench.client.exists("orders:2"):
            passed_s.append(bench.passes())
        TALLY.recovered("a reload", max(passed_s))
        bench.passes()
        kept = set(children) & set(descendants(process.process.pid))
        assert len(kept) == bool(nats), "the embedded nats-server alone runs on"
        assert process.stop() == 0, process.text()


def test_a_signal_to_stop_while_the_next_roles_begin(configured: Configured) -> None:
    """It drains what runs, and nothing is left."""
    bench, chance = configured.bench, seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.passes()
        configured.write(TABLE, MARKS, "shop.orders")
        configured.reload(process)
        time.sleep(chance.random())  # at any moment of it
        assert process.stop() == 0, process.text()
        assert descendants(process.process.pid) == []
        pipeline.run()
        bench.wait_until_equal()


def test_a_second_signal_while_the_roles_drain_is_not_lost(configured: Configured) -> None:
    """The settings of then are taken as well; and where a server is away, once it is back."""
    bench = configured.bench
    bench.execute("CREATE TABLE late (id INT PRIMARY KEY)", "INSERT INTO late VALUES (7)")
    bench.execute("CREATE TABLE later (id INT PRIMARY KEY)", "INSERT INTO later VALUES (8)")
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        configured.write(TABLE, MARKS, "shop.orders")
        configured.reload(process)
        wait_for("the first", lambda: "settings reloaded: restarting" in process.text())
        configured.write(TABLE, MARKS, "shop.orders", "shop.late")
        configured.reload(process)
        wait_for("the second", lambda: bool(bench.client.exists("late:7")))
        bench.nats.stop()
        configured.write(TABLE, MARKS, "shop.orders", "shop.late", "shop.later")
        configured.reload(process)
        wait_for("the refusal", lambda: "settings not reloaded" in process.text())
        bench.nats.start()
        wait_for("the third", lambda: bool(bench.client.exists("later:8")))
        assert process.stop() == 0


def test_settings_that_a_start_would_refuse_change_nothing(configured: Configured) -> None:
    """A mistake in the file, a table that does not exist, and a file that is as before."""
    bench = configured.bench
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        configured.write(TABLE, MARKS, "shop.never")
        configured.reload(process)
        wait_for("the refusal", lambda: process.text().count("settings not reloaded") == 1)
        configured.write(TABLE, MARKS, more="key = order:{id}")
        configured.reload(process)
        wait_for("the other", lambda: process.text().count("settings not reloaded") == 2)
        configured.path.write_text(f'pipeline = "other"\n[tables."{TABLE}"]')
        configured.reload(process)
        wait_for("another", lambda: process.text().count("settings not reloaded") == 3)
        configured.write(TABLE, MARKS)
        configured.reload(process)
        wait_for("the same", lambda: "settings unchanged" in process.text())
        bench.passes("a change")
        assert "shop.never" in process.text()
        assert "restarting" not in process.text()
        assert process.stop() == 0
