"""What the benchmarks compute and print; no timing is asserted here or anywhere."""

from __future__ import annotations

import os

import msgspec
import pytest

from benchmarks import procfs
from benchmarks.drain import Drain, table_rows, text
from benchmarks.latency import evaluate
from benchmarks.limit import Alone, ceiling
from benchmarks.measurement import Results
from benchmarks.report import figure, number, table, to_json, to_markdown
from benchmarks.scenarios import SCENARIOS, Options, Run
from benchmarks.servers import Servers
from benchmarks.spread import Spread, quantile, ratios
from benchmarks.systems import progress
from benchmarks.workload import DRAINS, Workload

MS = 1_000_000


@pytest.fixture
def results() -> Results:
    """Two systems over two rounds, with one process in detail and a note."""
    found = Results()
    for ours, theirs in ((80_000.0, 20_000.0), (90_000.0, 30_000.0)):
        found.add("drain100", "cdc", "rows/s", ours)
        found.add("drain100", "debezium", "rows/s", theirs)
        found.add("drain100", "cdc", "CPU us/row: cdc reader", 5.5)
    found.note("naive was left out")
    return found


def test_spread_is_the_median_with_the_smallest_and_the_greatest() -> None:
    """The median of an even number of rounds lies between the two in the middle."""
    assert Spread.of([4.0, 1.0, 3.0, 2.0]) == Spread(2.5, 1.0, 4.0, 4)


def test_no_values_have_no_spread_and_no_quantile() -> None:
    """Nothing measured is an error, not a zero."""
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])
    with pytest.raises(ValueError, match="of 0 values"):
        quantile([], 0.5)


@pytest.mark.parametrize(
    ("share", "expected"), [(0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1, 100)]
)
def test_quantile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    """Nearest rank, in whatever order the values came."""
    assert quantile(list(range(100, 0, -1)), share) == expected


def test_ratios_are_of_the_same_round() -> None:
    """Round by round; a round that one side lacks or that gave nothing is left out."""
    assert ratios([10.0, 20.0, 30.0], [5.0, 0.0]) == [2.0]


def test_ratio_of_a_system_that_was_not_measured_is_none(results: Results) -> None:
    """A missing peer gives no figure rather than a wrong one."""
    assert results.ratio("drain100", "rows/s", "naive") is None
    assert results.ratio("drain100", "rows/s", "debezium") == Spread(3.5, 3.0, 4.0, 2)


def test_notes_are_said_once() -> None:
    """A limit that every round meets is one note."""
    found = Results()
    found.note("slow")
    found.note("slow")

    assert found.notes == ["slow"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.2712, "0.271"), (1.005, "1.00"), (12.345, "12.3"), (81_234.5, "81,234")],
)
def test_figures_keep_three_digits_and_all_before_the_point(value: float, expected: str) -> None:
    """No false precision, no lost thousands."""
    assert figure(value) == expected


def test_number_has_a_range_only_where_there_were_several_rounds() -> None:
    """One round has no spread to show."""
    assert number(Spread(5.0, 5.0, 5.0, 1)) == "5.00"
    assert number(Spread(5.0, 4.0, 6.0, 3)) == "5.00 (4.00 to 6.00)"


def test_table_is_markdown() -> None:
    """As many columns in every line as in the head."""
    assert table(["", "a"], [["x", "1"]]) == ["|  | a |", "|---|---|", "| x | 1 |"]


def test_markdown_shows_machine_systems_ratio_processes_and_notes(results: Results) -> None:
    """Everything that a reader needs to judge a figure stands beside it."""
    text = to_markdown({"CPU": "2 x any"}, results)

    assert "- CPU: 2 x any" in text
    assert "### Drain: 100-row transactions, 8 columns" in text
    assert "| cdc | 85,000 (80,000 to 90,000) |  |" in text
    assert "| debezium | 25,000 (20,000 to 30,000) | 3.50 x (3.00 to 4.00) |" in text
    assert "| cdc | cdc reader | 5.50 (5.50 to 5.50) |" in text
    assert text.endswith("### Notes\n\n- naive was left out\n")


def test_json_holds_every_value(results: Results) -> None:
    """The tables can be computed again from the file alone."""
    whole = msgspec.json.decode(to_json({"CPU": "any"}, {"rounds": 2}, results))

    assert whole["machine"] == {"CPU": "any"}
    assert whole["options"] == {"rounds": 2}
    assert whole["notes"] == ["naive was left out"]
    assert whole["series"][0] == {
        "scenario": "drain100",
        "system": "cdc",
        "quantity": "rows/s",
        "median": 85_000,
        "low": 80_000,
        "high": 90_000,
        "values": [80_000, 90_000],
    }


def test_latency_counts_a_number_as_seen_with_a_later_one_of_its_row() -> None:
    """A value that was overtaken before it could be read is in Redis when its successor is."""
    committed = [(0, 1, 0), (0, 2, 1 * MS), (1, 1, 2 * MS)]
    seen = [(0, 2, 4 * MS), (1, 1, 3 * MS)]

    found = evaluate(committed, seen, newest_ns=2 * MS)

    assert (found.p50_ms, found.max_ms, found.unseen) == (3.0, 4.0, 0)


