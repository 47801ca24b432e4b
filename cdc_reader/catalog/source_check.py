"""Findings about the source's configuration and state, each with its fix.

Pure.  MySQL's and MariaDB's defaults differ, and so do the statements.  The forms for managed
servers were not tried; their documentation is Amazon RDS "Working with DB parameter groups" and
"mysql.rds_set_configuration", Cloud SQL "Configure database flags", Azure "Configure server
parameters".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cdc.check.estimate import MARGIN, seconds_text
from cdc.check.finding import Finding, Fix
from cdc.table import Table

KEPT_LEAST_S = 86_400
KEPT_WANTED_S = 604_800
OLDEST = {"MySQL": (8, 0, 1), "MariaDB": (10, 5)}
"""The first with ``binlog_row_metadata``."""
_OF_SESSIONS = {"binlog_format"}
"""Variables that each session has its own copy of; all others here are only GLOBAL.
Source: MySQL manual, "Binary Logging Options and Variables"; MariaDB knowledge base, the same."""
_AGAIN = "then let applications connect again: open sessions keep the old value"
_FILTERS = (
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Rewrite_DB",
)
NAMES_LISTED = 3
_RDS_BASEDIR = "/rdsdbbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A server as it described itself; a variable that it does not have is ``""``."""

    mariadb: bool
    version: tuple[int, ...]
    """``(9, 7, 4)``"""
    version_text: str
    gtid: bool
    """Whether positions are GTIDs: MySQL with gtid_mode ON; MariaDB always."""
    server: str
    """``server_uuid`` of MySQL, ``server_id`` of MariaDB: whose coordinates these are."""
    variables: dict[str, str]
    """Global variables by lower-case name, such as ``{"binlog_format": "ROW"}``."""

    @property
    def max_allowed_packet_bytes(self) -> int:
        """Size of the largest row, more or less."""
        return int(self.variables.get("max_allowed_packet") or 0)

    @property
    def kind(self) -> str:
        """``MySQL`` or ``MariaDB``."""
        return "MariaDB" if self.mariadb else "MySQL"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """The server's replication status; None where this login may not query it."""

    do_dbs: tuple[str, ...] = ()
    ignore_dbs: tuple[str, ...] = ()
    source: Mapping[str, str] | None = None
    """The row of SHOW REPLICA STATUS; empty: it is no replica."""
    replica_ids: frozenset[int] | None = None
    """Numbers of the replicas that have registered."""
    prepared: tuple[str, ...] | None = None
    """XA transactions that are prepared, as XA COMMIT takes them: ``X'61',X'',1``."""
    odd_sessions: tuple[int, ...] | None = None
    """Connections whose session settings for the binlog differ from the server's."""


def check_source(facts: ServerFacts, *, needs_names: bool = False) -> list[Finding]:
    """Return what of the server's configuration would lose or blur changes.

    Args:
        needs_names: statements pass unseen (``on_schema_change = "continue"``), so that names of
            columns can only be those that the binlog has.
    """
    found = facts.variables
    oldest = OLDEST[facts.kind]
    if facts.version and facts.version < oldest:
        return [
            Finding(
                id="mysql.version",
                seen=f"{facts.kind} {facts.version_text}",
                fix=Fix(advice=f"upgrade to {'.'.join(map(str, oldest))} or newer"),
            )
        ]
    if found.get("log_bin") != "ON":
        return [_binlog_off(facts)]
    out = _binlog_settings(facts)
    if needs_names and found.get("binlog_row_metadata", "").upper() != "FULL":
        out.append(_unnamed(facts))
    if found.get("server_id") == "0":
        out.append(
            Finding(
                id="mysql.server-id",
                seen=f"{facts.kind}: server_id = 0",
                fix=set_variable(facts, "server_id", 1),
            )
        )
    if not facts.gtid:
        out.append(_gtid(facts))
    return out


def _binlog_settings(facts: ServerFacts) -> list[Finding]:
    found = facts.variables
    return [
        Finding(
            id=f"mysql.{variable.replace('_', '-')}",
            seen=f"{facts.kind}: {variable} = {found.get(variable) or '(not there)'}",
            fix=set_variable(facts, variable, wanted),
        )
        for variable, wanted in (("binlog_format", "ROW"),)
        if found.get(variable, "").upper() != wanted
    ]


