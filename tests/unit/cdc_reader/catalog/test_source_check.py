"""What of a server's replication and retention loses changes, and the statements against it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.key import parse_template
from cdc.table import Table
from cdc_reader.catalog.source_check import (
    ServerFacts,
    ServerState,
    check_retention,
    check_source,
    notes,
)
from cdc_reader.catalog.source_check import check_state as _check_state

MYSQL = ServerFacts(
    mariadb=False,
    version=(9, 7, 4),
    version_text="9.7.4",
    gtid=True,
    server="uuid",
    variables={
        "log_bin": "ON",
        "binlog_format": "ROW",
        "binlog_row_image": "FULL",
        "binlog_row_metadata": "FULL",
        "server_id": "1",
        "log_replica_updates": "ON",
    },
)
MARIADB = replace(MYSQL, mariadb=True, version=(11, 8, 9), version_text="11.8.9-MariaDB")
ALL_ASKED = ServerState(source={}, replica_ids=frozenset(), prepared=(), odd_sessions=())


def table(schema: str) -> Table:
    return Table(
        schema=schema,
        name="users",
        columns=(),
        identity=("id",),
        chunk_key=("id",),
        key=parse_template("{table}:{pk}", schema=schema, table="users", pk=("id",)),
        value_column=None,
        model="string",
    )


def with_variables(facts: ServerFacts, **more: str) -> ServerFacts:
    return replace(facts, variables=facts.variables | more)


def check_state(
    state: ServerState, facts: ServerFacts = MYSQL, server_id: int = 0
) -> list[tuple[str, bool]]:
    found = _check_state(facts, state, (table("shop"),), server_id)
    return [(finding.id, finding.stops) for finding in found]


@pytest.mark.parametrize(
    ("facts", "is_refused"),
    [
        (replace(MYSQL, version=(8, 0, 0)), True),
        (replace(MYSQL, version=(5, 7, 44)), True),
        (replace(MYSQL, version=(8, 0, 1)), False),
        (replace(MARIADB, version=(10, 4, 34)), True),
        (replace(MARIADB, version=(10, 5, 1)), False),
    ],
)
def test_an_old_server_is_refused_by_its_version(facts: ServerFacts, is_refused: bool) -> None:
    """And by nothing else: the variables that it lacks cannot be set."""
    found = [finding.id for finding in check_source(facts)]

    assert (found == ["mysql.version"]) is is_refused


def test_a_plain_server_has_no_findings() -> None:
    """No replica, no filter, nothing prepared."""
    assert check_state(ALL_ASKED) == []
    assert notes(MYSQL, ALL_ASKED, 7) == []


@pytest.mark.parametrize(
    ("do_dbs", "ignore_dbs", "stops"),
    [
        (("shop",), (), [False]),
        (("crm",), (), [True]),
        ((), ("shop",), [True]),
        ((), ("crm",), [False]),
        (("shop",), ("shop",), [True]),
    ],
)
def test_a_filter_stops_where_a_table_is_left_out(
    do_dbs: tuple[str, ...], ignore_dbs: tuple[str, ...], stops: list[bool]
) -> None:
    """A warning elsewhere: statements such as ALTER are filtered by the session's database."""
    state = replace(ALL_ASKED, do_dbs=do_dbs, ignore_dbs=ignore_dbs)

    assert check_state(state) == [("mysql.binlog-filter", stop) for stop in stops]


def test_a_replica_must_log_what_it_replicates() -> None:
    """Only a replica, and by the name that its version has."""
    off = with_variables(MYSQL, log_replica_updates="OFF")
    replica = replace(ALL_ASKED, source={"Source_Host": "db"})

    assert check_state(ALL_ASKED, off) == []
    assert check_state(replica) == []
    assert check_state(replica, off) == [("mysql.replica-updates", True)]
    (finding,) = _check_state(replace(off, version=(8, 0, 20)), replica, (), 0)
    assert finding.fix.file == ("my.cnf", "[mysqld]\nlog_slave_updates = ON")


def test_filters_of_a_replica_are_emptied_by_the_statement() -> None:
    """One for all of them, between stop and start."""
    source = {
        "Replicate_Do_DB": "shop",
        "Replicate_Wild_Do_Table": "a%.b%",
        "Replicate_Do_Table": "",
    }
    (finding,) = _check_state(MYSQL, replace(ALL_ASKED, source=source), (), 0)

    assert not finding.stops
    assert finding.fix.is_invasive
    assert finding.fix.sql == (
        "STOP REPLICA SQL_THREAD;",
        "CHANGE REPLICATION FILTER REPLICATE_DO_DB = (), REPLICATE_WILD_DO_TABLE = ();",
        "START REPLICA SQL_THREAD;",
    )