def test_latency_says_what_was_never_seen() -> None:
    """A system that fell behind has no fast figure by leaving its slow commits out."""
    found = evaluate([(0, 1, 0), (0, 2, 1000 * MS)], [(0, 1, 1 * MS)], newest_ns=1000 * MS)

    assert (found.p50_ms, found.unseen, found.achieved_per_s) == (1.0, 1, 2.0)


def test_ceiling_is_where_the_servers_use_all_cores() -> None:
    """Two cores have two million microseconds a second."""
    steps = [Alone("publish", 100, 1.0, 0.0006), Alone("pull", 100, 1.0, 0.0004)]

    assert ceiling(steps, cores=2) == pytest.approx(200_000)


def test_progress_is_what_the_marker_says() -> None:
    """No value yet is no progress."""
    assert progress(b'{"id":1000000000,"visits":700}') == 700
    assert progress(None) == 0


def test_a_drain_is_rated_from_its_first_change_and_from_its_start() -> None:
    """Rows and CPU count between the first and the last change that were seen."""
    drain = Drain("cdc", 900, 1.0, 3.0, 1000, True, cpu_s={"cdc sink": 0.009}, peak_bytes={})

    assert drain.rate == 300
    assert drain.rate_from_start == 250
    assert drain.cpu_us_per_row() == {"cdc sink": pytest.approx(10)}
    assert "stopped" not in text(drain)


def test_a_drain_that_shows_itself_all_at_once_has_no_rate_of_its_own() -> None:
    """One transaction becomes visible as one step; nothing is divided by zero."""
    drain = Drain("cdc", 0, 2.0, 0.0, 1000, True, cpu_s={"cdc sink": 1.0})

    assert (drain.rate, drain.rate_from_start, drain.cpu_us_per_row()) == (0.0, 500.0, {})


@pytest.mark.parametrize("workload", DRAINS, ids=lambda workload: workload.name)
def test_every_workload_makes_a_complete_procedure(workload: Workload) -> None:
    """No place of a template is left open."""
    procedure = workload.procedure()

    assert "{" not in procedure
    assert workload.table in procedure
    assert workload.marker_key.startswith(f"{workload.table}:")


def test_tables_of_a_spread_share_the_rows() -> None:
    """A hundred tables hold what one would, each at least one transaction."""
    workload = Workload("spread", "", 100, tables=100)

    assert table_rows(workload, 200_000) == 1000
    assert workload.names()[:2] == ["spread_rows", "spread_rows_1"]
    assert len(workload.names()) == 100


def test_ten_million_rows_are_the_default_and_measured_once() -> None:
    """What the issue asks for, within an hour; smaller sizes have all their rounds."""
    run = Run(Servers(), [], Options(), Results(), print)

    assert run.options.large_rows == 10_000_000
    assert run.patient(10_000_000).options.rounds == 1
    assert run.patient(1_000_000).options.rounds == 3
    assert run.patient(1).options.limit_s == 10 * run.options.limit_s


def test_what_was_measured_is_kept_after_each_attempt(results: Results) -> None:
    """An interrupted run leaves its figures, and says that it is none of a whole one."""
    kept: list[bytes] = []
    run = Run(
        Servers(),
        [],
        Options(),
        results,
        print,
        lambda: kept.append(to_json({}, {}, results, complete=False)),
    )
    results.add("drain100", "cdc", "rows/s", 70_000.0)
    with pytest.raises(KeyboardInterrupt), run.attempt("drain100", "cdc"):
        raise KeyboardInterrupt

    whole = msgspec.json.decode(kept[0])
    assert whole["complete"] is False
    assert whole["series"][0]["values"] == [80_000, 90_000, 70_000]
    assert "did not come to its end" in to_markdown({}, results, complete=False)


def test_a_process_s_share_of_a_core_is_its_time_over_the_time() -> None:
    """One that came later counts from nothing."""
    found = procfs.percent_of_a_core({"reader": 1.0}, {"reader": 2.0, "sink": 0.5}, 10.0)

    assert found == {"reader": 10.0, "sink": 5.0}


def test_every_scenario_of_the_issue_is_there() -> None:
    """`make bench` leaves nothing out."""
    assert set(SCENARIOS) == {
        *("drain100", "drain1", "wide", "churn"),
        *("latency", "backfill", "onetx", "start", "idle", "growth"),
    }


def test_the_kernel_is_asked_for_this_process() -> None:
    """CPU time and peak memory of a living process are there, those of none are zero."""
    assert procfs.cpu_s(os.getpid()) > 0
    assert procfs.peak_bytes(os.getpid()) > 1_000_000
    assert os.getpid() in procfs.descendants(os.getpid())
    assert procfs.cpu_s(2**22 + 1) == 0
    assert procfs.peak_bytes(2**22 + 1) == 0