def _unnamed(facts: ServerFacts) -> Finding:
    metadata = facts.variables.get("binlog_row_metadata") or "(not there)"
    return Finding(
        id="mysql.binlog-row-metadata",
        seen=f'{facts.kind}: binlog_row_metadata = {metadata}, and on_schema_change = "continue"',
        fix=set_variable(facts, "binlog_row_metadata", "FULL"),
    )


def _gtid(facts: ServerFacts) -> Finding:
    mode = facts.variables.get("gtid_mode") or "OFF"
    steps = ("OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON")
    later = steps[steps.index(mode) + 1 :] if mode in steps else steps[1:]
    return Finding(
        id="mysql.gtid-mode",
        seen=f"{facts.kind}: gtid_mode = {mode}",
        stops=False,
        fix=Fix(
            sql=(
                "SET PERSIST enforce_gtid_consistency = ON;",
                *(f"SET PERSIST gtid_mode = {step};" for step in later),
            ),
            advice="with replicas: each step on all servers before the next, see the manual,\n"
            "'Changing GTID Mode on Online Servers'",
            managed=(
                ("RDS, Aurora", "gtid-mode and enforce_gtid_consistency in the parameter group"),
                ("Cloud SQL", "on always"),
                ("Azure", "server parameters enforce_gtid_consistency, then gtid_mode by steps"),
            ),
        ),
    )