@pytest.mark.parametrize(("server_id", "is_taken"), [(0, False), (1, True), (7, True), (8, False)])
def test_a_number_of_the_settings_must_be_free(server_id: int, is_taken: bool) -> None:
    """0 is one at random; 1 is the server's own, 7 a replica's."""
    state = replace(ALL_ASKED, replica_ids=frozenset((7,)))

    assert bool(check_state(state, server_id=server_id)) is is_taken


def test_prepared_transactions_are_named_as_xa_commit_takes_them() -> None:
    """At most three; only the owner of a session may end it."""
    state = replace(ALL_ASKED, prepared=("X'61',X'',1", "2", "3", "4"))
    (finding,) = _check_state(MYSQL, state, (), 0)

    assert finding.fix.is_invasive
    assert finding.fix.sql[0] == "XA ROLLBACK X'61',X'',1;"
    assert len(finding.fix.sql) == 3
    assert "4 XA transactions" in finding.seen


def test_sessions_are_told_once_the_server_is_set_right() -> None:
    """Before that every session is like them, also the one that asks."""
    state = replace(ALL_ASKED, odd_sessions=(7, 9))
    (finding,) = _check_state(MYSQL, state, (), 0)

    assert (finding.id, finding.fix.sql) == ("mysql.sessions", ("KILL 7;", "KILL 9;"))
    assert check_state(state, with_variables(MYSQL, binlog_format="MIXED")) == []


@pytest.mark.parametrize(
    ("kept_s", "snapshot_s", "wanted_s"),
    [
        ("0", 1e6, None),
        ("86400", 0, None),
        ("86399", 0, 604_800),
        ("2592000", 800_000, None),
        ("2592000", 900_000, 2_700_001),
    ],
)
def test_binlogs_are_kept_for_a_day_and_for_three_times_the_first_reading(
    kept_s: str, snapshot_s: float, wanted_s: int | None
) -> None:
    """0 is for ever; the statement has the value that satisfies both."""
    facts = with_variables(MYSQL, binlog_expire_logs_seconds=kept_s)
    found = check_retention(facts, snapshot_s)

    assert [finding.fix.sql for finding in found] == (
        [(f"SET PERSIST binlog_expire_logs_seconds = {wanted_s};",)] if wanted_s else []
    )
    assert check_retention(with_variables(facts, binlog_expire_logs_auto_purge="OFF"), 1e9) == []


@pytest.mark.parametrize(
    ("mode", "steps"),
    [
        ("OFF", ("OFF_PERMISSIVE", "ON_PERMISSIVE", "ON")),
        ("ON_PERMISSIVE", ("ON",)),
        ("", ("OFF_PERMISSIVE", "ON_PERMISSIVE", "ON")),
    ],
)
def test_gtids_are_switched_on_in_the_steps_that_are_left(
    mode: str, steps: tuple[str, ...]
) -> None:
    """The server takes no two at once."""
    found = check_source(replace(with_variables(MYSQL, gtid_mode=mode), gtid=False))
    (finding,) = (one for one in found if one.id == "mysql.gtid-mode")

    assert finding.fix.sql[1:] == tuple(f"SET PERSIST gtid_mode = {step};" for step in steps)


def test_what_may_not_be_asked_is_said() -> None:
    """With the right that it takes."""
    assert len(notes(MYSQL, ServerState(), 7)) == 4
    assert len(notes(MARIADB, ServerState(), 0)) == 3
    compressed = with_variables(MYSQL, binlog_transaction_compression="ON")
    assert "is read as well" in notes(compressed, ALL_ASKED, 0)[0]
    partial = with_variables(
        MYSQL, binlog_row_image="NOBLOB", binlog_row_value_options="PARTIAL_JSON"
    )
    assert ["binlog_row_image = NOBLOB", "binlog_row_value_options = PARTIAL_JSON"] == [
        note.partition(": ")[2].partition(":")[0] for note in notes(partial, ALL_ASKED, 0)
    ]
    rds = with_variables(MYSQL, basedir="/rdsdbbin/mysql-8.4.6.R1/")
    assert "rds_show_configuration" in notes(rds, ALL_ASKED, 0)[0]