def check_retention(facts: ServerFacts, snapshot_s: float = 0) -> list[Finding]:
    """Return what is wrong with how long binlogs are kept.

    Args:
        snapshot_s: how long the first reading of the tables takes.
    """
    found = facts.variables
    kept_s = int(float(found.get("binlog_expire_logs_seconds") or 0))
    if found.get("binlog_expire_logs_auto_purge", "ON") == "OFF":
        kept_s = 0
    needed_s = max(KEPT_LEAST_S, int(MARGIN * snapshot_s) + 1)
    if not 0 < kept_s < needed_s or found.get("log_bin") != "ON":
        return []
    wanted_s = max(KEPT_WANTED_S, needed_s)
    reading = f", the snapshot takes about {seconds_text(snapshot_s)}" if snapshot_s else ""
    hours, days = -(-wanted_s // 3600), -(-wanted_s // 86_400)
    fix = set_variable(facts, "binlog_expire_logs_seconds", wanted_s)
    managed = (
        ("RDS, Aurora", f"CALL mysql.rds_set_configuration('binlog retention hours', {hours});"),
        (
            "Cloud SQL",
            f"gcloud sql instances patch INSTANCE --retained-transaction-log-days={days}",
        ),
        fix.managed[-1],
    )
    return [
        Finding(
            id="mysql.binlog-retention",
            seen=f"{facts.kind}: binlogs are kept for {kept_s} s{reading}",
            stops=False,
            fix=Fix(sql=fix.sql, file=fix.file, advice=fix.advice, managed=managed),
        )
    ]


def _binlog_off(facts: ServerFacts) -> Finding:
    lines = "[mysqld]\nlog_bin = binlog"
    if facts.mariadb:
        lines += "\nserver_id = 1\nbinlog_format = ROW"
    return Finding(
        id="mysql.log-bin",
        seen=f"{facts.kind}: the binlog is off (log_bin = OFF)",
        fix=Fix(
            file=("my.cnf", lines),
            advice="and take out skip-log-bin and disable-log-bin",
            managed=(
                (
                    "RDS",
                    "aws rds modify-db-instance --db-instance-identifier NAME "
                    "--backup-retention-period 1 --apply-immediately",
                ),
                ("Aurora", "binlog_format = ROW in the cluster parameter group, then reboot"),
                ("Cloud SQL", "gcloud sql instances patch INSTANCE --enable-bin-log"),
                ("Azure", "on always"),
            ),
        ),
    )


def set_variable(facts: ServerFacts, variable: str, value: str | int) -> Fix:
    """Return what sets a global variable permanently, and whether open sessions are left to do."""
    again = _AGAIN if variable in _OF_SESSIONS else ""
    literal = f"'{value}'" if isinstance(value, str) else str(value)
    managed = (
        ("RDS, Aurora", f"{variable} = {value or 'empty'} in the (cluster) parameter group"),
        (
            "Cloud SQL",
            f"gcloud sql instances patch INSTANCE --database-flags={variable}={value},…"
            "   (all flags at once)",
        ),
        (
            "Azure",
            "az mysql flexible-server parameter set --resource-group GROUP --server-name NAME "
            f"--name {variable} --value '{value}'",
        ),
    )
    if not facts.mariadb:
        return Fix(sql=(f"SET PERSIST {variable} = {literal};",), advice=again, managed=managed)
    return Fix(
        sql=(f"SET GLOBAL {variable} = {literal};",),
        advice="\n".join(
            (
                *filter(None, (again,)),
                f"to keep it over a restart, in my.cnf:  {variable} = {value}",
            )
        ),
        managed=managed,
    )


def check_state(
    facts: ServerFacts, state: ServerState, tables: Sequence[Table], server_id: int
) -> Iterator[Finding]:
    """Find what of the server's replication loses changes of the tables.

    Args:
        server_id: the setting; 0: one at random, which no other server has.
    """
    yield from _filtered(facts, state, tables)
    yield from _replicating(facts, state.source or {})
    if server_id and (
        server_id in (state.replica_ids or ()) or str(server_id) == facts.variables.get("server_id")
    ):
        whose = "the server's own" if server_id not in (state.replica_ids or ()) else "a replica's"
        yield Finding(
            id="mysql.server-id-taken",
            seen=f"{facts.kind}: server_id = {server_id} of the settings is {whose}",
            fix=Fix(advice="leave out the setting server_id (then one at random is taken), or\n"
            "choose a number that SHOW REPLICAS does not show"),
        )  # fmt: skip
    if not _binlog_settings(facts):  # else every session is like that
        yield from _sessions(facts, state.odd_sessions or ())
    if state.prepared:
        count, first = len(state.prepared), state.prepared[:NAMES_LISTED]
        yield Finding(
            id="mysql.xa",
            seen=f"{facts.kind}: {count} XA transaction{'s are' if count > 1 else ' is'} prepared",
            stops=False,
            fix=Fix(
                sql=tuple(f"XA ROLLBACK {xid};" for xid in first),
                is_invasive=True,
                advice="or XA COMMIT: ask whose it is. All of them: XA RECOVER CONVERT XID",
            ),
        )


def _sessions(facts: ServerFacts, sessions: Sequence[int]) -> Iterator[Finding]:
    if not sessions:
        return
    counted = f"{len(sessions)} session{'s have' if len(sessions) > 1 else ' has'}"
    yield Finding(
        id="mysql.sessions",
        seen=f"{facts.kind}: {counted} a binlog_format of its own",
        stops=False,
        fix=Fix(
            sql=tuple(f"KILL {number};" for number in sessions),
            is_invasive=True,
            advice="or let these applications connect again",
            managed=(("RDS, Aurora", f"CALL mysql.rds_kill({sessions[0]});"),),
        ),
    )


def _filtered(facts: ServerFacts, state: ServerState, tables: Sequence[Table]) -> Iterator[Finding]:
    if not state.do_dbs and not state.ignore_dbs:
        return
    lost = [
        table.qualified
        for table in tables
        if (state.do_dbs and table.schema not in state.do_dbs) or table.schema in state.ignore_dbs
    ]
    filters = [f"binlog_do_db = {name}" for name in state.do_dbs]
    filters += [f"binlog_ignore_db = {name}" for name in state.ignore_dbs]
    about = f"; {', '.join(lost)} is not in the binlog" if lost else ""
    yield Finding(
        id="mysql.binlog-filter",
        seen=f"{facts.kind}: {', '.join(filters)}{about}",
        stops=bool(lost),
        fix=Fix(
            file=("my.cnf", "\n".join(f"# take out: {line}" for line in filters)),
            managed=(("RDS, Aurora, Cloud SQL, Azure", "they have no such filter"),),
        ),
    )


def _replicating(facts: ServerFacts, source: Mapping[str, str]) -> Iterator[Finding]:
    if not source:
        return
    variables = facts.variables
    updates = variables.get("log_replica_updates") or variables.get("log_slave_updates")
    if updates == "OFF":
        name = "log_slave_updates" if facts.mariadb or facts.version < (8, 0, 26) else (
            "log_replica_updates"
        )  # fmt: skip
        yield Finding(
            id="mysql.replica-updates",
            seen=f"{facts.kind}: it is a replica with {name} = OFF",
            fix=Fix(
                file=("my.cnf", f"[mysqld]\n{name} = ON"),
                advice="or follow its source instead",
                managed=(
                    ("RDS", "automated backups of the replica: --backup-retention-period 1"),
                    ("Aurora", "follow the writer: readers write no binlog"),
                    ("Cloud SQL", "gcloud sql instances patch REPLICA --enable-bin-log"),
                    ("Azure", "follow the source"),
                ),
            ),
        )
    filters = {name: source[name] for name in _FILTERS if source.get(name)}
    if filters:
        yield Finding(
            id="mysql.replica-filter",
            seen=f"{facts.kind}: it is a replica with "
            + ", ".join(f"{name} = {value}" for name, value in filters.items()),
            stops=False,
            fix=_without_filters(facts, filters),
        )


def _without_filters(facts: ServerFacts, filters: Mapping[str, str]) -> Fix:
    word = "SLAVE" if facts.mariadb or facts.version < (8, 0, 22) else "REPLICA"
    if facts.mariadb:
        change = tuple(f"SET GLOBAL {name.lower()} = '';" for name in filters)
    else:
        emptied = ", ".join(f"{name.upper()} = ()" for name in filters)
        change = (f"CHANGE REPLICATION FILTER {emptied};",)
    return Fix(
        sql=(f"STOP {word} SQL_THREAD;", *change, f"START {word} SQL_THREAD;"),
        is_invasive=True,
        advice="what was left out until now stays missing there; or follow its source instead",
        managed=(("RDS", "replicate-* in the parameter group"),),
    )


def notes(facts: ServerFacts, state: ServerState, server_id: int) -> list[str]:
    """Return what is as it should be and worth a line, and what this login may not ask."""
    out = []
    compression = "log_bin_compress" if facts.mariadb else "binlog_transaction_compression"
    if facts.variables.get(compression) == "ON":
        out.append(f"{facts.kind}: {compression} = ON is read as well")
    for variable, whole in (("binlog_row_image", "FULL"), ("binlog_row_value_options", "")):
        value = facts.variables.get(variable, whole)
        if value.upper() != whole:
            out.append(
                f"{facts.kind}: {variable} = {value}: rows that the binlog has in part are read\n"
                "by their keys"
            )
    metadata = facts.variables.get("binlog_row_metadata", "")
    if metadata.upper() != "FULL":
        out.append(
            f"{facts.kind}: binlog_row_metadata = {metadata}: names of columns are the catalog's;\n"
            "with FULL, rows that are written while a table is changed need not be read again"
        )
    if facts.variables.get("basedir", "").startswith(_RDS_BASEDIR):
        out.append(
            f"{facts.kind}: RDS keeps binlogs as CALL mysql.rds_show_configuration; shows, not as\n"
            "binlog_expire_logs_seconds does"
        )
    if state.source is None:
        right = "REPLICA MONITOR" if facts.mariadb else "REPLICATION CLIENT"
        out.append(f"{facts.kind}: whether it is a replica may not be asked ({right})")
    if state.replica_ids is None and server_id:
        right = "REPLICATION MASTER ADMIN" if facts.mariadb else "REPLICATION SLAVE"
        out.append(f"{facts.kind}: whether server_id is taken may not be asked ({right})")
    if state.odd_sessions is None:
        out.append(
            f"{facts.kind}: whether open sessions write another format may not be asked "
            "(SELECT ON performance_schema.*)"
        )
    if state.prepared is None:
        out.append(
            f"{facts.kind}: prepared XA transactions may not be asked for (XA_RECOVER_ADMIN)"
        )
    return out
